"""Asking the featurizer for features that are not in Redis, and for embeddings."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httpx
import numpy as np
import numpy.typing as npt
import structlog

from kit.problems import Problem
from slop.basis import Basis
from slop.text_features import EncodedText

Floats = npt.NDArray[np.float32]

RETRY_AFTER_S: Final = 5
LONGEST_EMBEDDING: Final = 1.01  # their norm is 1, or 0

log = structlog.stdlib.get_logger(__name__)


class RequestedText(NamedTuple):
    """A text whose features are wanted and, if it is a known post's, the post's id: then its features are stored."""

    text: str
    post_id: str | None = None


class FeaturizerClient:
    """Client of the featurizer at `url`, which has `timeout_s` seconds for a request."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=False)

    async def features(self, texts: Sequence[RequestedText], basis: Basis, tenant: str) -> list[Floats | None]:
        """The features of texts under a basis: (F,) float32 each, or None for a text that can't have any.

        A call that is cancelled closes its connection, so that the featurizer stops computing for it.

        Raises:
            Problem: the featurizer does not answer, has too much to do, or does not answer with features of this basis.
        """
        if not texts:
            return []
        body = {
            "texts": [one.text for one in texts],
            "post_ids": [one.post_id for one in texts],
            "tenant": tenant,
            "basis": basis.version,
        }
        answer = await self._answer(body)
        return _checked(answer, basis.version, (len(texts), basis.feature_count))

    async def encoded(self, texts: Sequence[str], basis: Basis) -> list[EncodedText | None]:
        """The features of texts under a basis, and their embeddings; None for a text that can't have any.

        Raises:
            Problem: as `features` does.
        """
        if not texts:
            return []
        answer = await self._answer({"texts": list(texts), "basis": basis.version, "embeddings": True})
        features = _checked(answer, basis.version, (len(texts), basis.feature_count))
        embeddings = _checked_embeddings(answer, [row is not None for row in features])
        return [
            None if row is None or embedding is None else EncodedText(row, embedding)
            for row, embedding in zip(features, embeddings, strict=True)
        ]

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _answer(self, body: Mapping[str, Any]) -> Any:
        """What the featurizer answers, parsed; None if that is no JSON."""
        try:
            response = await self._client.post("/v1/features", json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            log.warning("featurizer_unavailable", error=repr(error))
            detail = "features of texts can't be computed now; posts that are known by their id can be ranked"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=_retry_after_s(error)) from error
        try:
            return response.json()
        except ValueError:
            return None


def _checked(answer: Any, version: str, shape: tuple[int, int]) -> list[Floats | None]:
    """The features in an answer, if they are of this basis and of this shape: (texts, F)."""
    try:
        features = _rows(answer["features"])
        fits = answer["basis"] == version and len(features) == shape[0]
        fits &= all(row is None or (row.shape == shape[1:] and bool(np.isfinite(row).all())) for row in features)
    except (ValueError, LookupError, TypeError):
        fits = False
    if not fits:
        raise Problem(HTTPStatus.BAD_GATEWAY, "the featurizer's features are not of this service's basis")
    return features


def _checked_embeddings(answer: Any, are_there: Sequence[bool]) -> list[Floats | None]:
    """The embeddings in an answer, if there is one for each text that has features, all of them of one size."""
    try:
        rows = _rows(answer["embeddings"])
        fits = [row is not None for row in rows] == list(are_there)
        fits &= len({row.shape for row in rows if row is not None}) <= 1
        fits &= all(row is None or (row.ndim == 1 and np.linalg.norm(row) < LONGEST_EMBEDDING) for row in rows)
    except (ValueError, LookupError, TypeError):
        fits = False
    if not fits:
        raise Problem(HTTPStatus.BAD_GATEWAY, "the featurizer has no usable embeddings of texts")
    return rows


def _rows(listed: Sequence[Sequence[float] | None]) -> list[Floats | None]:
    return [None if row is None else np.array(row, dtype=np.float32) for row in listed]


def _retry_after_s(error: httpx.HTTPError) -> int:
    """What the featurizer's answer says, or else RETRY_AFTER_S; seconds."""
    said = error.response.headers.get("Retry-After", "") if isinstance(error, httpx.HTTPStatusError) else ""
    return int(said) if said.isdigit() else RETRY_AFTER_S
