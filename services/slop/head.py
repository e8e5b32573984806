"""What turns a post's embedding and stylometrics into text features: plain arrays that a basis keeps."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

FARTHEST: Final = 5.0  # deviations of an input: what lies beyond was never seen, and says no more


def softmax(logits: npt.ArrayLike) -> Doubles:
    """(..., K) logits to (..., K) float64 shares that sum to 1."""
    values = np.asarray(logits, dtype=np.float64)
    odds: Doubles = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: Doubles = odds / odds.sum(axis=-1, keepdims=True)
    return shares


@dataclass(frozen=True, slots=True)
class Head:
    """A multinomial logistic regression: from what is known of a post to what each of K prompts has to do with it.

    Attributes:
        mean: (I,) float32, of the inputs over the posts that it was fitted on.
        spread: (I,) float32, their standard deviations, > 0.
        weights: (I, K) float32, of the inputs in deviations from the mean, at most FARTHEST.
        bias: (K,) float32.
    """

    mean: Floats
    spread: Floats
    weights: Floats
    bias: Floats

    @property
    def inputs(self) -> int:
        """I."""
        return int(self.mean.size)

    def fits(self, prompts: int) -> bool:
        """Whether the shapes fit each other and K, and the values are finite and usable."""
        inputs, arrays = self.mean.shape, (self.mean, self.spread, self.weights, self.bias)
        shapes_fit = self.spread.shape == inputs and self.weights.shape == (*inputs, prompts)
        finite = all(np.isfinite(array).all() for array in arrays)
        return shapes_fit and self.bias.shape == (prompts,) and finite and bool((self.spread > 0).all())

    def shares(self, inputs: npt.ArrayLike) -> Doubles:
        """(I,) or (N, I) inputs to the (K,) or (N, K) float64 shares of the prompts in each post, which sum to 1."""
        scores = np.clip((np.asarray(inputs, np.float64) - self.mean) / self.spread, -FARTHEST, FARTHEST)
        return softmax(scores @ self.weights.astype(np.float64) + self.bias)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """What a file keeps."""
        return {f"head.{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, tensors: dict[str, npt.NDArray[Any]]) -> Self:
        """From what a file keeps.

        Raises:
            KeyError: something is missing.
        """
        return cls(*(tensors[f"head.{name}"] for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Components:
    """Directions in which posts' embeddings differ, which ranking alone reads: tastes that no prompt stands for.

    Attributes:
        mean: (E,) float32, of the embeddings over the catalogue.
        directions: (E, C) float32, scaled so that a post's mean norm over the catalogue is what the fit chose.
    """

    mean: Floats
    directions: Floats

    @property
    def size(self) -> int:
        """C."""
        return int(self.directions.shape[1])

    def fits(self, inputs: int) -> bool:
        """Whether the shapes fit each other and embeddings that are among `inputs`, and the values are finite."""
        shapes_fit = self.directions.ndim == 2 and self.mean.shape == self.directions.shape[:1]  # noqa: PLR2004
        finite = all(np.isfinite(array).all() for array in (self.mean, self.directions))
        return shapes_fit and self.mean.size < inputs and finite

    def of_embeddings(self, embeddings: npt.ArrayLike) -> Floats:
        """(..., E) embeddings to (..., C) float32."""
        centred = np.asarray(embeddings, np.float64) - self.mean
        components: Floats = (centred @ self.directions.astype(np.float64)).astype(np.float32)
        return components

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """What a file keeps."""
        return {f"components.{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, tensors: dict[str, npt.NDArray[Any]]) -> Self | None:
        """From what a file keeps; None if it keeps none."""
        names = [f"components.{name}" for name in cls.__slots__]
        return cls(*(tensors[name] for name in names)) if set(names) <= tensors.keys() else None
