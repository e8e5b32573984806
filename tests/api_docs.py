"""The calls that docs/api.md shows."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

DOCS: Final = Path(__file__).parents[1] / "docs" / "api.md"
COLLECTOR, GENERATION = "localhost:8001", "localhost:8002"


@dataclass(frozen=True, slots=True)
class Call:
    """One `curl` of the document."""

    service: str
    method: str
    path: str
    headers: dict[str, str]
    body: str | None

    @classmethod
    def of(cls, command: str) -> "Call":
        """As a shell would read it; an option that is not known here is a ValueError."""
        service, path, body, headers = "", "", None, {}
        words = iter(shlex.split(command)[1:])
        for word in words:
            if word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = next(words)
            elif word != "-s":
                service, slash, rest = word.partition("/")
                if service not in {COLLECTOR, GENERATION}:
                    raise ValueError(word)
                path = slash + rest
        return cls(service, "GET" if body is None else "POST", path, headers, body)

    def send(self, client: httpx.Client) -> httpx.Response:
        """To the service that a client is of."""
        return client.request(self.method, self.path, headers=self.headers, content=self.body)


def calls(service: str) -> list[Call]:
    """All calls of a service in the order of the document."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    found = [Call.of(block) for block in blocks if block.startswith("curl ")]
    return [call for call in found if call.service == service]
