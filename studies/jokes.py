"""What the humor study knows of jokes by their texts: features under the basis' prompts, sentence embeddings."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress

from slop.basis import Basis
from studies.base_model import base_model
from studies.folders import KEPT
from studies.likelihoods import by_token, raced
from trainer.basis.command import sentence_embedder
from trainer.extraction import LikelihoodEncoder
from trainer.language_model import SURVIVORS, LanguageModel, PromptScorer

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
    if torch.cuda.is_available():
        return _computed_at_once(basis, texts, progress)
    task, threads = progress.add_task("features of posts", total=len(texts)), torch.get_num_threads()
    torch.set_num_threads(1)  # one post a core
    encoder, found = LikelihoodEncoder(PromptScorer(language_model(basis), torch.from_numpy(basis.prompts)), basis), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for features in pool.map(lambda text: encoder.features_of([text])[0], texts):
            found.append(features)
            progress.advance(task)
    torch.set_num_threads(threads)  # what comes after has all cores again
    return np.stack(found)


def _computed_at_once(basis: Basis, texts: Sequence[str], progress: Progress) -> Floats:
    """The same, but for rounding: on a GPU a single post takes as long as a hundred."""
    tokens = by_token(language_model(basis), basis.prompts, texts, progress)
    return basis.text_features(raced(tokens, SURVIVORS), [len(text.split()) for text in texts])


def language_model(basis: Basis) -> LanguageModel:
    """The base model of a basis.

    Raises:
        StudyError: what is configured is another one.
    """
    return LanguageModel.load(base_model(basis), basis.template)


def embeddings(texts: Sequence[str]) -> Floats:
    """(J, E) float32 of unit norm, all-MiniLM-L6-v2."""
    vectors = sentence_embedder(list(texts))
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
