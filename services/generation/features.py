"""Features of texts that are not known posts, computed by the featurizer."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import httpx
import numpy as np
import numpy.typing as npt
import structlog

from kit.problems import Problem
from slop.basis import Basis

RETRY_AFTER_S: Final = 5

log = structlog.stdlib.get_logger(__name__)


class Featurizer:
    """Asks the featurizer at `url` for features, within `timeout_s`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=False)

    async def features(self, texts: Sequence[str], basis: Basis) -> npt.NDArray[np.float32]:
        """The features of texts under a basis, (N, F) float32.

        Raises:
            Problem: the featurizer does not answer, or not with features of this basis.
        """
        if not texts:
            return np.empty((0, basis.feature_count), np.float32)
        version = basis.version
        try:
            response = await self._client.post("/v1/features", json={"texts": list(texts), "basis": version})
            response.raise_for_status()
        except httpx.HTTPError as error:
            log.warning("featurizer_unavailable", error=repr(error))
            detail = "features of texts can't be computed now; posts that are known by their id can be ranked"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S) from error
        return _checked(response, version, (len(texts), basis.feature_count))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _checked(response: httpx.Response, version: str, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    try:
        answer = response.json()
        features = np.array(answer["features"], dtype=np.float32)
        fits = answer["basis"] == version and features.shape == shape
    except (ValueError, LookupError, TypeError):
        fits = False
    if not fits or not np.isfinite(features).all():
        raise Problem(HTTPStatus.BAD_GATEWAY, "the featurizer's features are not of this service's basis")
    return features
