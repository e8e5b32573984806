"""The arms, which differ in what precedes a post, and the likelihoods of posts' second halves in each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from torch import Tensor

from research.likelihood.halves import Doubles, chosen, second_halves
from training.basis.build import start_text
from training.language_model import LanguageModel

PLAIN: Final = "plain"
WORDS: Final = "words, chosen"
START: Final = "untrained start, chosen"
TRAINED: Final = "trained, chosen"
ANY: Final = "trained, any"
BEST: Final = "trained, best in hindsight"
SHIPPED: Final = "basis in use, chosen"

MEANINGS: Final = {
    PLAIN: "the system message without a reader",
    WORDS: "the words of a cluster in the system message, as text",
    START: "what a soft prompt is before training: the embeddings of those words, cut to its rows",
    TRAINED: "a soft prompt that was trained on other posts of the same kind",
    ANY: "the mean over all those prompts: no choice",
    BEST: "the prompt under which the second half itself is likeliest: no choice can do better",
    SHIPPED: "a soft prompt of the basis in use, by default the one that was trained on the catalogue's posts",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Posts in every arm.

    Attributes:
        arms: nats a token of each post's second half, by arm.
        tokens: of each post's second half.
    """

    arms: dict[str, list[float]]
    tokens: list[int]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The posts of all parts, in all of which the arms are the same."""
        arms = {arm: [value for part in parts for value in part.arms[arm]] for arm in parts[0].arms}
        return cls(arms, [count for part in parts for count in part.tokens])


class Arms:
    """Measures posts in one arm after the other."""

    def __init__(self, model: LanguageModel, posts: Sequence[Tensor], advance: Callable[[], None]) -> None:
        """Measure posts, token sequences of at least 2 tokens; `advance` is called after every step."""
        self._lm, self._posts, self._advance = model, posts, advance
        self._arms: dict[str, list[float]] = {}

    def measured(self) -> Measured:
        """All arms so far."""
        return Measured(self._arms, [len(post) - len(post) // 2 for post in self._posts])

    def plain(self) -> None:
        """The template's plain system message."""
        self._arms[PLAIN] = self._under(self._lm.plain).tolist()
        self._advance()

    def words(self, words: Sequence[Sequence[str]]) -> None:
        """The words of every cluster as text."""
        self.choice(WORDS, [self._lm.embed_text(start_text(of_cluster)) for of_cluster in words])

    def start(self, words: Sequence[Sequence[str]], rows: int) -> None:
        """What prompts of `rows` rows start from."""
        self.choice(START, [self._lm.embed_words(start_text(of_cluster), rows) for of_cluster in words])

    def choice(self, arm: str, prompts: Sequence[Tensor]) -> None:
        """The one of some (k, d) prompts that is chosen on the first half."""
        choice = chosen(self._lm, prompts, self._posts)
        self._arms[arm] = second_halves(self._lm, prompts, self._posts, choice).tolist()
        self._advance()

    def trained(self, prompts: Tensor) -> None:
        """The (K, k, d) trained prompts: chosen, any, and the best in hindsight."""
        choice = chosen(self._lm, list(prompts), self._posts)
        every = np.stack([self._under(prompt) for prompt in prompts])
        self._arms[TRAINED] = every[choice, np.arange(len(choice))].tolist()
        self._arms[ANY] = every.mean(axis=0).tolist()
        self._arms[BEST] = every.min(axis=0).tolist()
        self._advance()

    def _under(self, prompt: Tensor) -> Doubles:
        return second_halves(self._lm, [prompt], self._posts, np.zeros(len(self._posts), np.intp))
