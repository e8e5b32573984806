"""Waiting for what takes a while on a machine under load."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 120.0


def eventually(look: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """What `look` returns, once that is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found
