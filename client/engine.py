"""The engine's own API, without SLOP in between."""

from collections.abc import Sequence
from typing import Self

from client.chats import Chats, Message
from client.rest import Rest
from client.texts import Sampling, TextScore, WrittenTexts
from slop.basis import Template


class StockEngine:
    """The engine without SLOP: for posts with history in the prompt, and for perplexities."""

    def __init__(self, rest: Rest, template: Template, model: str) -> None:
        self._rest, self.model, self._chats = rest, model, Chats(template)

    @classmethod
    async def of(cls, rest: Rest, template: Template) -> Self:
        """An engine by its first model.

        Raises:
            UserError: the server does not answer.
        """
        return cls(rest, template, (await rest.call("GET", "/v1/models"))["data"][0]["id"])

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> WrittenTexts:
        """Posts that answer a chat."""
        body = {
            "model": self.model,
            "messages": messages,
            "n": posts,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "min_p": sampling.min_p,
        }
        answer = await self._rest.call("POST", "/v1/chat/completions", body)
        texts = [(choice["message"]["content"] or "").strip() for choice in answer["choices"]]
        return WrittenTexts(texts, answer["usage"]["prompt_tokens"])

    async def write_after(self, liked: Sequence[str], posts: int, sampling: Sampling) -> list[str]:
        """Posts written after earlier posts that are shown as the assistant's turns."""
        return (await self.write(self._chats.after(liked), posts, sampling)).posts

    async def score(self, text: str) -> TextScore:
        """How probable a text is by itself, from its second token on.

        It measures fluency, as in PPLM (arXiv 1912.02164, section 4). It is not taken after the plain request, because
        there the model expects its own favourite subjects, and a text on any other is improbable however well written.
        """
        body = {"model": self.model, "prompt": text, "prompt_logprobs": 0, "max_tokens": 1}
        answer = await self._rest.call("POST", "/v1/completions", body)
        values = [next(iter(token.values()))["logprob"] for token in answer["choices"][0]["prompt_logprobs"][1:]]
        return TextScore(sum(values), len(values))
