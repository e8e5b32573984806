"""The head of a basis: it estimates a post's responsibilities from its embedding and stylometrics."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

FARTHEST: Final = 5.0  # standard scores of inputs are clipped to +-FARTHEST: farther ones were never seen in training


def softmax(logits: npt.ArrayLike) -> Doubles:
    """exp(z_k) / sum_j exp(z_j) of (..., K) logits z, as (..., K) float64, which sum to 1 over the last axis."""
    values = np.asarray(logits, dtype=np.float64)
    odds: Doubles = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: Doubles = odds / odds.sum(axis=-1, keepdims=True)
    return shares


@dataclass(frozen=True, slots=True)
class Head:
    """A multinomial logistic regression from I inputs of a post to its responsibilities under K prompts.

    With the inputs x it is softmax(z W + b), z being (x - mean) / spread clipped to +-FARTHEST. `training.basis.distil`
    fits it to the responsibilities that the language model gives.

    Attributes:
        mean: (I,) float32, of the inputs over the posts that it was fitted on.
        spread: (I,) float32, their standard deviations, > 0.
        weights: (I, K) float32, W.
        bias: (K,) float32, b.
    """

    mean: Floats
    spread: Floats
    weights: Floats
    bias: Floats

    @property
    def inputs(self) -> int:
        """I: the width E of the embedding + the number of stylometrics."""
        return int(self.mean.size)

    def fits(self, prompts: int) -> bool:
        """Whether the shapes fit each other and K = `prompts`, all values are finite, and all spreads are > 0."""
        inputs, arrays = self.mean.shape, (self.mean, self.spread, self.weights, self.bias)
        shapes_fit = self.spread.shape == inputs and self.weights.shape == (*inputs, prompts)
        finite = all(np.isfinite(array).all() for array in arrays)
        return shapes_fit and self.bias.shape == (prompts,) and finite and bool((self.spread > 0).all())

    def shares(self, inputs: npt.ArrayLike) -> Doubles:
        """Responsibilities of posts, which sum to 1: (I,) or (N, I) inputs to (K,) or (N, K) float64."""
        scores = np.clip((np.asarray(inputs, np.float64) - self.mean) / self.spread, -FARTHEST, FARTHEST)
        return softmax(scores @ self.weights.astype(np.float64) + self.bias)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays to save, by name."""
        return {f"head.{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, tensors: dict[str, npt.NDArray[Any]]) -> Self:
        """From saved arrays; others are ignored.

        Raises:
            KeyError: an array is missing.
        """
        return cls(*(tensors[f"head.{name}"] for name in cls.__slots__))
