"""`POST /v1/features`: the internal call by which generation ranks posts whose features are not in Redis."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, model_validator

from featurizer import metrics
from featurizer.post_features import RequestedText
from featurizer.text_features import PIECE
from kit.problems import Problem
from slop.basis import Basis
from slop.redis.posts import PostRef

Floats = npt.NDArray[np.float32]

MAX_TEXTS: Final = 500
USUAL_S: Final = 0.03  # for one text, to begin with
NEW_SHARE: Final = 0.1


class FeatureRequest(BaseModel):
    """Texts whose features are asked for, under a basis; of the live one, if that is not followed.

    Attributes:
        texts: any texts.
        post_ids: for each text the post whose it is, whose features are stored then; null for one that is no post's.
        tenant: whose posts these are.
        basis: version of the basis.
    """

    texts: list[str] = Field(min_length=1, max_length=MAX_TEXTS)
    post_ids: list[str | None] = Field(default_factory=list, max_length=MAX_TEXTS)
    tenant: str = ""
    basis: str = ""

    @model_validator(mode="after")
    def _fit(self) -> "FeatureRequest":
        if self.post_ids and len(self.post_ids) != len(self.texts):
            raise ValueError("as many post_ids as texts, or none")
        return self

    def asked(self) -> list[RequestedText]:
        """Each text with its post."""
        ids = self.post_ids or [None] * len(self.texts)
        refs = [None if post_id is None else PostRef(self.tenant, post_id) for post_id in ids]
        return list(zip(refs, self.texts, strict=True))


class Features(BaseModel):
    """Their features under the basis `basis`, each of length F, in the order asked for; null of a text without any."""

    basis: str
    features: list[list[float] | None]


class FeatureSource(Protocol):
    """What computes features under a basis."""

    @property
    def basis(self) -> Basis:
        """Under which."""

    def features_of(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
        """(F,) float32 of each text, None of one that can't have any; blocks."""


class FeatureRequests:
    """Takes requests for features, so many texts at a time, and serves them piece by piece in turn.

    A request's next piece comes when those of the others have had theirs, and not at all if its caller has gone.
    """

    def __init__(self, most_texts: int, threads: int) -> None:
        """At most `most_texts` wait, over all requests; `threads` work on them. To be used on one event loop."""
        self._most, self._threads, self._waiting, self._usual_s = most_texts, threads, 0, USUAL_S
        self._pool = ThreadPoolExecutor(threads, "asked-features")

    async def features(
        self, lane: FeatureSource, asked: Sequence[RequestedText], has_gone: Callable[[], Awaitable[bool]]
    ) -> list[Floats | None]:
        """(F,) float32 of each text, in order; None of one that can't have any.

        Raises:
            Problem: too many texts wait, or the caller has gone.
        """
        self._admit(len(asked))
        found: list[Floats | None] = []
        try:
            while len(found) < len(asked):
                if await has_gone():
                    metrics.REQUESTED_TEXTS.labels("left").inc(len(asked) - len(found))
                    raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the caller has gone")
                found += await self._piece(lane, asked[len(found) : len(found) + PIECE])
        finally:
            self._admitted(-(len(asked) - len(found)))
        metrics.REQUESTED_TEXTS.labels("answered").inc(len(asked))
        return found

    def close(self) -> None:
        """End the threads, without waiting for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _piece(self, lane: FeatureSource, asked: Sequence[RequestedText]) -> list[Floats | None]:
        def compute() -> tuple[list[Floats | None], float]:
            began = time.perf_counter()
            return lane.features_of(asked), time.perf_counter() - began

        features, seconds = await asyncio.get_running_loop().run_in_executor(self._pool, compute)
        self._usual_s += NEW_SHARE * (seconds / len(asked) - self._usual_s)
        self._admitted(-len(asked))
        return features

    def _admit(self, texts: int) -> None:
        if self._waiting + texts > self._most:
            metrics.REQUESTED_TEXTS.labels("refused").inc(texts)
            seconds = math.ceil(self._waiting * self._usual_s / self._threads)
            detail = f"{self._waiting} texts wait already, {self._most} may"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=max(1, seconds))
        self._admitted(texts)

    def _admitted(self, texts: int) -> None:
        self._waiting += texts
        metrics.REQUESTED_TEXTS_WAITING.set(self._waiting)


def features_router(requests: FeatureRequests, lane_of: Callable[[str], FeatureSource | None]) -> APIRouter:
    """The route; `lane_of` gives the lane of a basis' version, or the live one's."""
    router = APIRouter(tags=["features"])

    @router.post("/v1/features")
    async def features(asked: FeatureRequest, request: Request) -> Features:
        lane = lane_of(asked.basis)
        if lane is None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no basis is followed")
        found = await requests.features(lane, asked.asked(), request.is_disconnected)
        return Features(basis=lane.basis.version, features=[None if x is None else x.tolist() for x in found])

    return router
