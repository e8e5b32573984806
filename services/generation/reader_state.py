"""What may be used of a reader's profile for a request, whatever state Redis and the profile are in."""

import asyncio
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from generation.contracts import Personalization, Reason
from slop.arms import Arm
from slop.experiments import ArmAssigner
from slop.profiles import InvalidProfile, Profile
from slop.redis.profiles import ProfileReader
from slop.soft_prompts import UnsafeSoftPrompt, usable_latent

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReaderState:
    """A reader's usable profile, or the reason why there is none to use."""

    reason: Reason
    arm: Arm
    profile: Profile | None = None
    experiment: str = ""

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


class ReaderStates:
    """Finds readers' profiles, in at most `timeout_s` seconds each."""

    def __init__(self, reader: ProfileReader, assigner: ArmAssigner, timeout_s: float) -> None:
        self._reader, self._assigner, self._timeout_s = reader, assigner, timeout_s

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
        reason = Reason.CONTROL if arm == Arm.BASE else Reason.PERSONALIZED
        return ReaderState(reason, arm, profile, experiment)
