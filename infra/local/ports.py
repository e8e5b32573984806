"""TCP ports of this machine."""

import contextlib
import socket

import psutil


def is_open(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether something listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout_s):
        return True
    return False


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listened on a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def owner(port: int) -> str | None:
    """The process that listens on a port, as far as this user may know: 'python -m http.server (pid 12)'."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid is not None:
                return f"{' '.join(psutil.Process(connection.pid).cmdline())[:80]} (pid {connection.pid})"
    return None
