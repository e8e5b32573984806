"""Writing with transformers in this process, many posts at once: on a GPU without vLLM, or to compare models."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from client.chats import Message
from client.texts import Sampling, TextScore, WrittenTexts
from research.batching import Batcher
from slop.basis import Template
from training.language_model import LanguageModel

POSTS_AT_ONCE: Final = 768
TEXTS_AT_ONCE: Final = 96


@dataclass(frozen=True, slots=True)
class Asked:
    """Posts that answer a chat, whose embeddings are (T, d)."""

    prefix: Tensor
    posts: int
    sampling: Sampling


class LocalWriter:
    """A `research.writers.Writer` that is a model in this process."""

    def __init__(self, transformer: Any, tokenizer: Any, template: Template, name: str, seed: int = 0) -> None:
        self.model = f"{name}, transformers"
        self._tokenizer = tokenizer
        self._lm = LanguageModel(transformer, tokenizer, template)
        self._draws = torch.Generator().manual_seed(seed)
        self._posts = Batcher(self._written, POSTS_AT_ONCE, lambda a: a.posts, lambda a: a.sampling)
        self._scores = Batcher(self._scored, TEXTS_AT_ONCE)

    @classmethod
    def load(cls, source: str, template: Template, name: str) -> Self:
        """Load a local folder or hub name: in bfloat16 on a GPU, in float32 on a CPU."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        transformer = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, attn_implementation="sdpa").to(device)
        return cls(transformer.eval(), AutoTokenizer.from_pretrained(source), template, name)

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> WrittenTexts:
        """Posts that answer a chat; a soft prompt, if there is one, is the whole system message."""
        prefix = self._prefix(messages)
        return WrittenTexts(await self._posts(Asked(prefix, posts, sampling)), len(prefix))

    async def score(self, text: str) -> TextScore:
        """How probable a text is by itself, from its second token on."""
        return await self._scores(text)

    def _prefix(self, messages: Sequence[Message]) -> Tensor:
        system = messages[0]["content"]
        if isinstance(system, str):
            rendered = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return self._lm.embed_text(rendered)
        rows = torch.load(io.BytesIO(base64.b64decode(system[0]["data"])), weights_only=True)
        return self._lm.prefix(rows[None].to(self._lm.device))[0]

    def _written(self, asked: Sequence[Asked]) -> list[list[str]]:
        prefixes = [one.prefix for one in asked for _ in range(one.posts)]
        sampling, seed = asked[0].sampling, int(torch.randint(2**31, (1,), generator=self._draws))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            texts = self._lm.write(prefixes, sampling.max_tokens, sampling.temperature, sampling.min_p)
        ends = torch.tensor([one.posts for one in asked]).cumsum(0).tolist()
        return [texts[end - one.posts : end] for one, end in zip(asked, ends, strict=True)]

    @torch.inference_mode()
    def _scored(self, texts: Sequence[str]) -> list[TextScore]:
        tokens = [self._lm.tokens(text) for text in texts]
        batch = pad_sequence(tokens, batch_first=True)
        states, _ = self._lm.read(self._lm.embed(batch), None)
        targets = pad_sequence([one[1:] for one in tokens], batch_first=True, padding_value=-100)
        losses = self._lm.token_losses(states[:, :-1], targets).double().sum(dim=1)
        return [TextScore(-loss, len(one) - 1) for loss, one in zip(losses.tolist(), tokens, strict=True)]
