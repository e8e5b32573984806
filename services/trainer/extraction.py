"""Features of a post's text, computed by the frozen model for one caller at a time; the urgent ones first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram

from slop.basis import Basis, Floats
from trainer.language_model import PromptScorer

EXTRACTION_SECONDS = Histogram(
    "slop_featurizer_post_seconds",
    "Time to compute one post's features.",
    buckets=(0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10),
)


class Turnstile:
    """Lets one thread in at a time; a patient one only when no urgent one waits."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._busy, self._urgent = False, 0

    @contextmanager
    def turn(self, *, urgent: bool) -> Iterator[None]:
        """Wait for the turn and hold it."""
        with self._condition:
            self._urgent += urgent
            self._condition.wait_for(lambda: not self._busy and (urgent or not self._urgent))
            self._urgent -= urgent
            self._busy = True
        try:
            yield
        finally:
            with self._condition:
                self._busy = False
                self._condition.notify_all()


class Extractor:
    """A post's features under a basis (see `slop.basis.Basis.features`)."""

    def __init__(self, scorer: PromptScorer, basis: Basis) -> None:
        self._scorer, self._basis, self._turnstile = scorer, basis, Turnstile()

    def features(self, text: str, *, urgent: bool) -> Floats:
        """(K,) float32 of one text; `urgent` if a reaction waits for it."""
        with self._turnstile.turn(urgent=urgent), EXTRACTION_SECONDS.time():
            return self._basis.features(self._scorer(text))
