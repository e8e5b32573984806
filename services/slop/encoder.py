"""The encoder: computes a post's text features from its text, in milliseconds and without the language model."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slop.basis import Basis, InvalidBasis
from slop.embedder import SentenceEmbedder
from slop.stylometrics import stylometrics
from slop.words import word_count

Floats = npt.NDArray[np.float32]


def head_inputs(text: str, embedding: Floats) -> npt.NDArray[np.float64]:
    """The inputs of a basis' head: the (E,) float32 embedding of a post, then its stylometrics; (I,) float64."""
    return np.concatenate([embedding, stylometrics(text)], dtype=np.float64)


class Encoder:
    """Computes text features of posts under one basis. Several threads may use it at once."""

    def __init__(self, basis: Basis, embedder: SentenceEmbedder) -> None:
        """An encoder for a basis.

        Raises:
            InvalidBasis: its head was fitted on the embeddings of another embedder.
        """
        if embedder.revision != basis.embedder.revision:
            raise InvalidBasis(
                f"the basis {basis.version} reads embeddings of {basis.embedder.name} {basis.embedder.revision}, "
                f"the embedder is {embedder.name} {embedder.revision}: name the basis' own in SLOP_EMBEDDER, or fit "
                "its head to this one with 'python -m training.basis.head'"
            )
        self._basis, self._embedder = basis, embedder

    def features_of(self, texts: Sequence[str]) -> Floats:
        """Text features of N texts: (N, T) float32, as `slop.basis.Basis.text_features` has them.

        Any string is a valid text. The features of a text are the same bytes, whatever other texts come with it.
        """
        return self.features_and_embeddings(texts)[0]

    def features_and_embeddings(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """`features_of` N texts, and the (N, E) float32 embeddings that they follow from, of unit norm or zeros."""
        # One text at a time: products of matrices with different numbers of rows are rounded differently.
        embeddings = [self._embedder.embed([text])[0] for text in texts]
        if not embeddings:
            return np.empty((0, self._basis.text_size), np.float32), np.empty((0, 0), np.float32)
        features = [self._features(text, row) for text, row in zip(texts, embeddings, strict=True)]
        return np.stack(features), np.stack(embeddings)

    def _features(self, text: str, embedding: Floats) -> Floats:
        shares = self._basis.head.shares(head_inputs(text, embedding))
        return self._basis.text_features(shares, word_count(text), embedding)
