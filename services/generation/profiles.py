"""A reader's profile in words. The latent itself is personal data, and no answer has it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import numpy as np
import structlog
from redis.exceptions import RedisError

from generation.contracts import ProfileResponse, Taste
from generation.reader_state import ReaderStates
from kit.problems import Problem
from slop.basis import Basis
from slop.profiles import InvalidProfile, Profile
from slop.soft_prompts import UnsafeSoftPrompt, shares

RETRY_AFTER_S: Final = 2
MAX_TASTES: Final = 5
SMALLEST_SHARE: Final = 0.01
WORDS: Final = 4

log = structlog.stdlib.get_logger(__name__)


class ProfileDescriber:
    """Describes profiles in the words of a basis. `prior_variance` is of a weight before the first signal."""

    def __init__(self, basis: Basis, readers: ReaderStates, prior_variance: float) -> None:
        self._basis, self._readers, self._prior_variance = basis, readers, prior_variance
        self._version = basis.version

    async def describe(self, user_id: str) -> ProfileResponse:
        """A reader's profile in words.

        Raises:
            Problem: there is no profile, or it can't be read, or must not be used.
        """
        profile = await self._profile(user_id)
        described = list(tastes(profile, self._basis))
        return ProfileResponse(
            user_id=user_id,
            interactions=profile.interactions,
            version=profile.version,
            updated_at=datetime.fromtimestamp(profile.updated_at_ms / 1000, UTC),
            tastes=described,
            topics=described,
            uncertainty=uncertainty(profile, self._basis.size, self._prior_variance),
            basis=self._version,
        )

    async def _profile(self, user_id: str) -> Profile:
        try:
            profile = await self._readers.profile(user_id)
        except (RedisError, OSError) as error:
            detail = "profiles can't be read now"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S) from error
        except (InvalidProfile, UnsafeSoftPrompt) as error:
            log.error("profile_unsafe", user_id=user_id, error=str(error))
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the stored profile is damaged and not used") from error
        if profile is None:
            raise Problem(HTTPStatus.NOT_FOUND, "nothing has been learned of this reader")
        return profile


def tastes(profile: Profile, basis: Basis) -> Iterator[Taste]:
    """The reader's largest shares, at most MAX_TASTES, each with words of the prompt's cluster."""
    share = shares(profile, basis.size)
    if share is None:
        return
    for k in np.argsort(-share)[:MAX_TASTES]:
        if share[k] >= SMALLEST_SHARE:
            yield Taste(share=round(float(share[k]), 3), words=list(basis.words[k][:WORDS]))


def uncertainty(profile: Profile, prompts: int, prior_variance: float) -> float:
    """The mean standard deviation of the weights over the prompts, as a share of the prior's; at most 1."""
    relative = np.sqrt(profile.variance[:prompts].astype(np.float64) / prior_variance).mean()
    return round(float(min(relative, 1.0)), 3)
