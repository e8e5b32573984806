"""Who asks, and how much each may have in flight: so that no reader, key or address takes all of the engine."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import HTTPConnection

from generation import metrics
from generation.metrics import Refusal
from kit.problems import Problem

RETRY_AFTER_S: Final = 1
_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has sent a request.

    Attributes:
        address: the connection's other end, or what a trusted proxy says of it; empty if it is not known.
        key: a hash of the API key; empty if there is none.
    """

    address: str = ""
    key: str = ""

    @property
    def source(self) -> str:
        """Whose share of the engine it is: the key's, or the address' where there is no key."""
        return self.key or self.address


NOBODY: Final = Caller()


def caller_of(request: HTTPConnection) -> Caller:
    """By the connection, and by `Authorization: Bearer KEY`. The key itself is not kept."""
    given = request.headers.get("authorization", "")
    key = given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""
    hashed = hashlib.sha256(key.encode()).hexdigest()[:16] if key else ""
    return Caller(request.client.host if request.client else "", hashed)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one reader, key or address may have in flight, waiting requests included; 0: any amount.

    Attributes:
        requests: how many requests.
        tokens: how many tokens they may ask for together: `n` × candidates × `max_tokens` of each.
    """

    requests: int = 0
    tokens: int = 0


class CallerLimit:
    """Bounds what readers, keys and addresses have in flight."""

    def __init__(self, reader: Allowance, key: Allowance, address: Allowance) -> None:
        self._allowances = {"reader": reader, "key": key, "address": address}
        self._requests, self._tokens = Counter[tuple[str, str]](), Counter[tuple[str, str]]()

    @contextmanager
    def admitted(self, caller: Caller, user_id: str | None, tokens: int) -> Iterator[None]:
        """Count a request for `tokens` tokens until the block ends.

        A reader's, key's or address' only request is never refused for its tokens.

        Raises:
            Problem: 429 with Retry-After, if it is too much for its reader, key or address.
        """
        who = [
            (kind, name)
            for kind, name in (("reader", user_id), ("key", caller.key), ("address", caller.address))
            if name
        ]
        for one in who:
            self._check(one, tokens)
        for one in who:
            self._requests[one] += 1
            self._tokens[one] += tokens
        try:
            yield
        finally:
            for one in who:
                self._requests[one] -= 1
                self._tokens[one] -= tokens
                if not self._requests[one]:
                    del self._requests[one], self._tokens[one]

    def _check(self, one: tuple[str, str], tokens: int) -> None:
        kind, allowance = one[0], self._allowances[one[0]]
        if allowance.requests and self._requests[one] >= allowance.requests:
            raise _too_much(f"this {kind} has {allowance.requests} requests in flight, and may have no more")
        if allowance.tokens and self._requests[one] and self._tokens[one] + tokens > allowance.tokens:
            asked = f"{self._tokens[one]} tokens are being written for this {kind}, and {tokens} more were asked for"
            raise _too_much(f"{asked}; {allowance.tokens} may be in flight")


def _too_much(detail: str) -> Problem:
    metrics.REFUSED.labels(Refusal.CALLER).inc()
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after_s=RETRY_AFTER_S, code="rate_limit_exceeded")
