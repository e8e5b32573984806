"""A sender with nothing but events: a product's backend that forwards what its readers did, in large batches."""

import time
from typing import Any, Final

import numpy as np
from locust import User, task
from locust.env import Environment

from client.rest import Event
from loadtests.api import Api, NotServed
from loadtests.feed import feed_posts
from loadtests.people import number_of, reader_of, seen
from loadtests.settings import load_settings
from loadtests.tracker import rejected

EVENTS_A_READER: Final = 10


class Ingestion(User):
    """Sends batches of many readers' events, one after the other, at the rate that the settings allow."""

    weight = 1

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._settings = settings = load_settings()
        self._rng = np.random.default_rng()
        self._posts = feed_posts(settings.load_catalogue)
        self._collector = Api(self, settings.collector, settings.load_timeout_s)
        self._batch = self._next_batch()
        self._pause_s = 0.0

    def wait_time(self) -> float:
        """Seconds until the next batch."""
        return self._pause_s

    @task
    def send(self) -> None:
        """Send a batch; one that was refused is sent again with the same ids."""
        started = time.monotonic()
        try:
            self._collector.post("/v1/events", {"events": self._batch}, rejected)
        except NotServed as error:
            self._pause_s = error.pause_s
            return
        self._batch = self._next_batch()
        rate = self._settings.load_events_per_s
        due_s = self._settings.load_batch / rate if rate else 0.0
        self._pause_s = max(0.0, due_s - (time.monotonic() - started))

    def _next_batch(self) -> list[dict[str, Any]]:
        events: list[Event] = []
        while len(events) < self._settings.load_batch:
            events += self._events_of_one()
        return [event.as_json() for event in events[: self._settings.load_batch]]

    def _events_of_one(self) -> list[Event]:
        number = number_of(self._rng.random(), self._settings.load_readers, self._settings.load_skew)
        reader = reader_of(number)
        chosen = self._rng.choice(len(self._posts), EVENTS_A_READER // 2, replace=False)
        posts = [self._posts[int(i)] for i in chosen]
        return [event for post in posts for event in seen(reader, post.post_id, post.text, self._rng).events]
