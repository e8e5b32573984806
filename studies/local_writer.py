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

from slop.basis import Template
from studies.batching import Batcher
from studies.chats import Message
from studies.metrics import TextScore
from studies.writers import Sampling, Texts
from trainer.language_model import LanguageModel

POSTS_AT_ONCE: Final = 768
TEXTS_AT_ONCE: Final = 96


@dataclass(frozen=True, slots=True)
class Asked:
    """Posts that answer a chat, whose embeddings are (T, d)."""

    prefix: Tensor
    posts: int
    sampling: Sampling


class LocalWriter:
    """A `studies.writers.Writer` that is a model in this process."""

    def __init__(self, transformer: Any, tokenizer: Any, template: Template, name: str, seed: int = 0) -> None:
        self.model = f"{name}, transformers"
        self._transformer, self._tokenizer = transformer, tokenizer
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

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> Texts:
        """Posts that answer a chat; a soft prompt, if there is one, is the whole system message."""
        prefix = self._prefix(messages)
        return Texts(await self._posts(Asked(prefix, posts, sampling)), len(prefix))

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

    @torch.inference_mode()
    def _written(self, asked: Sequence[Asked]) -> list[list[str]]:
        prefixes = [one.prefix for one in asked for _ in range(one.posts)]
        # Turned round, padded and turned back: what generates continues from the right end.
        turned = pad_sequence([prefix.flip(0) for prefix in prefixes], batch_first=True).flip(1)
        mask = pad_sequence([torch.ones(len(p), dtype=torch.long) for p in prefixes], batch_first=True).flip(1)
        tokens = self._generated(turned, mask.to(turned.device), asked[0].sampling)
        texts = [text.strip() for text in self._tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        ends = torch.tensor([one.posts for one in asked]).cumsum(0).tolist()
        return [texts[end - one.posts : end] for one, end in zip(asked, ends, strict=True)]

    def _generated(self, embeddings: Tensor, mask: Tensor, sampling: Sampling) -> Tensor:
        """(B, T, d) prefixes, padded on the left, to (B, N) new tokens."""
        drawing: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            # vLLM draws from all tokens unless told otherwise.
            drawing = {"do_sample": True, "temperature": sampling.temperature, "min_p": sampling.min_p}
            drawing |= {"top_k": 0, "top_p": 1.0}
        seed = int(torch.randint(2**31, (1,), generator=self._draws))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tokens: Tensor = self._transformer.generate(
                inputs_embeds=embeddings,
                attention_mask=mask,
                max_new_tokens=sampling.max_tokens,
                eos_token_id=self._tokenizer.eos_token_id,
                pad_token_id=self._tokenizer.eos_token_id,
                **drawing,
            )
        return tokens

    @torch.inference_mode()
    def _scored(self, texts: Sequence[str]) -> list[TextScore]:
        tokens = [self._lm.tokens(text) for text in texts]
        batch = pad_sequence(tokens, batch_first=True)
        states, _ = self._lm.read(self._lm.embed(batch), None)
        targets = pad_sequence([one[1:] for one in tokens], batch_first=True, padding_value=-100)
        losses = self._lm.token_losses(states[:, :-1], targets).double().sum(dim=1)
        return [TextScore(-loss, len(one) - 1) for loss, one in zip(losses.tolist(), tokens, strict=True)]
