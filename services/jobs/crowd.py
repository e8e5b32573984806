"""What all readers of a tenant like together: the mean of their shares of the prompts, for the arm `crowd`."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from slop.redis.profiles import User
from slop.soft_prompts import shares_of_rows
from slop.v1.profile_pb2 import Profile as ProfileRecord

Doubles = npt.NDArray[np.float64]

FEWEST: Final = 2  # readers with a taste: the mean of fewer is not stored, since one reader is no crowd


class CrowdShares:
    """Sums up the shares of readers, by tenant. A reader without a taste has no part in it."""

    def __init__(self, prompts: int, dimensions: int) -> None:
        """Of a basis with K prompts and latents of D numbers."""
        self._prompts, self._bytes = prompts, 4 * dimensions
        self._sums: dict[str, Doubles] = defaultdict(lambda: np.zeros(prompts))
        self._readers: dict[str, int] = defaultdict(int)

    def add(self, profiles: Iterable[tuple[User, ProfileRecord]]) -> None:
        """Add readers; profiles that are broken are passed over."""
        by_tenant: dict[str, list[bytes]] = defaultdict(list)
        for user, profile in profiles:
            if len(profile.mean) == self._bytes:
                by_tenant[user.tenant].append(profile.mean)
        for tenant, means in by_tenant.items():
            latents = np.frombuffer(b"".join(means), "<f4").reshape(len(means), -1)[:, : self._prompts]
            shares = shares_of_rows(latents[np.isfinite(latents).all(axis=1)].astype(np.float64))
            self._sums[tenant] += shares.sum(axis=0)
            self._readers[tenant] += len(shares)

    def means(self) -> Iterator[tuple[str, Doubles]]:
        """For each tenant with enough readers its mean shares, (K,), which sum to 1."""
        for tenant, readers in self._readers.items():
            if readers >= FEWEST:
                yield tenant, self._sums[tenant] / readers
