"""TCP ports of this machine."""

import contextlib
import os
import random
import socket
from collections.abc import Iterator
from itertools import count, islice
from typing import Final

import psutil

# Free ports are taken below those that Linux gives to outgoing connections (from 32,768), one of which may take a port
# between the look and the use; and each process has a block of its own, so that two hardly ever find the same.
FIRST: Final = 10_000
BLOCKS: Final = 200
BLOCK: Final = 100


def _block(process: int) -> Iterator[int]:
    """The ports of a process, over and over, beginning anywhere."""
    first, begin = FIRST + process % BLOCKS * BLOCK, random.randrange(BLOCK)
    return (first + (begin + number) % BLOCK for number in count())


_candidates: Final = _block(os.getpid())


def is_open(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether something listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout_s):
        return True
    return False


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listened on a moment ago; this process gets it again only after all others.

    Raises:
        OSError: none of a hundred is free.
    """
    for port in islice(_candidates, BLOCK):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind((host, port))
            return port
    raise OSError(f"no port is free on {host}")


def owner(port: int) -> str | None:
    """The process that listens on a port, as far as this user may know: 'python -m http.server (pid 12)'."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid is not None:
                return f"{' '.join(psutil.Process(connection.pid).cmdline())[:80]} (pid {connection.pid})"
    return None
