"""A running stack as the checks of the smoke command use it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from client.catalogue import Post
from client.rest import Event, Generation, Rest
from loadtests.settings import StackSettings

POLL_S: Final = 0.1


class Failed(Exception):  # noqa: N818
    """A check that did not hold; the message says what was seen instead."""


class Skipped(Exception):  # noqa: N818
    """A check that can't be made: of a part that this stack does not have, or after another that does not hold."""


@dataclass(slots=True)
class CheckedStack:
    """The services under test, and what the checks have done so far.

    Attributes:
        http: for answers that are looked at as they are.
        known: posts that were registered, by their class.
        somebody: a reader in the soft arm, once likes were sent.
    """

    settings: StackSettings
    collector: Rest
    generation: Rest
    http: httpx.AsyncClient
    known: dict[str, list[Post]] = field(default_factory=dict)
    somebody: str = ""

    @property
    def profiles(self) -> Generation:
        """Generation, as products use it."""
        return Generation(self.generation)

    @property
    def reader(self) -> str:
        """Who has sent likes; raises Skipped before."""
        if not self.somebody:
            raise Skipped("it needs a reader who has sent likes, see above")
        return self.somebody

    def posts(self, label: str) -> list[Post]:
        """The registered posts of a class; raises Skipped if there are none."""
        if label not in self.known:
            raise Skipped("it needs registered posts, see above")
        return self.known[label]

    async def send(self, events: Sequence[Event] | Sequence[dict[str, Any]]) -> None:
        """Send events, new ones or bodies that were sent before; all must be accepted."""
        bodies = [event.as_json() if isinstance(event, Event) else event for event in events]
        answer = await self.collector.call("POST", "/v1/events", {"events": bodies})
        statuses = {result["status"] for result in answer["results"]}
        expect(statuses == {"accepted"}, f"events were not accepted: {answer['results'][:2]}")

    async def interactions(self) -> int:
        """How many interactions the reader's profile has learned."""
        return (await self.profiles.profile(self.reader)).interactions


def expect(holds: bool, otherwise: str) -> None:
    """Raise Failed unless something holds."""
    if not holds:
        raise Failed(otherwise)


async def until(holds: Callable[[], Awaitable[bool]]) -> float:
    """Wait until something holds; returns how long that took, seconds. The time that a check may take bounds it."""
    started = time.monotonic()
    while not await holds():
        await asyncio.sleep(POLL_S)
    return time.monotonic() - started
