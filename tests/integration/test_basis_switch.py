"""Under which basis generation serves, as a real Redis says."""

from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from generation.serving import BasisSwitch, Serving
from slop.basis import InvalidBasis
from slop.kafka.groups import Groups
from slop.rollout.live import Bases, BasisRef, LiveBases


def serving_of(ref: BasisRef) -> Serving:
    nothing = cast("Any", None)
    return Serving(ref.version, nothing, nothing, nothing, Groups.of(ref.load()), nothing)


def served(switch: BasisSwitch) -> str:
    return switch.serving.groups.signals.rpartition(".")[2]


async def test_the_next_basis_is_prepared_and_switched_to_when_it_is_live(
    redis_client: Redis, refs: list[BasisRef]
) -> None:
    first, second = refs
    bases, prepared = LiveBases(redis_client, first), list[str]()

    def prepare(ref: BasisRef) -> Serving:
        prepared.append(ref.version)
        return serving_of(ref)

    switch = BasisSwitch(bases, prepare)
    bases.write(Bases(first, also_followed=second))
    await switch.step()
    assert served(switch) == first.version
    assert [list(bases.followers(ref.version).values()) for ref in refs] == [[""], [""]]
    bases.write(Bases(second, also_followed=first, former=first))
    await switch.step()
    assert served(switch) == second.version
    assert prepared == [first.version, second.version]


async def test_while_the_live_basis_cannot_be_used_the_former_one_is_served_under_and_the_live_one_tried_again(
    redis_client: Redis, refs: list[BasisRef], tmp_path: Path
) -> None:
    first, second = refs
    bases = LiveBases(redis_client, first)
    switch = BasisSwitch(bases, serving_of)
    (tmp_path / "second").rename(tmp_path / "moved")
    bases.write(Bases(second, former=first))
    for _ in range(2):
        await switch.step()
        assert served(switch) == first.version
    ((name, error),) = bases.followers(second.version).items()
    assert name.startswith("generation@")
    assert "no usable basis" in error
    (tmp_path / "moved").rename(tmp_path / "second")
    await switch.step()
    assert served(switch) == second.version
    assert list(bases.followers(second.version).values()) == [""]


async def test_without_redis_it_serves_under_the_same_basis(refs: list[BasisRef]) -> None:
    with Redis(host="127.0.0.1", port=1) as nobody:
        switch = BasisSwitch(LiveBases(nobody, refs[0]), serving_of)
        await switch.step()
        assert served(switch) == refs[0].version


async def test_generation_claims_nothing(redis_client: Redis, refs: list[BasisRef]) -> None:
    first, second = refs
    LiveBases(redis_client, first).write(Bases(second, former=first))
    switch = BasisSwitch(LiveBases(redis_client, second), serving_of)
    await switch.step()
    assert served(switch) == second.version
    assert LiveBases(redis_client, first).read() == Bases(second, former=first)


def test_a_configured_basis_that_cannot_be_used_is_no_start(redis_client: Redis, tmp_path: Path) -> None:
    with pytest.raises(InvalidBasis, match="no usable basis"):
        BasisSwitch(LiveBases(redis_client, BasisRef("0" * 12, str(tmp_path))), serving_of)
