"""Whether an engine is asked at all: a circuit breaker (Nygard 2007, "Release It!", section 5.2).

purgatory, aiobreaker and pybreaker let a caller's request through after a fixed time to see whether it is well again.
Here the probe finds that out, and no caller waits for it, so none of them is used.
"""

from typing import Final

import structlog

from generation.engine_refusals import EngineFailure, EngineUnreachable

FAILURES: Final = 3  # in a row; a single one may be the fault of a request

log = structlog.stdlib.get_logger(__name__)


class EngineCircuit:
    """Opens when an engine can't be reached, or fails FAILURES times in a row; a token closes it."""

    def __init__(self, engine: str) -> None:
        """Closed.

        Args:
            engine: its name in the log.
        """
        self._engine, self._failures = engine, 0
        self._failure: EngineFailure | None = None

    @property
    def failure(self) -> EngineFailure | None:
        """What has opened it; None while it is closed."""
        return self._failure

    def failed(self, failure: EngineFailure) -> None:
        """A request, or the probe, has failed through no fault of its own."""
        self._failures += 1
        if self._failure is None and (isinstance(failure, EngineUnreachable) or self._failures >= FAILURES):
            self._failure = failure
            log.warning("engine_circuit_opened", engine=self._engine, detail=failure.detail)

    def wrote(self) -> None:
        """A token has come."""
        if self._failure is not None:
            log.info("engine_circuit_closed", engine=self._engine)
        self._failures, self._failure = 0, None
