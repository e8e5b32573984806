"""Features of posts' texts, computed by the frozen model in a few places at a time; the urgent ones first."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from prometheus_client import Histogram

from slop.basis import Basis, Floats
from trainer.language_model import PromptScorer

PATIENT_NICE: Final = 19

EXTRACTION_SECONDS = Histogram(
    "slop_featurizer_post_seconds",
    "Time to compute one post's features.",
    buckets=(0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
)


class Turnstile:
    """Lets so many threads in at a time; a patient one only when no urgent one waits."""

    def __init__(self, places: int = 1) -> None:
        self._condition = threading.Condition()
        self._free, self._urgent = places, 0

    @contextmanager
    def turn(self, *, urgent: bool) -> Iterator[None]:
        """Wait for the turn and hold it."""
        with self._condition:
            self._urgent += urgent
            self._condition.wait_for(lambda: self._free and (urgent or not self._urgent))
            self._urgent -= urgent
            self._free -= 1
        try:
            yield
        finally:
            with self._condition:
                self._free += 1
                self._condition.notify_all()


class Extractor:
    """Text features under a basis (see `slop.basis.Basis.text_features`), each the same whatever else is computed."""

    def __init__(
        self,
        scorer: PromptScorer,
        basis: Basis,
        places: int = 1,
        turnstile: Turnstile | None = None,
        is_live: Callable[[], bool] = lambda: True,
    ) -> None:
        """Computes `places` posts at a time.

        Args:
            scorer: of the basis' prompts.
            basis: makes features of what it scores.
            places: threads.
            turnstile: shared with the extractors of other bases; by default its own.
            is_live: while it is not, nothing is urgent.
        """
        self._scorer, self._basis, self._is_live = scorer, basis, is_live
        self._turnstile = turnstile or Turnstile(places)
        # A pool of their own, so that urgent texts never wait for a thread that waits for them.
        self._patient = ThreadPoolExecutor(places, "patient-features", initializer=_give_way)
        self._urgent = ThreadPoolExecutor(places, "urgent-features")

    def features_of(self, texts: Iterable[str], *, urgent: bool) -> Iterator[Floats]:
        """(T,) float32 of each text in order, as they become ready."""
        urgent = urgent and self._is_live()
        pool = self._urgent if urgent else self._patient
        return pool.map(lambda text: self.features(text, urgent=urgent), texts)

    def features(self, text: str, *, urgent: bool) -> Floats:
        """(T,) float32 of one text; `urgent` if a reaction waits for it."""
        with self._turnstile.turn(urgent=urgent), EXTRACTION_SECONDS.time():
            return self._basis.text_features(self._scorer(text), len(text.split()))

    def close(self) -> None:
        """End the threads; what they have begun is finished."""
        for pool in (self._patient, self._urgent):
            pool.shutdown(cancel_futures=True)


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PATIENT_NICE)
