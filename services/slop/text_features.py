"""The parts of a post's text features, beside the head that estimates the first of them.

Text features are T = K + 1 + C numbers: K responsibilities of the prompts, centred and scaled (`slop.basis.Basis`), the
length, and C components of the embedding.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from slop.head import softmax

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LENGTH_SHARE: Final = 0.5  # what the standard score of the length is multiplied with
FARTHEST_LENGTH: Final = 4.0  # standard deviations


class EncodedText(NamedTuple):
    """What the encoder says of a text.

    Attributes:
        features: (T,) float32 text features or, with its post's factors, (F,) features under a basis.
        embedding: (E,) float32, of unit norm or zeros.
    """

    features: Floats
    embedding: Floats


def responsibilities(log_likelihoods: npt.ArrayLike, temperature: float) -> Doubles:
    """The responsibilities of the prompts for posts: r_k = softmax_k(log p(y | P_k) / temperature).

    With temperature 1 these are the responsibilities of a mixture model whose components have equal weights (Bishop
    2006, "Pattern recognition and machine learning", section 9.2).

    Args:
        log_likelihoods: (..., K), of each post y under each prompt P_k, in nats.
        temperature: > 0.

    Returns:
        (..., K) float64, which sum to 1 over the prompts.
    """
    return softmax(np.asarray(log_likelihoods, dtype=np.float64) / temperature)


@dataclass(frozen=True, slots=True)
class LengthScale:
    """Turns a post's number of words into a feature. Many readers care about the length, above all of humor.

    Attributes:
        center: mean of log(1 + words) over the catalogue.
        spread: its standard deviation, > 0.
    """

    center: float
    spread: float

    @classmethod
    def of(cls, words: npt.ArrayLike) -> Self:
        """The scale of N posts, from their numbers of words, (N,)."""
        logs = np.log1p(np.asarray(words, dtype=np.float64))
        return cls(float(logs.mean()), max(float(logs.std()), np.finfo(np.float32).eps.item()))

    def features(self, words: npt.ArrayLike) -> Floats:
        """LENGTH_SHARE times the standard score of log(1 + words), which is clipped to +-FARTHEST_LENGTH.

        Args:
            words: (...,), numbers of words.

        Returns:
            (..., 1) float32.
        """
        logs = np.log1p(np.asarray(words, dtype=np.float64))
        scores = np.clip((logs - self.center) / self.spread, -FARTHEST_LENGTH, FARTHEST_LENGTH)
        features: Floats = (LENGTH_SHARE * scores)[..., None].astype(np.float32)
        return features


@dataclass(frozen=True, slots=True)
class Components:
    """C principal components of embeddings, as features for tastes that no prompt stands for. Only ranking reads them.

    Attributes:
        mean: (E,) float32, of the embeddings over the catalogue.
        directions: (E, C) float32, scaled so that components have the mean norm that the fit chose, over the catalogue.
    """

    mean: Floats
    directions: Floats

    @property
    def size(self) -> int:
        """C."""
        return int(self.directions.shape[1])

    def fits(self, inputs: int) -> bool:
        """Whether the shapes fit each other, E is below the number of a head's inputs, and all values are finite."""
        shapes_fit = self.directions.ndim == 2 and self.mean.shape == self.directions.shape[:1]  # noqa: PLR2004
        finite = all(np.isfinite(array).all() for array in (self.mean, self.directions))
        return shapes_fit and self.mean.size < inputs and finite

    def of_embeddings(self, embeddings: npt.ArrayLike) -> Floats:
        """(embedding - mean) @ directions: (..., E) embeddings to (..., C) float32."""
        centred = np.asarray(embeddings, np.float64) - self.mean
        components: Floats = (centred @ self.directions.astype(np.float64)).astype(np.float32)
        return components

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays to save, by name."""
        return {f"components.{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, tensors: dict[str, npt.NDArray[Any]]) -> Self | None:
        """From saved arrays; None if these have no components."""
        names = [f"components.{name}" for name in cls.__slots__]
        return cls(*(tensors[name] for name in names)) if set(names) <= tensors.keys() else None
