"""What answers requests under the live basis, and how another one takes its place without a pause."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from redis import asyncio as aioredis
from redis.exceptions import RedisError

from generation import metrics
from generation.profiles import ProfileDescriber
from generation.ranking import Ranker
from generation.writing import Writer
from slop.basis import InvalidBasis
from slop.kafka.groups import Groups
from slop.redis.writable import require_writable_async
from slop.rollout.live import FOLLOWERS_TTL_S, LIVE_KEY, BasesView, BasisRef, follower, followers_key
from slop.soft_prompts import UnsafeSoftPrompt

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """All that depends on the basis."""

    writer: Writer
    ranker: Ranker
    teller: ProfileDescriber
    groups: Groups


class Live:
    """Follows the live basis; the next one is prepared beside it, so that it is there at once when it is live.

    Attributes:
        serving: under the live basis.
    """

    def __init__(self, redis: aioredis.Redis, configured: BasisRef, serving_of: Callable[[BasisRef], Serving]) -> None:
        """Begins with the configured basis.

        Raises:
            InvalidBasis: it can't be used.
            UnsafeSoftPrompt: it has a prompt that must not reach the engine.
        """
        self._redis, self._sight, self._serving_of = redis, BasesView(configured), serving_of
        self.serving = serving_of(configured)
        self._prepared = {configured.version: self.serving}
        metrics.show_live(self.serving.groups)

    async def run(self, every_s: float) -> None:
        """Follow until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.step()
            except Exception:
                log.exception("following failed; it goes on as it is")

    async def step(self) -> None:
        """Look which basis is live; without Redis it stays as it is."""
        try:
            stored = await self._redis.get(LIVE_KEY)
        except (RedisError, OSError) as error:
            log.warning("live_basis_unknown", error=f"{type(error).__name__}: {error}")
            return
        bases = self._sight.of(stored)
        errors = {version: await self._prepare(place) for version, place in bases.followed.items()}
        self._prepared = {version: self._prepared[version] for version, error in errors.items() if not error}
        self._switch(bases.live.version)
        await self._tell(errors)

    async def check(self) -> None:
        """Raise redis.exceptions.RedisError if Redis does not take writes: posts' texts are handed on through it."""
        await require_writable_async(self._redis, "generation")

    def _switch(self, version: str) -> None:
        serving = self._prepared.get(version)
        if serving is not None and serving is not self.serving:
            self.serving = serving
            metrics.show_live(serving.groups)
            log.info("basis_live", basis=version)

    async def _prepare(self, place: BasisRef) -> str:
        """Have a basis ready; returns what is in the way."""
        if place.version in self._prepared:
            return ""
        try:
            self._prepared[place.version] = await asyncio.to_thread(self._serving_of, place)
        except (InvalidBasis, UnsafeSoftPrompt) as error:
            log.error("basis_unusable", basis=place.version, error=str(error))
            return str(error)
        return ""

    async def _tell(self, errors: dict[str, str]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for version, error in errors.items():
            pipe.hset(followers_key(version), follower("generation"), error)
            pipe.expire(followers_key(version), FOLLOWERS_TTL_S)
        try:
            await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("followers_untold", error=f"{type(error).__name__}: {error}")
