"""Sends readers' reactions to the collector without a pause, and remembers which ones it has accepted."""

import itertools
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

SENDERS: Final = 4
BATCH: Final = 5
PAUSE_S: Final = 0.2
TIMEOUT_S: Final = 15.0
REFUSALS: Final = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)

Event = dict[str, Any]

# A reader decides each of these once for a post, so that every event but an impression is one more signal.
DECISIONS: Final[Sequence[Mapping[str, Any]]] = (
    {"type": "like"},
    {"type": "share"},
    {"type": "dwell", "value": 12_345.0},
    {"type": "impression"},
    {"type": "save"},
    {"type": "comment"},
    {"type": "skip"},
    {"type": "rate", "value": -0.25},
    {"type": "hide"},
    {"type": "dislike"},
)
OPINIONS: Final = frozenset({"like", "dislike"})


def events_of(reader: str, posts: Sequence[str], rng: random.Random) -> Iterator[Event]:
    """Different decisions of a reader, in an order of the reader's own, until there is none left."""
    pairs = list(itertools.product(posts, DECISIONS))
    rng.shuffle(pairs)
    decided: set[str] = set()
    for number, (post, decision) in enumerate(pairs):
        if decision["type"] in OPINIONS:
            if post in decided:  # of two opinions the later would hold
                continue
            decided.add(post)
        yield {"event_id": f"{reader}-{number}", "user_id": reader, "post_id": post, **decision}


def says_something(event: Event) -> bool:
    """Whether an event is a signal; an impression is none."""
    return bool(event["type"] != "impression")


@dataclass(slots=True)
class Sent:
    """Counts of what was sent.

    Attributes:
        accepted: of each reader, the ids of the events that were acknowledged with 202 and that are signals.
        silent: how many others were acknowledged.
        refused: how many requests got 429 or 503 with Retry-After, or no answer, and were sent again.
        wrong: answers that are not documented.
    """

    accepted: dict[str, set[str]] = field(default_factory=dict)
    silent: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Events that were acknowledged."""
        return self.silent + sum(map(len, self.accepted.values()))


class Load:
    """Sends the events of readers until it is stopped; a request that fails is sent again with the same ids."""

    def __init__(self, collector_url: str, posts: Sequence[str], events_per_s: float, seed: int) -> None:
        self._url, self._posts, self._seed = collector_url, posts, seed
        self._pause_s = SENDERS * BATCH / events_per_s
        self._stop, self._given_up, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._threads: list[threading.Thread] = []
        self.sent = Sent()

    def start(self, readers: Sequence[str]) -> None:
        """Begin, with these readers; each has one sender, so that its events come in order."""
        self._stop.clear()
        shares = [readers[number::SENDERS] for number in range(SENDERS)]
        self._threads = [threading.Thread(target=self._run, args=(share,)) for share in shares if share]
        for thread in self._threads:
            thread.start()

    def finish(self, timeout_s: float) -> None:
        """Send nothing new, and wait until all is acknowledged; after `timeout_s` give up, and report it."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            self._wrong(f"collector: took no events for {timeout_s:.0f} s")
            self._given_up.set()
        for thread in self._threads:
            thread.join()

    def send_now(self, events: Sequence[Event]) -> None:
        """Send events, by a connection of their own, until they are acknowledged."""
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            self._send(events, client)

    def _send(self, events: Sequence[Event], client: httpx.Client) -> None:
        """Send events until they are acknowledged, or given up."""
        while not self._taken(events, client):
            if self._given_up.wait(PAUSE_S):
                return
        with self._lock:
            for event in events:
                ids = self.sent.accepted.setdefault(event["user_id"], set())
                if says_something(event):
                    ids.add(event["event_id"])
                else:
                    self.sent.silent += 1

    def _run(self, readers: Sequence[str]) -> None:
        streams = [events_of(reader, self._posts, random.Random(f"{self._seed} {reader}")) for reader in readers]
        turns = itertools.cycle(streams)
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            while not self._stop.is_set():
                batch = [event for stream in itertools.islice(turns, BATCH) if (event := next(stream, None))]
                if not batch:
                    return
                self._send(batch, client)
                self._stop.wait(self._pause_s)

    def _taken(self, events: Sequence[Event], client: httpx.Client) -> bool:
        try:
            answer = client.post(f"{self._url}/v1/events", json={"events": events})
        except httpx.TransportError:
            return self._refused()
        if answer.status_code == httpx.codes.ACCEPTED:
            statuses = {result["status"] for result in answer.json()["results"]}
            if statuses != {"accepted"}:
                self._wrong(f"collector: valid events were {', '.join(sorted(statuses))}")
            return True
        if not (answer.status_code in REFUSALS and "Retry-After" in answer.headers):
            self._wrong(f"collector: {answer.status_code} {answer.text[:200]}")
        return self._refused()

    def _refused(self) -> bool:
        with self._lock:
            self.sent.refused += 1
        return False

    def _wrong(self, what: str) -> None:
        with self._lock:
            self.sent.wrong.append(what)
