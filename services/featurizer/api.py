"""`POST /v1/features`: the internal call by which generation gets features that are not in Redis.

Ranking asks for the features alone, and choosing among posts that were just written for their embeddings too.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, Protocol, TypeVar

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
from slop.text_features import EncodedText

Floats = npt.NDArray[np.float32]
T = TypeVar("T")

MAX_TEXTS: Final = 500
USUAL_S: Final = 0.03  # the first estimate of the time that one text takes, in seconds
NEW_SHARE: Final = 0.1  # of the last measurement in that estimate, a moving average


class FeatureRequest(BaseModel):
    """The body of a request for features.

    Attributes:
        texts: whose features are wanted.
        post_ids: for each text the post whose text it is, so that its features are stored; null if it is no post's.
            Empty: none is a post's.
        tenant: of the posts.
        basis: version of the basis. If the process does not follow it, features are those of the live basis.
        embeddings: whether the embeddings are wanted too.
    """

    texts: list[str] = Field(min_length=1, max_length=MAX_TEXTS)
    post_ids: list[str | None] = Field(default_factory=list, max_length=MAX_TEXTS)
    tenant: str = ""
    basis: str = ""
    embeddings: bool = False

    @model_validator(mode="after")
    def _fit(self) -> "FeatureRequest":
        if self.post_ids and len(self.post_ids) != len(self.texts):
            raise ValueError("as many post_ids as texts, or none")
        return self

    def asked(self) -> list[RequestedText]:
        """The texts, each with its post."""
        ids = self.post_ids or [None] * len(self.texts)
        refs = [None if post_id is None else PostRef(self.tenant, post_id) for post_id in ids]
        return list(zip(refs, self.texts, strict=True))


class Features(BaseModel):
    """The answer: for each text its F features under the basis `basis`, or null if they can't be computed.

    If they were asked for, the embeddings too, E numbers each, or null where features are.
    """

    basis: str
    features: list[list[float] | None]
    embeddings: list[list[float] | None] | None = None


class FeatureSource(Protocol):
    """What computes features under a basis: a lane of the featurizer."""

    @property
    def basis(self) -> Basis:
        """The basis."""

    def features_of(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
        """Features of texts: (F,) float32 for each, None if they can't be computed. It blocks."""

    def encoded(self, asked: Sequence[RequestedText]) -> list[EncodedText | None]:
        """As `features_of`, with the embeddings."""


class FeatureRequests:
    """Serves requests piece by piece, in turn: after each piece of a request other requests get theirs.

    The rest of a request is dropped if its caller has gone. Requests are refused while too many texts wait.
    """

    def __init__(self, most_texts: int, threads: int) -> None:
        """Lets `most_texts` texts of all requests wait and computes on `threads` threads. For use on one event loop."""
        self._most, self._threads, self._waiting, self._usual_s = most_texts, threads, 0, USUAL_S
        self._pool = ThreadPoolExecutor(threads, "asked-features")

    async def answer(
        self,
        compute: Callable[[Sequence[RequestedText]], list[T]],
        asked: Sequence[RequestedText],
        has_gone: Callable[[], Awaitable[bool]],
    ) -> list[T]:
        """What is computed of texts, in their order.

        Args:
            compute: gives an answer for each text of a piece; may block.
            asked: the texts.
            has_gone: whether the caller has closed the connection.

        Raises:
            kit.problems.Problem: too many texts wait (503, with Retry-After), or the caller has gone (408).
        """
        self._admit(len(asked))
        found = list[T]()
        try:
            while len(found) < len(asked):
                if await has_gone():
                    metrics.REQUESTED_TEXTS.labels("left").inc(len(asked) - len(found))
                    raise Problem(HTTPStatus.REQUEST_TIMEOUT, "the caller has gone")
                found += await self._piece(compute, asked[len(found) : len(found) + PIECE])
        finally:
            self._admitted(-(len(asked) - len(found)))
        metrics.REQUESTED_TEXTS.labels("answered").inc(len(asked))
        return found

    def close(self) -> None:
        """End the threads, without waiting for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _piece(
        self, compute: Callable[[Sequence[RequestedText]], list[T]], asked: Sequence[RequestedText]
    ) -> list[T]:
        def timed() -> tuple[list[T], float]:
            began = time.perf_counter()
            return compute(asked), time.perf_counter() - began

        answers, seconds = await asyncio.get_running_loop().run_in_executor(self._pool, timed)
        self._usual_s += NEW_SHARE * (seconds / len(asked) - self._usual_s)
        self._admitted(-len(asked))
        return answers

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
    """The route of the call. `lane_of` gives the lane of a basis' version, or that of the live basis."""
    router = APIRouter(tags=["features"])

    @router.post("/v1/features", response_model_exclude_unset=True)
    async def features(asked: FeatureRequest, request: Request) -> Features:
        lane = lane_of(asked.basis)
        if lane is None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no basis is followed")
        version, texts = lane.basis.version, asked.asked()
        if not asked.embeddings:
            rows = await requests.answer(lane.features_of, texts, request.is_disconnected)
            return Features(basis=version, features=_listed(rows))
        encoded = await requests.answer(lane.encoded, texts, request.is_disconnected)
        return Features(
            basis=version,
            features=_listed([None if one is None else one.features for one in encoded]),
            embeddings=_listed([None if one is None else one.embedding for one in encoded]),
        )

    return router


def _listed(rows: Sequence[Floats | None]) -> list[list[float] | None]:
    return [None if row is None else row.tolist() for row in rows]
