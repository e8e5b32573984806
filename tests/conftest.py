"""For all tests: a slow machine fails none of them, and what a library leaves open is not taken for ours."""

import socket
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings
from kafka.net import KafkaNetSocket

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


class ClosedAtLast(socket.socket):
    """A socket that nobody need close.

    kafka-python forgets those of connections that fail, or whose client is closed while they are being made.
    """

    def __del__(self) -> None:
        """Close it, without the warning that would fail whatever test runs by then."""
        self.close()


def _socket(_: KafkaNetSocket, *args: Any) -> ClosedAtLast:
    return ClosedAtLast(*args)


KafkaNetSocket.socket = _socket


WITH_THE_STACK: Final = "e2e"
"""Whoever asks for the whole stack asks the one that a process started: these tests run in one process."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks which belong together
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes (PROCESSES=3), those of a file stay together, and so do all of e2e."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent)
        item.add_marker(pytest.mark.xdist_group(WITH_THE_STACK if folder.parts[0] == "e2e" else str(folder)))
