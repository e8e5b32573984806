"""The encoder: a post's text features under a basis, by its embedding, in milliseconds and without a language model."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slop.basis import Basis, InvalidBasis
from slop.embedder import SentenceEmbedder
from slop.stylometrics import stylometrics
from slop.words import word_count

Floats = npt.NDArray[np.float32]


def head_inputs(text: str, embedding: Floats) -> npt.NDArray[np.float64]:
    """What a basis' head reads of a post: its (E,) embedding, then its stylometrics; (I,) float64."""
    return np.concatenate([embedding, stylometrics(text)], dtype=np.float64)


class Encoder:
    """Text features of posts under one basis; may be used by several threads at once."""

    def __init__(self, basis: Basis, embedder: SentenceEmbedder) -> None:
        """An encoder for a basis.

        Raises:
            InvalidBasis: its head was fitted on another embedder's embeddings.
        """
        if embedder.revision != basis.embedder.revision:
            raise InvalidBasis(
                f"the basis {basis.version} reads embeddings of {basis.embedder.name} {basis.embedder.revision}, "
                f"the embedder is {embedder.name} {embedder.revision}: name the basis' own in SLOP_EMBEDDER, or fit "
                "its head to this one with 'python -m training.basis.head'"
            )
        self._basis, self._embedder = basis, embedder

    def features_of(self, texts: Sequence[str]) -> Floats:
        """(N, T) float32, see `slop.basis.Basis.text_features`.

        Any text will do. A text's features are the same bytes whatever texts are beside it.
        """
        # Row by row, since products of matrices of different heights round differently.
        found = [self._features(text) for text in texts]
        return np.stack(found) if found else np.empty((0, self._basis.text_size), np.float32)

    def _features(self, text: str) -> Floats:
        embedding = self._embedder.embed([text])[0]
        shares = self._basis.head.shares(head_inputs(text, embedding))
        return self._basis.text_features(shares, word_count(text), embedding)
