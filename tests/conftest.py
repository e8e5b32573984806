"""For all tests: a slow machine fails none of them, and what a library leaves open is not taken for ours."""

import socket
from typing import Any

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
