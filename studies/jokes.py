"""What the humor study knows of jokes by their texts: features under the basis' prompts, sentence embeddings."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from slop.basis import Basis
from slop.encoder import Encoder
from studies.base_model import base_model
from studies.embedder import embedder, sentence_embedder
from studies.folders import KEPT
from trainer.language_model import LanguageModel

Floats = npt.NDArray[np.float32]


def text_features(basis: Basis, texts: Sequence[str], progress: Progress) -> Floats:
    """(J, T) float32, computed as the featurizer does, and kept in .run/studies for the next time."""
    digest = sha256("\0".join([basis.text_version, *texts]).encode()).hexdigest()[:12]
    path = KEPT / f"text-features-{digest}.npy"
    if not path.exists():
        features = _computed(basis, texts, progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, features)
    return np.asarray(np.load(path), dtype=np.float32)


def _computed(basis: Basis, texts: Sequence[str], progress: Progress) -> Floats:
    encoder = Encoder(basis, embedder())
    return np.concatenate([encoder.features_of([text]) for text in progress.track(texts, description="features")])


def language_model(basis: Basis) -> LanguageModel:
    """The base model of a basis.

    Raises:
        StudyError: what is configured is another one.
    """
    return LanguageModel.load(base_model(basis), basis.template)


def embeddings(texts: Sequence[str]) -> Floats:
    """(J, E) float32 of unit norm."""
    return sentence_embedder(texts)
