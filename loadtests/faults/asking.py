"""A client that asks generation all the time: for ranks and profiles, and for posts if there is an engine."""

import itertools
import threading
from collections.abc import Sequence
from typing import Final

import httpx

PAUSE_S: Final = 0.5
TIMEOUT_S: Final = 60.0
REFUSALS: Final = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


class Asking:
    """Asks while the block lasts; what is answered must be an answer, or a refusal with Retry-After.

    Attributes:
        served: answers.
        refused: refusals, and requests whose process was killed.
        wrong: everything else, in words.
    """

    def __init__(self, url: str, posts: Sequence[str], reader: str, generate: bool) -> None:
        self._url, self._posts, self._reader, self._generate = url, list(posts), reader, generate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.served = self.refused = 0
        self.wrong: list[str] = []

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        posts = [{"post_id": post} for post in self._posts]
        calls: list[tuple[str, str, object]] = [
            ("POST", "/v1/rank", {"user_id": self._reader, "posts": posts}),
            ("GET", f"/v1/users/{self._reader}/profile", None),
        ]
        if self._generate:
            calls.append(("POST", "/v1/generate", {"user_id": self._reader, "max_tokens": 8}))
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_S, trust_env=False) as client:
            for method, path, body in itertools.cycle(calls):
                self._ask(client, method, path, body)
                if self._stop.wait(PAUSE_S):
                    return

    def _ask(self, client: httpx.Client, method: str, path: str, body: object) -> None:
        try:
            answer = client.request(method, path, json=body)
        except httpx.ReadTimeout:
            self.wrong.append(f"generation: {path} not answered within {TIMEOUT_S:.0f} s")
            return
        except httpx.TransportError:
            self.refused += 1
            return
        if answer.is_success:
            self.served += 1
        elif answer.status_code in REFUSALS and "Retry-After" in answer.headers:
            self.refused += 1
        else:
            self.wrong.append(f"generation: {path} {answer.status_code} {answer.text[:200]}")
