"""The one deadline of a request: from its arrival to its last token, with all that happens in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from kit.problems import Problem

RETRY_AFTER_S: Final = 2
DEADLINE: Final = "deadline"  # the problem's code


class Deadline:
    """When a request must have been answered."""

    def __init__(self, seconds: float, spare_s: float = 0.0) -> None:
        """From now on.

        Args:
            seconds: the request may take.
            spare_s: of these, what is kept for what has to be done after the last token.
        """
        self._at = asyncio.get_running_loop().time() + seconds - min(spare_s, seconds / 2)
        self._seconds = seconds

    @property
    def left_s(self) -> float:
        """Seconds that are left; 0 when it has passed."""
        return max(0.0, self._at - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def met(self, early_s: float = 0.0) -> AsyncIterator[None]:
        """The block ends in time, `early_s` seconds before the deadline. What is cancelled is the task that enters it.

        Raises:
            Problem: 503 with Retry-After: it has not.
        """
        timeout = asyncio.timeout_at(self._at - early_s)
        try:
            async with timeout:
                yield
        except TimeoutError as error:
            if not timeout.expired():
                raise
            detail = f"the answer was not complete within {self._seconds:g} s"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S, code=DEADLINE) from error
