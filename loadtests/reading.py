"""A reader with a feed: asks for a page of posts, looks at each, reacts, and leaves after a few pages."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from locust import User, task
from locust.env import Environment

from client.catalogue import Post
from loadtests.api import Api, NotServed
from loadtests.feed import candidates, feed_posts
from loadtests.people import number_of, reader_of, seen
from loadtests.settings import load_settings
from loadtests.tracker import Tracker

FROM_CATALOGUE: Final = 3
RANKED: Final = 30
RANK_SHARE: Final = 0.3
PROFILE_SHARE: Final = 0.1
GO_SHARE: Final = 0.25
AWAY_S: Final = 2.0
SCROLL_S: Final = 0.5


@dataclass(slots=True)
class Trace:
    """What one reader of the load test did, to be repeated at the engine alone.

    Attributes:
        pauses_s: seconds before each request for posts, without the services' time; the first from the load's start.
        characters: of the posts in the answer to each request; a request without an answer at the end has none.
    """

    pauses_s: list[float] = field(default_factory=list)
    characters: list[list[int]] = field(default_factory=list)


@dataclass(slots=True)
class Habits:
    """What all readers of this process did.

    Attributes:
        began_at: when the first one came, on the monotonic clock.
        traces: one for each reader.
        users: readers who reacted, the latest last, each with the last post.
    """

    began_at: float = 0.0
    traces: list[Trace] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)


HABITS: Final = Habits()


class Reading(User):
    """A person at a screen; when the person leaves, another one comes."""

    weight = 19

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._settings = settings = load_settings()
        self._rng = np.random.default_rng()
        self._generation = Api(self, settings.generation, settings.load_timeout_s)
        self._tracker = Tracker(Api(self, settings.collector, settings.load_timeout_s))
        self._pause_s, self._trace = 0.0, Trace()
        HABITS.traces.append(self._trace)
        HABITS.began_at = HABITS.began_at or time.monotonic()
        self._paused_s = time.monotonic() - HABITS.began_at
        self._come()
        self._page = deque(self._under_way())

    def wait_time(self) -> float:
        """How long the reader looks at what is on the screen, seconds."""
        return self._pause_s

    @task
    def scroll(self) -> None:
        """Look at the next post, or get a page of them."""
        try:
            self._pause_s = (self._look() if self._page else self._turn()) / self._settings.load_speed
        except NotServed as error:
            self._pause_s = error.pause_s
        self._paused_s += self._pause_s

    def on_stop(self) -> None:
        """Close the page. The time that the rest of it would have been read is added to the trace."""
        self._tracker.leave()
        rest = (SCROLL_S + seen(self._reader, post.post_id, post.text, self._rng).in_view_s for post in self._page)
        self._trace.pauses_s.append(self._paused_s + sum(rest) / self._settings.load_speed)

    def _under_way(self) -> list[Post]:
        """The rest of a page that is partly read, so that readers who come together do not ask together."""
        left = int(self._rng.integers(FROM_CATALOGUE + self._settings.load_posts + 1))
        return candidates(self._reader, feed_posts(self._settings.load_catalogue), left, self._rng)

    def _come(self) -> None:
        number = number_of(self._rng.random(), self._settings.load_readers, self._settings.load_skew)
        self._reader = reader_of(number)

    def _look(self) -> float:
        """React to the next post; returns for how long it is in view, seconds."""
        if self._tracker.full:
            self._tracker.send()
        post = self._page.popleft()
        reaction = seen(self._reader, post.post_id, post.text, self._rng)
        self._tracker.add(reaction.events)
        HABITS.users.pop(self._reader.user_id, None)
        HABITS.users[self._reader.user_id] = post.post_id
        return SCROLL_S + reaction.in_view_s

    def _turn(self) -> float:
        """Send the events of the last page, and get the next page; returns the pause, seconds."""
        self._tracker.send()
        if self._rng.random() < GO_SHARE:
            self._come()
            return AWAY_S
        if self._rng.random() < PROFILE_SHARE:
            self._look_at_profile()
        page = [*self._from_catalogue(), *self._generated()]
        self._page.extend(page[i] for i in self._rng.permutation(len(page)))
        return SCROLL_S

    def _generated(self) -> list[Post]:
        body = {"user_id": self._reader.user_id, "n": self._settings.load_posts}
        if self._settings.load_tokens is not None:
            body["max_tokens"] = self._settings.load_tokens
        answer = self._generation.post("/v1/generate", body, _unwritten)
        self._trace.pauses_s.append(self._paused_s)
        self._paused_s = 0.0
        self._trace.characters.append([len(post["text"]) for post in answer["posts"]])
        return [Post(post["post_id"], post["text"], "") for post in answer["posts"]]

    def _from_catalogue(self) -> list[Post]:
        posts = feed_posts(self._settings.load_catalogue)
        if self._rng.random() >= RANK_SHARE:
            return candidates(self._reader, posts, FROM_CATALOGUE, self._rng)
        return self._best_of(candidates(self._reader, posts, RANKED, self._rng))[:FROM_CATALOGUE]

    def _best_of(self, posts: list[Post]) -> list[Post]:
        body = {"user_id": self._reader.user_id, "posts": [{"post_id": post.post_id} for post in posts]}
        scores = self._generation.post("/v1/rank", body)["scores"]
        known = [(score, i) for i, score in enumerate(scores) if score is not None]
        return [posts[i] for _, i in sorted(known, reverse=True)] or posts

    def _look_at_profile(self) -> None:
        user_id = self._reader.user_id
        self._generation.get(f"/v1/users/{user_id}/profile", "/v1/users/{id}/profile", missing_is_fine=True)


def _unwritten(answer: Any) -> str | None:
    return None if answer["posts"] else "no post was written"
