import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.snapshot_file import InvalidSnapshot, read_snapshot, write_snapshot
from slop.redis.profiles import ArchivedUser, User
from slop.v1.interaction_pb2 import Interaction

NOON_MS = 1_790_000_000_000
IDS = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=20)
USERS = st.builds(
    ArchivedUser,
    st.builds(User, IDS, IDS),
    st.binary(max_size=300),
    st.binary(max_size=300),
)
ANN = ArchivedUser(User("default", "ann"), b"profile", b"recent")


def written(folder: Path, *users: ArchivedUser) -> Path:
    path = folder / "snapshot"
    with path.open("wb") as target:
        assert write_snapshot(target, "abc123", NOON_MS, users) == len(users)
    return path


@given(st.lists(USERS, max_size=20))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_again(tmp_path: Path, users: list[ArchivedUser]) -> None:
    header, found = read_snapshot(written(tmp_path, *users))
    assert (header.basis, header.taken_at_ms) == ("abc123", NOON_MS)
    assert list(found) == users


def test_what_was_parked_is_read_again(tmp_path: Path) -> None:
    parked = [Interaction(event_id=name, post_id="p") for name in "ab"]
    with (tmp_path / "snapshot").open("wb") as target:
        write_snapshot(target, "abc123", NOON_MS, [ANN], parked)
    header, users = read_snapshot(tmp_path / "snapshot")
    assert [Interaction.FromString(one) for one in header.parked] == parked
    assert list(users) == [ANN]


def test_a_file_that_was_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, ANN)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidSnapshot):
            list(read_snapshot(path)[1])


def test_a_file_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, ANN)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(InvalidSnapshot):
        list(read_snapshot(path)[1])


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a text")
    with pytest.raises(InvalidSnapshot, match="damaged"):
        read_snapshot(path)


def test_equal_profiles_give_equal_files() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    for target in (first, second):
        write_snapshot(target, "abc123", NOON_MS, [ANN])
    assert first.getvalue() == second.getvalue()
