"""Which bases a process follows, told by a real Redis."""

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from kit.progress import Stalled
from slop.basis import Basis, InvalidBasis
from slop.rollout.lanes import Lanes
from slop.rollout.live import Bases, BasisRef, LiveBases


@dataclass
class Lane:
    """Work that only says whether it goes on."""

    basis: str
    at_work: bool = True
    told_to_stop: bool = False
    stalled: bool = False
    error: str = ""

    def check(self) -> None:
        assert self.at_work

    def check_progress(self) -> None:
        if self.stalled:
            raise Stalled

    def stop(self) -> None:
        self.told_to_stop = True

    def close(self) -> None:
        self.at_work = False


def start(basis: Basis) -> Lane:
    return Lane(basis.version)


def test_lanes_come_and_go_with_what_is_followed(redis_client: Redis, refs: list[BasisRef]) -> None:
    first, second = refs
    live = LiveBases(redis_client, first)
    lanes = Lanes(live, "test", start)
    lanes.step()
    assert list(lanes.by_version) == [first.version]
    old = lanes.by_version[first.version]

    live.write(Bases(first, also_followed=second))
    lanes.step()
    assert set(lanes.by_version) == {first.version, second.version}
    assert lanes.by_version[first.version] is old
    assert lanes.is_live(first.version)

    live.write(Bases(second, former=first))
    lanes.step()
    assert list(lanes.by_version) == [second.version]
    assert not old.at_work
    assert lanes.live is not None
    assert lanes.live.basis == second.version


def test_followers_say_what_is_in_the_way(redis_client: Redis, refs: list[BasisRef], tmp_path: Path) -> None:
    first, _ = refs
    gone = BasisRef("0" * 12, str(tmp_path / "gone"))
    live = LiveBases(redis_client, first)
    live.write(Bases(first, also_followed=gone))
    lanes = Lanes(live, "test", start)
    lanes.step()
    assert list(live.followers(first.version).values()) == [""]
    ((name, error),) = live.followers(gone.version).items()
    assert name.startswith("test@")
    assert "no usable basis" in error
    lanes.check()


def test_a_live_basis_that_cannot_be_loaded_is_not_ready(
    redis_client: Redis, refs: list[BasisRef], tmp_path: Path
) -> None:
    live = LiveBases(redis_client, refs[0])
    live.write(Bases(BasisRef("0" * 12, str(tmp_path / "gone"))))
    lanes = Lanes(live, "test", start)
    lanes.step()
    with pytest.raises(InvalidBasis, match="0" * 12):
        lanes.check()


def test_only_the_live_basis_has_to_get_on(redis_client: Redis, refs: list[BasisRef]) -> None:
    first, second = refs
    live = LiveBases(redis_client, first)
    live.write(Bases(first, also_followed=second))
    lanes = Lanes(live, "test", start)
    lanes.check_progress()  # there is nothing yet
    lanes.step()
    lanes.by_version[second.version].stalled = True
    lanes.check_progress()
    lanes.by_version[first.version].stalled = True
    with pytest.raises(Stalled):
        lanes.check_progress()


def test_a_bug_under_the_next_basis_is_told_and_harms_no_other(redis_client: Redis, refs: list[BasisRef]) -> None:
    first, second = refs
    live, tried = LiveBases(redis_client, first), list[str]()

    def fragile(basis: Basis) -> Lane:
        tried.append(basis.version)
        if basis.version == second.version:
            raise ZeroDivisionError("of nothing")
        return Lane(basis.version)

    live.write(Bases(first, also_followed=second))
    lanes = Lanes(live, "test", fragile)
    for _ in range(2):
        lanes.step()
    assert list(lanes.by_version) == tried[:1] == [first.version]
    assert tried[1:] == [second.version]
    assert list(live.followers(second.version).values()) == ["ZeroDivisionError: of nothing"]
    live.write(Bases(second))
    with pytest.raises(ZeroDivisionError):
        lanes.step()


def test_a_lane_that_ended_is_told_and_begun_again_once_it_is_live(redis_client: Redis, refs: list[BasisRef]) -> None:
    first, second = refs
    live = LiveBases(redis_client, first)
    live.write(Bases(first, also_followed=second))
    lanes = Lanes(live, "test", start)
    lanes.step()
    ended = lanes.by_version[second.version]
    ended.error = "it broke"
    lanes.step()
    assert lanes.by_version[second.version] is ended
    assert list(live.followers(second.version).values()) == ["it broke"]
    live.write(Bases(second))
    lanes.step()
    assert lanes.by_version[second.version] is not ended
    assert not ended.at_work
    assert list(live.followers(second.version).values()) == [""]


def test_lanes_are_told_to_stop_before_any_is_waited_for(redis_client: Redis, refs: list[BasisRef]) -> None:
    first, second = refs
    live, stop, seen = LiveBases(redis_client, first), threading.Event(), list[bool]()
    live.write(Bases(first, also_followed=second))

    class Watching(Lane):
        def close(self) -> None:
            seen.append(all(lane.told_to_stop for lane in begun))

    begun: list[Watching] = []

    def watched(basis: Basis) -> Watching:
        begun.append(Watching(basis.version))
        stop.set()
        return begun[-1]

    Lanes(live, "test", watched).run(0.1, stop)
    assert seen == [True, True]


def test_without_redis_what_was_followed_is_followed_on(refs: list[BasisRef]) -> None:
    with Redis(host="127.0.0.1", port=1) as nobody:
        lanes = Lanes(LiveBases(nobody, refs[0]), "test", start)
        for _ in range(2):
            lanes.step()
        assert list(lanes.by_version) == [refs[0].version]


def test_who_is_configured_with_another_basis_has_that_one(redis_client: Redis, refs: list[BasisRef]) -> None:
    first, second = refs
    LiveBases(redis_client, first).write(Bases(second, former=first))
    assert LiveBases(redis_client, first).read().live == second
    assert LiveBases(redis_client, second).read() == Bases(second)


def test_the_setting_decides_again_however_often_it_is_set_back(redis_client: Redis, refs: list[BasisRef]) -> None:
    first, second = refs
    LiveBases(redis_client, first).write(Bases(second, former=first))
    for configured in (second, first, second):
        lanes = Lanes(LiveBases(redis_client, configured), "test", start)
        lanes.step()
        assert list(lanes.by_version) == [configured.version]
        assert LiveBases(redis_client, configured).read().live == configured
