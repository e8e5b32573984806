"""The sentence embedder of the studies, which is the one that bases name."""

import os
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from infra.local.settings import LocalSettings
from infra.models.embedder import EMBEDDER
from slop.embedder import Embedder


@cache
def embedder() -> Embedder:
    """The one that is configured, with a thread a core; converted first if it was not before."""
    return Embedder.load(EMBEDDER.prepare(LocalSettings()), os.cpu_count() or 1)


def sentence_embedder(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """(N, E) float32 of unit norm, by default of all-MiniLM-L6-v2."""
    return embedder().embed(texts)
