"""The fault suite's own arithmetic: what it sends, what it expects, and what it says of what it saw."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from loadtests.faults import docs
from loadtests.faults.faults import PARTS, kills, others
from loadtests.faults.load import events_of, says_something
from loadtests.faults.outcome import FAILS, HEADINGS, HOLDS, SKIPPED, FaultsOutcome, Row, markdown
from loadtests.faults.profiles import alike, difference, differing, same
from loadtests.faults.settings import FaultSettings, toxiproxy
from loadtests.faults.watch import NO_ANSWER, missing_from
from slop.decisions import decision_of
from slop.rewards import Rewards
from slop.v1.interaction_pb2 import Interaction
from slop.v1.profile_pb2 import Profile

POSTS = ["p0", "p1", "p2"]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> FaultSettings:
    monkeypatch.setattr("sys.argv", ["faults"])
    return FaultSettings()


def interaction(event: dict[str, object]) -> Interaction:
    return Interaction(
        event_id=str(event["event_id"]),
        tenant="default",
        user_id=str(event["user_id"]),
        post_id=str(event["post_id"]),
        type=f"INTERACTION_TYPE_{str(event['type']).upper()}",
        value=event.get("value"),  # type: ignore[arg-type]
        received_at_ms=1_790_000_000_000,
    )


def test_a_reader_decides_each_thing_once_so_that_every_event_but_an_impression_is_one_signal_more() -> None:
    events = list(events_of("ann", POSTS, random.Random(7)))
    rewards = Rewards.of({})
    signals = [event for event in events if says_something(event)]
    decisions = [decision_of(interaction(event)) for event in signals]
    assert None not in decisions
    assert len({decision.key for decision in decisions if decision}) == len(signals)
    assert len({event["event_id"] for event in events}) == len(events)
    for event in events:
        reward = rewards.reward_of(interaction(event), "The soup was better on the second day.")
        assert (reward is not None) == says_something(event), event


def a_profile(mean: list[float], epoch: int, offset: int = 5, interactions: int = 3) -> Profile:
    profile = Profile(basis="b", mean=np.array(mean, "<f4").tobytes(), interactions=interactions)
    profile.source.partition, profile.source.offset, profile.source.epoch = 2, offset, epoch
    profile.sources.add(partition=2, offset=offset, epoch=epoch)
    return profile


def test_profiles_are_the_same_in_all_but_the_id_of_their_log() -> None:
    assert same(a_profile([0.5, 1], epoch=1), a_profile([0.5, 1], epoch=2))
    assert not same(
        a_profile([0.5, 1], epoch=1), a_profile([0.5, float(np.nextafter(np.float32(1), np.float32(2)))], epoch=1)
    )
    assert not same(a_profile([0.5, 1], epoch=1), a_profile([0.5, 1], epoch=1, offset=6))


def test_profiles_are_alike_that_have_learned_as_much_and_nearly_the_same() -> None:
    assert alike(a_profile([0.5, 1], epoch=1), a_profile([0.51, 1], epoch=1, offset=9))
    assert not alike(a_profile([0.5, 1], epoch=1), a_profile([0.5, 1], epoch=1, interactions=4))
    assert not alike(a_profile([0.5, 1], epoch=1), a_profile([-0.5, 1], epoch=1))


def test_who_has_said_nothing_has_no_profile_here_and_there_and_differs_in_nothing() -> None:
    profile = a_profile([0.5, 1], epoch=1)
    there, calm = {"ann": profile, "bob": profile}, {"ann": profile, "cid": profile}
    found = differing(there, calm, ["ann", "bob", "cid", "silent"], in_any_order=[])
    assert found == ["bob (there is one)", "cid (there is none)"]


def test_only_of_readers_whose_reactions_were_parked_the_order_does_not_matter() -> None:
    there, calm = {"ann": a_profile([0.5, 1], epoch=1)}, {"ann": a_profile([0.51, 1], epoch=1)}
    assert differing(there, calm, ["ann"], in_any_order=["ann"]) == []
    assert differing(there, calm, ["ann"], in_any_order=[]) == ["ann (mean, weights by up to 0.01)"]


def test_what_is_missing_of_one_reader_does_not_make_up_for_what_another_learned_twice() -> None:
    found = difference({"ann": 3, "bob": 3, "cid": 2}, {"ann": 4, "bob": 2})
    assert (found.expected, found.missing, found.twice) == (8, 3, 1)


def test_what_was_not_told_is_named() -> None:
    said = {"learner": {"redis": "TimeoutError"}, "generation": {}}
    assert missing_from(said, {"learner": "redis"}) == []
    assert missing_from(said, {"featurizer": "redis", "collector": NO_ANSWER}) == [
        "featurizer never said that redis fails",
        "collector always answered",
    ]


def test_parts_are_killed_in_turn_and_everything_else_comes_after(settings: FaultSettings) -> None:
    names = [fault.name for fault in kills(settings)]
    assert len(names) == settings.rounds == 20
    assert names[: len(PARTS)] == [f"{part} killed" for part in PARTS]
    assert names[len(PARTS)] == names[0]
    proxied = [fault.proxied for fault in others(settings)]
    assert proxied == sorted(proxied)  # from then on everything is behind proxies


def test_toxiproxy_is_where_the_environment_says_or_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOXIPROXY", str(tmp_path))
    assert toxiproxy() is None
    binary = tmp_path / "toxiproxy-server"
    binary.touch(0o755)
    assert toxiproxy() == binary


ROWS = [
    Row(1, "learner killed", accepted=9, silent=1, expected=8, compared=3, said={"learner": [NO_ANSWER]}, ready_s=2.0),
    Row(2, "redis: reset", skipped="toxiproxy is missing"),
    Row(3, "redis killed", accepted=9, expected=9, missing=2, compared=3, differing=["ann"], wrong=["x"]),
]


def test_a_row_holds_only_if_nothing_is_wrong_and_one_that_was_skipped_says_why() -> None:
    assert [row.holds for row in ROWS] == [True, True, False]
    assert [row.cells[-1] for row in ROWS] == [HOLDS, SKIPPED, FAILS]
    assert {len(row.cells) for row in ROWS} == {len(HEADINGS)}
    assert "toxiproxy is missing" in ROWS[1].line
    assert "7 of 9 learned" in ROWS[2].line
    assert "never" in ROWS[2].line


def test_the_outcome_is_written_for_machines_and_for_the_documentation(tmp_path: Path) -> None:
    outcome = FaultsOutcome(ROWS, seconds=90, broker="Tansu", engine=False)
    outcome.write(tmp_path / "new" / "figures.json")
    figures = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert not figures["holds"]
    assert [row["fault"] for row in figures["rows"]] == [row.fault for row in ROWS]
    docs.write(outcome, tmp_path / "docs" / "faults.md")
    page = (tmp_path / "docs" / "faults.md").read_text()
    assert markdown(outcome) in page
    assert "1 of 2 did not hold" in page
    assert len(markdown(outcome).splitlines()) == len(ROWS) + 2
