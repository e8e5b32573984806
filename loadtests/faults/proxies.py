"""Proxies in front of Redis and Kafka that spoil the network on demand, by toxiproxy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from infra.local.ports import free_port
from infra.local.ready import http_answers
from infra.local.servers import HOST, Server

TIMEOUT_S: Final = 5.0

TOXICS: Final[Mapping[str, tuple[str, dict[str, int]]]] = {
    "latency": ("latency", {"latency": 300, "jitter": 100}),
    "half-open": ("timeout", {"timeout": 0}),
    "reset": ("reset_peer", {"timeout": 0}),
}
"""What can be done to a connection: 0.3 s each way; nothing comes through, and nobody is told; it is reset."""


class Proxies:
    """A toxiproxy-server, with a port for each of the servers behind it."""

    def __init__(self, binary: Path, folder: Path) -> None:
        """It is not started yet."""
        port = free_port()
        self._url = f"http://{HOST}:{port}"
        command = [str(binary), "-host", HOST, "-port", str(port)]
        self.server = Server(command, lambda: http_answers(f"{self._url}/version"), folder / "toxiproxy.log")

    def add(self, name: str, listen: int, upstream: int) -> None:
        """Pass what comes to the port `listen` on to the port `upstream`, both on this machine."""
        addresses = {"listen": f"{HOST}:{listen}", "upstream": f"{HOST}:{upstream}"}
        self._call("POST", "/proxies", {"name": name, "enabled": True} | addresses)

    @contextmanager
    def spoiled(self, name: str, toxic: str) -> Iterator[None]:
        """Spoil the connections of a proxy, in both directions, while the block lasts."""
        kind, attributes = TOXICS[toxic]
        streams = ("upstream", "downstream")
        for stream in streams:
            body = {"name": stream, "type": kind, "stream": stream, "attributes": attributes}
            self._call("POST", f"/proxies/{name}/toxics", body)
        try:
            yield
        finally:
            for stream in streams:
                self._call("DELETE", f"/proxies/{name}/toxics/{stream}")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        answer = httpx.request(method, self._url + path, json=body, timeout=TIMEOUT_S, trust_env=False)
        answer.raise_for_status()
