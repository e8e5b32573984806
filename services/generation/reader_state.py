"""What may be used of a reader's profile for a request, whatever state Redis and the profile are in."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import structlog
from redis import asyncio as aioredis
from redis.exceptions import RedisError

from generation.contracts import Personalization, Reason
from slop.arms import ARMS, Arm, Reads
from slop.basis import Basis
from slop.experiments import ArmAssigner
from slop.profiles import InvalidProfile, Profile
from slop.recent import InvalidRecent
from slop.redis.crowd import read_crowd
from slop.redis.posts import PostRef, read_texts_async
from slop.redis.profiles import ProfileReader
from slop.soft_prompts import UnsafeSoftPrompt, usable_latent

# Why posts are as they are of readers with a profile, by what their arm reads; by default they are personalized.
_REASONS: Final = {Reads.NOTHING: Reason.CONTROL, Reads.CROWD: Reason.CROWD}

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReaderState:
    """What a reader's posts may be written from, or the reason why there is nothing to use.

    Attributes:
        reason: PERSONALIZED or CROWD, or why the posts are plain.
        arm: of the reader.
        profile: that may be used; None if there is none.
        experiment: that has assigned the arm; empty if none did.
        liked: texts of the posts that the reader liked last, newest last; only if the arm reads them.
        crowd: (K,) float64, the shares of the prompts in what all readers like; None if they are not known, or if the
            arm does not read them.
    """

    reason: Reason
    arm: Arm
    profile: Profile | None = None
    experiment: str = ""
    liked: tuple[str, ...] = ()
    crowd: npt.NDArray[np.float64] | None = None

    def personalization(self, basis: str) -> Personalization:
        """What the answer says of it, under a basis of this version."""
        return Personalization(
            applied=self.reason == Reason.PERSONALIZED,
            reason=self.reason,
            interactions=self.profile.interactions if self.profile else 0,
            basis=basis,
            arm=self.arm,
            experiment=self.experiment or None,
        )


class LikedTexts:
    """The texts of posts that readers liked, `posts` of them at most."""

    def __init__(self, redis: aioredis.Redis, tenant: str, posts: int) -> None:
        self._redis, self._tenant, self._posts = redis, tenant, posts

    async def of(self, post_ids: Sequence[str]) -> tuple[str, ...]:
        """The texts of those posts, newest last, that still have one.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        if not post_ids:
            return ()
        found = await read_texts_async(self._redis, [PostRef(self._tenant, post_id) for post_id in post_ids])
        return tuple(text for text in found if text)[-self._posts :]


class Crowd:
    """What all readers of a tenant like, under a basis."""

    def __init__(self, redis: aioredis.Redis, tenant: str, basis: Basis) -> None:
        self._redis, self._tenant, self._basis, self._version = redis, tenant, basis, basis.version

    async def shares(self) -> npt.NDArray[np.float64] | None:
        """The shares of the prompts, (K,) float64; None if they are not known.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        return await read_crowd(self._redis, self._version, self._tenant, self._basis.size)


class ReaderStates:
    """Finds what is known of readers, in at most `timeout_s` seconds each."""

    def __init__(
        self, reader: ProfileReader, texts: LikedTexts, crowd: Crowd, assigner: ArmAssigner, timeout_s: float
    ) -> None:
        self._reader, self._texts, self._crowd = reader, texts, crowd
        self._assigner, self._timeout_s = assigner, timeout_s

    async def profile(self, user_id: str) -> Profile | None:
        """A reader's profile; None if nothing was learned of this reader.

        Raises:
            InvalidProfile, UnsafeSoftPrompt: what is stored must not be used.
            RedisError, OSError: Redis does not answer in time.
        """
        async with asyncio.timeout(self._timeout_s):
            profile = await self._reader.profile(user_id)
        if profile is not None:
            usable_latent(profile)
        return profile

    async def state(self, user_id: str | None) -> ReaderState:
        """The reader's profile if it may be used, or else the reason why not; None is no reader in particular."""
        if user_id is None:
            return ReaderState(Reason.NO_USER, Arm.BASE)
        arm, experiment = self._assigner.assign(user_id)
        try:
            profile = await self.profile(user_id)
        except (RedisError, OSError) as error:
            log.warning("profile_unavailable", error=f"{type(error).__name__}: {error}")
            return ReaderState(Reason.REDIS_UNAVAILABLE, arm, experiment=experiment)
        except (InvalidProfile, UnsafeSoftPrompt) as error:
            log.error("profile_unsafe", user_id=user_id, error=str(error))
            return ReaderState(Reason.UNSAFE_PROFILE, arm, experiment=experiment)
        if profile is None:
            return ReaderState(Reason.NO_PROFILE, arm, experiment=experiment)
        return ReaderState(_REASONS.get(ARMS[arm].reads, Reason.PERSONALIZED), arm, profile, experiment)

    async def state_to_write(self, user_id: str | None) -> ReaderState:
        """`state`, with what else posts of the reader's arm are written from."""
        state = await self.state(user_id)
        try:
            async with asyncio.timeout(self._timeout_s):
                match ARMS[state.arm].reads:
                    case Reads.LIKED if user_id is not None and state.reason is Reason.PERSONALIZED:
                        return replace(state, liked=await self._texts.of(await self._reader.liked_posts(user_id)))
                    case Reads.CROWD if state.reason is not Reason.REDIS_UNAVAILABLE:
                        return replace(state, reason=Reason.CROWD, crowd=await self._crowd.shares())
        except (RedisError, OSError) as error:
            log.warning("not_known_of_reader", arm=state.arm, error=f"{type(error).__name__}: {error}")
            return replace(state, reason=Reason.REDIS_UNAVAILABLE)
        except InvalidRecent as error:
            log.error("liked_posts_broken", user_id=user_id, error=str(error))
        return state
