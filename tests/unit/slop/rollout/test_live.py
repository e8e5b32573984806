import json
from dataclasses import replace
from pathlib import Path

import pytest

from slop.basis import InvalidBasis
from slop.rollout.live import Bases, BasesView, BasisRef, StoredBases, groups_of
from slop.settings import LearningSettings
from tests.basis import random_basis

FIRST, SECOND = BasisRef("1" * 12, "/bases/1"), BasisRef("2" * 12, "/bases/2")


@pytest.mark.parametrize(
    "bases", [Bases(FIRST), Bases(SECOND, former=FIRST), Bases(FIRST, also_followed=SECOND, former=SECOND)]
)
def test_what_is_followed_comes_back_as_it_was_stored(bases: Bases) -> None:
    record = StoredBases(FIRST.version, bases)
    assert StoredBases.of(record.to_json()) == record
    assert BasesView(FIRST).of(record.to_json()) == bases


def test_what_earlier_releases_stored_is_read() -> None:
    first, second = (json.dumps({"version": ref.version, "folder": ref.folder}) for ref in (FIRST, SECOND))
    stored = f'{{"configured": "{FIRST.version}", "live": {second}, "beside": null, "before": {first}}}'
    record = StoredBases(FIRST.version, Bases(SECOND, former=FIRST))
    assert StoredBases.of(stored) == record
    assert record.to_json() == stored


def test_before_the_first_rollout_the_configured_basis_is_live() -> None:
    assert StoredBases.of(None) is None
    assert BasesView(FIRST).of(None) == Bases(FIRST)


def test_a_record_of_another_configured_basis_counts_only_for_who_was_at_work_before_it() -> None:
    rolled_out = StoredBases(FIRST.version, Bases(SECOND, former=FIRST))
    restarted = rolled_out.claimed(SECOND)
    assert restarted == StoredBases(SECOND.version, Bases(SECOND, former=FIRST))
    assert BasesView(FIRST).of(restarted.to_json()) == Bases(FIRST)
    at_work = BasesView(FIRST)
    assert at_work.of(rolled_out.to_json()) == at_work.of(restarted.to_json()) == Bases(SECOND, former=FIRST)


def test_a_basis_that_was_not_live_is_claimed_without_what_was_before() -> None:
    assert StoredBases(FIRST.version, Bases(SECOND, former=FIRST)).claimed(FIRST) == StoredBases(
        FIRST.version, Bases(FIRST)
    )


def test_the_next_basis_is_followed_beside_the_live_one_and_the_former_is_not() -> None:
    assert list(Bases(FIRST, also_followed=SECOND).followed) == [FIRST.version, SECOND.version]
    assert list(Bases(SECOND, former=FIRST).followed) == [SECOND.version]


def test_a_place_loads_its_basis_and_no_other(tmp_path: Path) -> None:
    random_basis().save(tmp_path)
    place = BasisRef.of(tmp_path)
    assert place.load().version == place.version
    random_basis(seed=1).save(tmp_path)
    with pytest.raises(InvalidBasis, match=place.version):
        place.load()


def test_a_group_that_the_settings_name_is_for_the_configured_basis_alone() -> None:
    basis, settings = random_basis(), LearningSettings(_env_file=None, learner_group="mine")
    assert groups_of(basis, basis.version, settings).signals == "mine"
    assert groups_of(basis, "another", settings).signals == f"slop.learner.{basis.version}"
    assert groups_of(basis, basis.version, LearningSettings(_env_file=None)).signals.endswith(basis.version)


def test_bases_that_differ_in_the_crowd_alone_share_the_features_of_posts_and_nothing_else() -> None:
    basis = random_basis()
    other = replace(basis, crowd_direction=basis.crowd_direction + 1)
    one, two = (groups_of(b, "configured", LearningSettings(_env_file=None)).read() for b in (basis, other))
    shared = {group for group, _ in one} & {group for group, _ in two}
    assert shared == {f"slop.featurizer.posts.{basis.text_version}"}
    assert len({group for group, _ in one}) == 4
