"""For all tests: how they share a machine, that a slow one fails none, and what a library leaves open."""

import os
import socket
from typing import Any

import pytest
from hypothesis import settings
from kafka.net import KafkaNetSocket
from xdist.scheduler import LoadFileScheduling

# Set before any test imports torch, whose threads wait for each other by spinning: beside other tests two of them took
# six times as long as one, for models as small as those of tests. The engine of tests/e2e has all cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
FOLDERS = ("tests/e2e/", "tests/integration/", "tests/unit/")  # the longest files first

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


class OneStack(LoadFileScheduling):
    """The tests of a file run in one process; those of tests/e2e all in the same, since they share what they start."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return FOLDERS[0] if file.startswith(FOLDERS[0]) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneStack:
    """How `pytest -n` hands out tests."""
    return OneStack(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left with it at the end."""
    items.sort(key=lambda item: next((at for at, folder in enumerate(FOLDERS) if item.nodeid.startswith(folder)), 0))
