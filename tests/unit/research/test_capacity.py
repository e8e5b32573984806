"""The capacity study says how many tastes a profile holds, of readers and posts that it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from client.catalogue import LabelledCatalogue, Post, by_label
from client.classes import load_classes
from research import capacity, tables
from research.capacity import (
    SIZES,
    CapacitySettings,
    Cell,
    alike,
    cells_of,
    flat,
    given_to,
    members_with,
    of_other_bases,
    save_plot,
    table_of,
)
from research.metrics import Estimate
from research.topics.arms import Pool
from research.topics.people import Learner
from research.variants.builds import Variant
from slop.basis import Basis
from slop.settings import DEFAULT_BASIS

ONE = Estimate(1.0, 1.0, 1.0)
LABELS = list(load_classes())
POSTS = by_label(Post(f"{label}-{i}", f"post {i} about {label}", label) for label in LABELS for i in range(34))
SETTINGS = CapacitySettings(_cli_parse_args=[], seeds=[0], readers=6, tastes=[1, 4], counts=[8, 64], noise=0.0, posts=8)


@pytest.fixture(scope="module")
def basis() -> Basis:
    return Basis.load(DEFAULT_BASIS)


@pytest.fixture(scope="module")
def cells(basis: Basis) -> list[Cell]:
    """Every class is one prompt of the basis, and each of a prompt's posts says its class."""
    rows = {label: np.eye(basis.text_size, dtype=np.float32)[k] for k, label in enumerate(LABELS)}
    learner = Learner(basis, {post.post_id: rows[label] for label, posts in POSTS.items() for post in posts})
    names = [*LABELS, *(f"none-{k}" for k in range(basis.size - len(LABELS)))]
    pool = Pool([[f"{name} {i}" for i in range(32)] for name in names], 1.0)
    classes = {text: {text.split()[0]} & set(LABELS) for posts in pool.posts for text in posts}
    return [
        cell
        for tastes in SETTINGS.tastes
        for cell in cells_of(
            tastes, given_to(members_with(tastes, POSTS, SETTINGS, 0), basis, learner, {0: pool}, SETTINGS), classes
        )
    ]


def test_readers_have_so_many_different_tastes_and_the_same_ones_for_a_seed() -> None:
    members = members_with(4, POSTS, SETTINGS, seed=0)
    assert [len(set(member.tastes)) for member in members] == [4] * SETTINGS.readers
    assert [member.tastes for member in members_with(4, POSTS, SETTINGS, seed=0)] == [m.tastes for m in members]
    assert [member.tastes for member in members_with(4, POSTS, SETTINGS, seed=1)] != [m.tastes for m in members]


def test_one_taste_is_held_and_of_four_the_more_the_more_was_seen(cells: list[Cell]) -> None:
    found = {(cell.tastes, cell.n): cell for cell in cells}
    assert set(found) == {(1, 8), (1, 64), (4, 8), (4, 64)}
    assert found[1, 64].share.mean > 0.9
    assert found[1, 64].held.mean == 1
    assert found[4, 8].held.mean < found[4, 64].held.mean


def rows_of(cells: list[Cell]) -> list[tables.Row]:
    return [flat(replace(cell, prompts=24, rows=13)) for cell in cells]


def others_of(cells: list[Cell]) -> list[tables.Row]:
    sizes = [(24, 13), (16, 13), (24, 4)]
    return [flat(replace(cell, prompts=k, rows=rows)) for k, rows in sizes for cell in cells if cell.n == 64]


def test_bases_are_compared_that_differ_in_one_size_alone(cells: list[Cell]) -> None:
    others = others_of(cells)
    assert {row["prompts"] for row in alike(others, "prompts")} == {16, 24}
    assert {row["rows"] for row in alike(others, "rows")} == {4, 13}
    assert {row["prompts"] for row in alike(others, "rows")} == {24}
    assert all(Variant.named(name) for name in SIZES)
    assert {"16 prompts", "4 rows"} < set(SIZES)


def test_of_the_other_bases_only_those_that_are_built_are_compared(
    basis: Basis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("research.variants.builds.BUILT", tmp_path)
    few = replace(
        basis,
        prompts=basis.prompts[:16],
        center=basis.center[:16],
        crowd_direction=basis.crowd_direction[:17],
        words=basis.words[:16],
        head=replace(basis.head, weights=basis.head.weights[:, :16], bias=basis.head.bias[:16]),
    )
    few.save(tmp_path / Variant.named("16 prompts").digest(basis.revision))
    asked = []

    def studied(settings: CapacitySettings, *_: object) -> list[Cell]:
        asked.append(settings.counts)
        return [Cell(2, 32, ONE, ONE, 6)]

    monkeypatch.setattr(capacity, "study", studied)
    found = of_other_bases(SETTINGS, Console(quiet=True), LabelledCatalogue((), ()), basis)
    assert [(cell.prompts, cell.rows, cell.n) for cell in found] == [(16, 13, 32)]
    assert asked == [[32]]


def test_the_results_are_a_table_a_heat_map_and_rows(cells: list[Cell], tmp_path: Path) -> None:
    assert table_of(cells, "held").row_count == len(SETTINGS.tastes)
    save_plot(tmp_path / "capacity.png", rows_of(cells), others_of(cells), "note")
    assert (tmp_path / "capacity.png").read_bytes().startswith(b"\x89PNG")
    assert flat(cells[0]).keys() >= {"tastes", "n", "share", "share_low", "held_high", "readers"}
    assert tables.markdown([flat(cell) for cell in cells]).count("\n") == 2 + len(cells)
