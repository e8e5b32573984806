"""How much posts are to a reader's taste. The language model is not asked."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import numpy as np
import numpy.typing as npt
from redis.exceptions import RedisError

from generation import metrics
from generation.contracts import NamedPost, RankRequest, RankResponse, Reason
from generation.features import FeaturizerClient, RequestedText
from generation.reader_state import ReaderState, ReaderStates
from kit.problems import Problem
from slop.basis import Basis
from slop.profiles import Profile, scores
from slop.redis.posts import RankedPosts

Floats = npt.NDArray[np.float32]

RETRY_AFTER_S: Final = 2


class Ranker:
    """Ranks by a reader's profile, or by the prior's mean where the reader has no profile that may be used."""

    def __init__(
        self, basis: Basis, readers: ReaderStates, posts: RankedPosts, featurizer: FeaturizerClient, timeout_s: float
    ) -> None:
        """Rank under `basis`; Redis may take `timeout_s` seconds to find the posts of one request."""
        self._readers, self._posts, self._featurizer, self._timeout_s = readers, posts, featurizer, timeout_s
        self._basis, self._version, self._blocks = basis, basis.version, basis.blocks
        self._tenant = posts.tenant
        self._prior = Profile.new(basis.version, basis.prior(1.0, 1.0, 1.0))

    async def rank(self, request: RankRequest) -> RankResponse:
        """Score posts.

        Raises:
            Problem: Redis does not answer, or the featurizer where it is needed.
        """
        with metrics.RANK_SECONDS.time():
            state = await self._readers.state(request.user_id)
            features = await self._features(request.posts)
            taste = self._taste(state)
            return RankResponse(
                scores=[None if x is None else float(scores(taste, x[None], self._blocks)[0]) for x in features],
                personalization=state.personalization(self._version),
            )

    def _taste(self, state: ReaderState) -> Profile:
        if state.reason == Reason.PERSONALIZED and state.profile is not None:
            return state.profile
        return self._prior

    async def _features(self, posts: Sequence[NamedPost]) -> list[Floats | None]:
        """Features of posts, in order; None for a post that is not known, or whose features can't be had now."""
        known = iter(await self._known([post.post_id for post in posts if post.post_id is not None]))
        found = [post.text if post.post_id is None else next(known) for post in posts]
        asked = {at: RequestedText(x, posts[at].post_id) for at, x in enumerate(found) if isinstance(x, str)}
        computed = dict(zip(asked, await self._computed(list(asked.values())), strict=True))
        return [computed.get(at) if isinstance(x, str) else x for at, x in enumerate(found)]

    async def _computed(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
        """Features of texts. Without the featurizer, None for each if all are of known posts, else the Problem."""
        try:
            return await self._featurizer.features(asked, self._basis, self._tenant)
        except Problem:
            if any(one.post_id is None for one in asked):
                raise
            return [None] * len(asked)  # posts whose features aren't ready yet

    async def _known(self, post_ids: Sequence[str]) -> list[Floats | str | None]:
        """For each post its features; its text if it has no features yet; None if it is not known."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._posts.features(post_ids)
        except (RedisError, OSError) as error:
            detail = "features of posts can't be read now"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S) from error
