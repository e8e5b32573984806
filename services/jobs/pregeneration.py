"""Writes posts before they are asked for, into the queue of each active reader (see `slop.redis.feed_queue`).

A queue is refilled when it runs low, and replaced when the reader's profile has moved far since its posts were written.
Posts are asked of the generation service, as by any caller, a few at a time and within a budget of tokens, so that they
hold up nobody who waits for a post.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx
import numpy as np
import structlog
from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.exceptions import LockError

from jobs import metrics
from jobs.limits import JobLimits
from jobs.settings import JobsSettings
from slop.basis import Basis
from slop.profiles import InvalidProfile, Profile
from slop.redis.feed_queue import FeedQueues, QueueState, WrittenUnder
from slop.redis.profiles import ProfileArchive, User
from slop.settings import MAX_CANDIDATES
from slop.soft_prompts import UnsafeSoftPrompt, shares
from slop.v1.post_pb2 import Post

LOCK_KEY: Final = "slop:feed-lock"
BUDGET_KEY: Final = "slop:feed-budget"
BATCH: Final = 4
"""Posts that are asked for at a time: more would hold up those who wait for theirs."""
SAVED_S: Final = 60
"""Unused tokens are saved, at most as many as there are in so many seconds."""
UNUSABLE: Final = frozenset({"redis_unavailable", "unsafe_profile"})
"""Reasons of plain posts that may be over when the reader sees the posts, so that they are not kept."""

log = structlog.get_logger(__name__)


class GenerationBusy(RuntimeError):  # noqa: N818
    """The generation service is away, or has no time for posts that nobody waits for."""


class _Post(BaseModel):
    post_id: str
    text: str


class _Personalization(BaseModel):
    reason: str
    arm: str
    basis: str


class _Answer(BaseModel):
    posts: list[_Post]
    personalization: _Personalization


@dataclass(frozen=True, slots=True)
class Wanted:
    """Posts that a reader's queue lacks.

    Attributes:
        user: whose queue.
        posts: how many.
        now: what posts are written under now.
        replace: whether the posts in the queue are out of date.
        length: how many posts are in it.
    """

    user: User
    posts: int
    now: WrittenUnder
    replace: bool
    length: int

    @property
    def urgency(self) -> tuple[bool, int]:
        """Sorts the most urgent first: an empty queue, then one out of date, then the shorter one."""
        return not self.replace, self.length


class TokenBudget:
    """A token bucket in Redis that gets `tokens_per_s` tokens a second (see SAVED_S). One job at a time may use it."""

    def __init__(self, redis: Redis, tokens_per_s: float, clock: Callable[[], float] = time.time) -> None:
        self._redis, self._rate, self._clock = redis, tokens_per_s, clock

    def left(self) -> float:
        """The tokens that may be asked for now."""
        now = self._clock()
        try:
            saved, at = map(float, (self._redis.get(BUDGET_KEY) or b"").split())
        except ValueError:  # not stored yet
            return self._rate * SAVED_S
        return min(saved + self._rate * max(now - at, 0.0), self._rate * SAVED_S)

    def use(self, tokens: int) -> None:
        """Take tokens out. If there are fewer, none are left until as many have come."""
        self._redis.set(BUDGET_KEY, f"{self.left() - tokens} {self._clock()}")


class Pregeneration:
    """Fills the queues of active readers once."""

    def __init__(
        self,
        redis: Redis,
        archive: ProfileArchive,
        basis: Basis,
        settings: JobsSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Fills nothing yet.

        Args:
            redis: where the queues are.
            archive: the profiles under the live basis.
            basis: that is live.
            settings: how long queues are, and what may be spent on them.
            clock: of the budget: the time in seconds.
        """
        self._queues = FeedQueues(redis, settings.pregeneration_expiry_s)
        self._budget = TokenBudget(redis, settings.pregeneration_tokens_per_s, clock)
        self._archive, self._basis, self._settings = archive, basis, settings
        self._tokens, self._candidates = settings.pregeneration_post_tokens, settings.generation_candidates
        self._version = basis.version

    def fill(self, client: httpx.Client, limits: JobLimits) -> int:
        """Fill the queues, the most urgent first, as far as the budget goes; returns how many posts were written.

        Raises:
            GenerationBusy: no more posts are to be had now.
            jobs.limits.Interrupted, jobs.limits.TookTooLong: as `limits` says.
            redis.exceptions.RedisError: Redis is away.
        """
        written = 0
        for wanted in self.wanted():
            missing, replace = wanted.posts, wanted.replace
            while missing:
                limits.check()
                affordable = int(self._budget.left() // (self._tokens * self._candidates))
                if affordable < 1:
                    return written
                at_once = min(missing, BATCH, MAX_CANDIDATES // self._candidates, affordable)
                posts = self._posts(client, wanted.user, at_once)
                if not posts:
                    break
                self._queues.add(wanted.user, posts, wanted.now, replace=replace)
                metrics.FEED_POSTS.inc(len(posts))
                missing, replace, written = max(missing - len(posts), 0), False, written + len(posts)
        return written

    def wanted(self) -> list[Wanted]:
        """What queues lack, the most urgent first.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        active = self._queues.active(self._settings.pregeneration_active_s)
        users = [user for user in active if user.tenant == self._settings.tenant]
        metrics.FEED_ACTIVE.set(len(users))
        states, profiles = self._queues.states(users), self._archive.profiles(users)
        lacking = [
            self._lacking(user, state, self._written_under(data))
            for user, state, data in zip(users, states, profiles, strict=True)
        ]
        wanted = sorted((one for one in lacking if one.posts), key=lambda one: one.urgency)
        metrics.FEED_LOW.set(len(wanted))
        return wanted

    def _lacking(self, user: User, state: QueueState, now: WrittenUnder) -> Wanted:
        size, moved = self._settings.pregeneration_posts, self._has_moved(state, now)
        low = state.length <= size // 2
        missing = size if moved else (size - state.length if low else 0)
        return Wanted(user, missing, now, moved or not state.length, state.length)

    def _has_moved(self, state: QueueState, now: WrittenUnder) -> bool:
        if state.written is None:
            return True
        return state.written.distance(now.basis, now.shares) > self._settings.pregeneration_distance

    def _written_under(self, data: bytes | None) -> WrittenUnder:
        plain = np.zeros(self._basis.size, np.float32)
        try:
            profile = None if data is None else Profile.from_bytes(data, self._basis.dimensions)
            share = None if profile is None else shares(profile, self._basis.size)
        except (InvalidProfile, UnsafeSoftPrompt):
            share = None
        return WrittenUnder(self._version, plain if share is None else share.astype(np.float32))

    def _posts(self, client: httpx.Client, user: User, posts: int) -> list[Post]:
        """Posts for a reader's queue; none if the reader can't have any that are worth keeping.

        Raises:
            GenerationBusy: the service has no time, or is away.
        """
        asked = {"user_id": user.user_id, "n": posts, "max_tokens": self._tokens, "candidates": self._candidates}
        try:
            response = client.post("/v1/generate", json=asked)
        except httpx.TransportError as error:
            raise GenerationBusy(f"{type(error).__name__}: {error}") from error
        self._budget.use(posts * self._candidates * self._tokens)  # at most: not every reader's posts are chosen
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or (
            response.status_code == HTTPStatus.TOO_MANY_REQUESTS
        ):
            raise GenerationBusy(f"generation answered {response.status_code}")
        try:
            answer = _Answer.model_validate_json(response.raise_for_status().content)
        except (httpx.HTTPStatusError, ValidationError) as error:
            log.warning("no posts for a queue", user_id=user.user_id, error=str(error))
            return []
        if answer.personalization.reason in UNUSABLE:
            return []
        return [_post(user, post, answer.personalization) for post in answer.posts if post.text]


def _post(user: User, post: _Post, personalization: _Personalization) -> Post:
    return Post(
        post_id=post.post_id,
        tenant=user.tenant,
        text=post.text,
        created_at_ms=time.time_ns() // 1_000_000,
        for_user_id=user.user_id,
        arm=personalization.arm,
        basis=personalization.basis,
    )


@contextmanager
def only_one(redis: Redis, longest_s: float) -> Iterator[bool]:
    """Whether this is the only job that fills queues; it stays so until the block ends, or for `longest_s` seconds."""
    lock = redis.lock(LOCK_KEY, timeout=longest_s, blocking=False)
    mine = lock.acquire()
    try:
        yield mine
    finally:
        if mine:
            try:
                lock.release()
            except LockError:
                log.warning("filling queues took longer than it may", longest_s=longest_s)
