"""Text features of posts under a basis, as production computes them, and sentence embeddings."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from research.base_model import base_model
from research.embedder import embedder, sentence_embedder
from slop.basis import Basis
from slop.encoder import Encoder
from training.language_model import LanguageModel

Floats = npt.NDArray[np.float32]


def text_features(basis: Basis, texts: Sequence[str], progress: Progress) -> Floats:
    """(J, T) float32, computed as the featurizer does.

    Raises:
        InvalidBasis: the basis is of another embedder than is configured.
    """
    encoder = Encoder(basis, embedder())
    tracked = progress.track(texts, description="features of posts")
    return np.concatenate([encoder.features_of([text]) for text in tracked])


def language_model(basis: Basis) -> LanguageModel:
    """The base model of a basis.

    Raises:
        UserError: what is configured is another one.
    """
    return LanguageModel.load(base_model(basis), basis.template)


def embeddings(texts: Sequence[str]) -> Floats:
    """(J, E) float32 of unit norm."""
    return sentence_embedder(texts)
