import numpy as np
import pytest

from jobs.crowd import CrowdShares
from slop.redis.profiles import User
from slop.v1.profile_pb2 import Profile as ProfileRecord
from tests.basis import profile_of, random_basis

BASIS = random_basis()


def reader(number: int, weights: tuple[float, ...], tenant: str = "default") -> tuple[User, ProfileRecord]:
    return User(tenant, f"u{number}"), ProfileRecord.FromString(profile_of(BASIS, weights).to_bytes())


def crowd_of(*readers: tuple[User, ProfileRecord]) -> dict[str, list[float]]:
    crowd = CrowdShares(BASIS.size, BASIS.dimensions)
    for one in readers:
        crowd.add([one])
    together = CrowdShares(BASIS.size, BASIS.dimensions)
    together.add(readers)
    apart = {tenant: share.tolist() for tenant, share in crowd.means()}
    assert apart == {tenant: pytest.approx(share.tolist()) for tenant, share in together.means()}
    return apart


def test_the_crowds_shares_are_the_mean_of_its_readers() -> None:
    assert crowd_of(reader(0, (1, 0, -1, 0)), reader(1, (1, 2, -1, 0))) == {
        "default": pytest.approx([(1 + 1 / 9) / 2, 4 / 9, 0, 0])
    }


def test_tenants_are_apart_and_one_reader_is_no_crowd() -> None:
    others = reader(0, (0, 1, 0, 0), "other"), reader(1, (0, 0, 1, 0), "other")
    assert crowd_of(reader(0, (1, 0, 0, 0)), *others) == {"other": pytest.approx([0, 0.5, 0.5, 0])}


def test_who_has_no_taste_and_what_is_broken_has_no_part_in_it() -> None:
    broken = reader(2, (0, 1, 0, 0))
    broken[1].mean = broken[1].mean[:-4]
    not_finite = reader(3, (0, 1, 0, 0))
    not_finite[1].mean = np.full(BASIS.dimensions, np.nan, "<f4").tobytes()
    readers = reader(0, (1, 0, 0, 0)), reader(1, (1, 0, 0, 0)), reader(4, (-1, -1, -1, -1))
    assert crowd_of(*readers, broken, not_finite) == {"default": [1, 0, 0, 0]}
    assert crowd_of(reader(4, (-1, -1, -1, -1)), not_finite) == {}
