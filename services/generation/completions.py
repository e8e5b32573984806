"""What the engine is asked for and what it answers, in the terms of OpenAI's chat completions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from slop.control_strings import neutralised

STREAM_OPTIONS: Final = {"include_usage": True}


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """`n` texts for the same messages. There is no seed: it ends vLLM's CPU engine.

    Attributes:
        messages: as OpenAI has them; a soft prompt is a content part of vLLM's type `prompt_embeds`.
        n: how many texts.
        max_tokens: of each text.
        temperature: 0 takes the likeliest token.
        min_p: tokens less likely than this share of the likeliest one are left out.
        options: more parameters of OpenAI's, handed on as they are (`stop`, `top_p`, `logprobs`, …).
        soft_tokens: how many rows its soft prompt has, each of which takes the place of a token.
        shown: how many messages, the first after any system message, only show what the reader likes; a request that is
            too long is asked without the oldest two, and so on.
        reader: whose texts they are, which decides which engine is asked; None: nobody's. It is not sent.
        may_shorten: whether the texts may be shorter than `max_tokens` where the model has no room for so much.
    """

    messages: Sequence[Mapping[str, Any]]
    n: int
    max_tokens: int
    temperature: float
    min_p: float
    options: Mapping[str, Any] = field(default_factory=dict)
    soft_tokens: int = 0
    shown: int = 0
    reader: str | None = None
    may_shorten: bool = False

    @property
    def drawn_once(self) -> "CompletionRequest":
        """The same request for the one text that there is at temperature 0, however many are asked for."""
        return replace(self, n=1) if self.temperature == 0 else self

    @property
    def with_less_shown(self) -> "CompletionRequest":
        """The same request without the two oldest of its `shown` messages."""
        start = int(self.messages[0]["role"] == "system")
        return replace(self, messages=[*self.messages[:start], *self.messages[start + 2 :]], shown=self.shown - 2)

    @property
    def safe_messages(self) -> list[dict[str, Any]]:
        """The messages, whose texts the chat template takes for nothing but text."""
        return [{**message, "content": _safe(message["content"])} for message in self.messages]

    @property
    def has_soft_prompt(self) -> bool:
        """Whether a soft prompt stands in any message."""
        contents = [message["content"] for message in self.messages]
        return any(
            part["type"] == "prompt_embeds" for parts in contents if not isinstance(parts, str) for part in parts
        )

    def body(self, model: str, *, stream: bool, system_role: bool = True) -> dict[str, Any]:
        """The request's JSON. A streamed answer is to end with its usage.

        Args:
            model: the engine's name of it.
            stream: whether the answer is to come in pieces.
            system_role: whether the model's chat template knows the role `system`; if not, the system message stands
                at the head of the user's first turn.
        """
        return {
            **self.options,
            "model": model,
            "messages": self.safe_messages if system_role else without_system_role(self.safe_messages),
            "n": self.n,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "min_p": self.min_p,
            "stream": stream,
            **({"stream_options": STREAM_OPTIONS} if stream else {}),
        }


def without_system_role(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages with the system message, if there is one, at the head of the user's first turn."""
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":  # noqa: PLR2004
        return list(messages)
    system, user = messages[0]["content"], messages[1]["content"]
    if isinstance(system, str) and isinstance(user, str):
        content: Any = f"{system}\n\n{user}"
    else:
        content = [part for given in (system, user) for part in _parts(given)]
    return [{**messages[1], "content": content}, *messages[2:]]


def _parts(content: Any) -> Sequence[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _safe(content: Any) -> Any:
    if isinstance(content, str):
        return neutralised(content)
    return [{**part, "text": neutralised(part["text"])} if part["type"] == "text" else part for part in content]


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens were read and written. A soft prompt counts as many as it has rows."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def of(cls, usage: Mapping[str, Any] | None) -> "Usage":
        """From the member `usage` of an answer; zero of what it lacks."""
        counts = usage or {}
        return cls(int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0))

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@dataclass(frozen=True, slots=True)
class CompletedText:
    """One text of an answer.

    Attributes:
        text: as the engine wrote it.
        finish_reason: why it ends: `stop` or `length`.
        logprobs: OpenAI's object of its tokens' log-probabilities, where it was asked for.
    """

    text: str
    finish_reason: str = "stop"
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer: `n` texts, in order, and the tokens of all of them."""

    texts: tuple[CompletedText, ...]
    usage: Usage = Usage()

    def for_all(self, n: int) -> "Completion":
        """The same with its only text n times, if n texts were asked for and one was drawn."""
        return self if len(self.texts) == n else replace(self, texts=self.texts * n)


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the `index`-th text of a request; the last piece has its `finish_reason`."""

    index: int
    text: str
    finish_reason: str | None = None
    logprobs: Mapping[str, Any] | None = None
