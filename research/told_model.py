"""A frozen language model that is told who the reader is, and how much more likely that makes jokes.

A joke's score is the mean log-likelihood of its tokens when the model is told, less the same when it is not: the
pointwise mutual information of joke and reader (Holtzman et al. 2021, arXiv 2104.08315), which leaves out how likely
the joke is anyway. It is a mean over tokens because the sum grows with the joke's length, and would rank by that.

`research.rankers_in_words` and `research.tuned_rankers` tell it in four ways: liked jokes in the prompt, a description
of the reader in the prompt, prompt tuning, LoRA. Liked jokes are the upper half of a reader's ratings, since people
differ in how high they rate. What a model is told is made anew only at certain counts of ratings; with every rating it
would cost up to ten times as much.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from statistics import median
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from slop.basis import Template
from training.language_model import LanguageModel, mean_losses

Doubles = npt.NDArray[np.float64]
Rated = Sequence[tuple[int, float]]
"""Ratings in [-1, 1] with their jokes."""

BATCH_TOKENS: Final = 768


def liked(ratings: Rated) -> list[int]:
    """The upper half of a reader's jokes, best first: those rated no lower than the reader's median."""
    middle = median(value for _, value in ratings)
    return [joke for joke, value in sorted(ratings, key=lambda rated: -rated[1]) if value >= middle]


def batches_of_like_length(jokes: Sequence[int], lengths: Sequence[int], most: int = BATCH_TOKENS) -> list[list[int]]:
    """Jokes in batches of at most `most` tokens with the padding, or of one joke.

    Args:
        jokes: which.
        lengths: tokens of every joke there is.
        most: tokens.
    """
    batches: list[list[int]] = []
    for joke in sorted(jokes, key=lambda joke: lengths[joke]):
        if batches and (len(batches[-1]) + 1) * lengths[joke] <= most:
            batches[-1].append(joke)
        else:
            batches.append([joke])
    return batches


class FrozenModel:
    """A language model within the template, and the jokes' tokens: whole jokes, since the point comes last.

    Attributes:
        transformer: as transformers has it.
        tokenizer: its.
        lm: the same model as `training` wraps it.
        template: what surrounds the reader.
        texts: the jokes.
        jokes: their tokens with the end of turn.
        plain: (k, d), what stands in the system message when the model is told nothing.
    """

    def __init__(self, transformer: Any, tokenizer: Any, template: Template, texts: Sequence[str]) -> None:
        self.transformer, self.tokenizer, self.template, self.texts = transformer, tokenizer, template, texts
        self.lm = LanguageModel(transformer, tokenizer, template)
        self.jokes = [self.lm.tokens(text + self.lm.end) for text in texts]
        self.plain = self.rows(template.plain_system)

    @classmethod
    def load(cls, source: str, template: Template, texts: Sequence[str]) -> Self:
        """Load a local folder or hub name in float32, on the GPU if there is one, else on the CPU for all cores."""
        torch.set_num_threads(os.cpu_count() or 1)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        transformer = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
        return cls(transformer.to(device), AutoTokenizer.from_pretrained(source), template, texts)

    def rows(self, text: str) -> Tensor:
        """The embeddings of a text for the system message: (k, d)."""
        return self.lm.embed(self.lm.tokens(text))

    @cached_property
    def plain_likelihoods(self) -> Doubles:
        """(J,) of all jokes, told nothing."""
        return self.likelihoods(self.plain, range(len(self.texts)))

    @torch.inference_mode()
    def likelihoods(self, rows: Tensor, jokes: Sequence[int]) -> Doubles:
        """Mean log-likelihood a token.

        Args:
            rows: (k, d), what stands in the system message; read once for all jokes.
            jokes: which.

        Returns:
            (A,) nats.
        """
        states, cache = self.lm.read(self.lm.prefix(rows[None]), None)
        found: dict[int, float] = {}
        for batch in batches_of_like_length(jokes, [len(tokens) for tokens in self.jokes]):
            posts = [[self.jokes[joke] for joke in batch]]
            losses = mean_losses(self.lm.losses_after(states[:, -1:], cache, posts), posts)
            found.update(zip(batch, (-losses).tolist(), strict=True))
        return np.array([found[joke] for joke in jokes])

    def gains(self, rows: Tensor, jokes: Sequence[int]) -> Doubles:
        """(A,) what jokes gain a token, in nats, when the model is told (k, d) `rows`."""
        return self.likelihoods(rows, jokes) - self.plain_likelihoods[list(jokes)]

    @torch.inference_mode()
    def answer(self, request: str, tokens: int) -> str:
        """What the model answers a request in its own chat template, greedily, in at most `tokens` tokens."""
        chat = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": request}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        inputs = {name: chat[name].to(self.lm.device) for name in ("input_ids", "attention_mask")}
        end = self.tokenizer.eos_token_id
        written = self.transformer.generate(**inputs, max_new_tokens=tokens, do_sample=False, pad_token_id=end)
        answer: str = self.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return answer.strip()
