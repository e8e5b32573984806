"""Text features and embeddings of texts under a basis, computed in pieces by priority. Text features are remembered.

Embeddings are not: they are asked for of posts that were just written, which no memory has, and are large beside the
features.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import structlog
from cachetools import LRUCache

from featurizer import metrics
from featurizer.priority import Priority, PrioritySemaphore
from kit.isolation import isolated
from slop.redis.posts import text_digest
from slop.text_features import EncodedText

Floats = npt.NDArray[np.float32]

BACKGROUND_NICE: Final = 10  # of the thread that computes in the background
PIECE: Final = 4  # texts that are computed in one turn at most
PIECE_CHARACTERS: Final = 2_000  # of a piece at most, unless it is one text

log = structlog.get_logger(__name__)


class EncodesTexts(Protocol):
    """What computes text features: `slop.encoder.Encoder`, or another in tests."""

    def features_and_embeddings(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Text features of N texts, (N, T) float32, and embeddings, (N, E) float32.

        A text's rows do not depend on the other texts.
        """


@dataclass(frozen=True, slots=True)
class NotEncoded:
    """Why the features of a text could not be computed."""

    error: str


class TextFeatures:
    """Text features under a basis. Any thread may call it."""

    def __init__(
        self,
        encoder: EncodesTexts,
        size: int,
        semaphore: PrioritySemaphore,
        remembered: int,
        is_live: Callable[[], bool],
    ) -> None:
        """Text features by an encoder.

        Args:
            encoder: computes them; several threads may use it at once.
            size: T.
            semaphore: shared by all that compute on the same cores.
            remembered: how many texts' features are kept in memory.
            is_live: whether the basis is live. While it is not, everything is background work.
        """
        self._encoder, self._size, self._semaphore, self._is_live = encoder, size, semaphore, is_live
        self._remembered: LRUCache[bytes, Floats] = LRUCache(remembered)
        self._lock = threading.Lock()
        self._background = ThreadPoolExecutor(1, "background-features", initializer=_give_way)

    def remembers(self, text: str) -> bool:
        """Whether a text's features are in memory."""
        with self._lock:
            return text_digest(text) in self._remembered

    def of(self, texts: Sequence[str], priority: Priority) -> list[Floats | NotEncoded]:
        """Text features of each text: (T,) float32, or why there are none. Equal texts are computed once."""
        digests = [text_digest(text) for text in texts]
        with self._lock:
            known: dict[bytes, Floats | NotEncoded] = {
                digest: self._remembered[digest] for digest in digests if digest in self._remembered
            }
        metrics.TEXTS.labels("remembered").inc(sum(digest in known for digest in digests))
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
        for piece in _pieces(missing):
            computed = self._computed(piece, priority).items()
            known |= {digest: one if isinstance(one, NotEncoded) else one.features for digest, one in computed}
        return [known[digest] for digest in digests]

    def encoded(self, texts: Sequence[str], priority: Priority) -> list[EncodedText | NotEncoded]:
        """Text features, (T,) float32, and embedding of each text, or why there are none; all of them are computed."""
        digests, computed = [text_digest(text) for text in texts], dict[bytes, EncodedText | NotEncoded]()
        for piece in _pieces(dict(zip(digests, texts, strict=True))):
            computed |= self._computed(piece, priority)
        return [computed[digest] for digest in digests]

    def close(self) -> None:
        """End the background thread, after the piece that it computes."""
        self._background.shutdown(cancel_futures=True)

    def _computed(self, texts: dict[bytes, str], priority: Priority) -> dict[bytes, EncodedText | NotEncoded]:
        if priority is Priority.BACKGROUND or not self._is_live():
            return self._background.submit(self._in_turn, texts, Priority.BACKGROUND).result()
        return self._in_turn(texts, priority)

    def _in_turn(self, texts: dict[bytes, str], priority: Priority) -> dict[bytes, EncodedText | NotEncoded]:
        with self._semaphore.turn(priority):
            began = time.perf_counter()
            rows: list[EncodedText | NotEncoded] = isolated(self._encoded, list(texts.values()), _not_encoded)
            seconds = (time.perf_counter() - began) / len(rows)
        for _ in rows:
            metrics.POST_SECONDS.observe(seconds)
        encoded = dict(zip(texts, rows, strict=True))
        sound = {digest: one.features for digest, one in encoded.items() if not isinstance(one, NotEncoded)}
        metrics.TEXTS.labels("computed").inc(len(sound))
        metrics.TEXTS.labels("failed").inc(len(rows) - len(sound))
        with self._lock:
            self._remembered.update(sound)
        return encoded

    def _encoded(self, texts: Sequence[str]) -> list[EncodedText]:
        features, embeddings = self._encoder.features_and_embeddings(texts)
        if features.shape != (len(texts), self._size) or len(embeddings) != len(texts):
            raise ValueError(
                f"features of shape {features.shape}, embeddings of {embeddings.shape}, {len(texts)} texts"
            )
        if not (np.isfinite(features).all() and np.isfinite(embeddings).all()):
            raise ValueError("features or embeddings that are not finite")
        return [EncodedText(*one) for one in zip(features, embeddings, strict=True)]


def _not_encoded(text: str, error: Exception) -> list[NotEncoded]:
    log.warning("text not encoded", error=repr(error), characters=len(text))
    return [NotEncoded(f"{type(error).__name__}: {error}")]


def _pieces(texts: Mapping[bytes, str]) -> Iterator[dict[bytes, str]]:
    """Divide texts into pieces, each of which is computed in one turn; between them others have their turns."""
    piece, characters = dict[bytes, str](), 0
    for digest, text in texts.items():
        if piece and (len(piece) == PIECE or characters + len(text) > PIECE_CHARACTERS):
            yield piece
            piece, characters = {}, 0
        piece[digest] = text
        characters += len(text)
    if piece:
        yield piece


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICE)
