import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from research import jokes, tables
from research.humor.figures import Results, add_group, compared, measured
from research.humor.methods import (
    COMPONENTS,
    HISTORY,
    Group,
    catalogue_components,
    language_groups,
    with_components,
)
from research.humor.report import ahead_table, flat_rows, save, table_of
from research.humor.settings import HumorSettings
from research.humor.tasks import Task
from research.metrics import over_readers
from research.rankers import Crowd, Slop
from slop.basis import Basis
from slop.settings import DEFAULT_BASIS, LearningSettings
from tests.basis import random_basis

JOKES = 12
RNG = np.random.default_rng(0)
BASIS = random_basis()
OURS = Slop(
    BASIS,
    LearningSettings().prior_of(BASIS),
    RNG.normal(size=(JOKES, BASIS.text_size)).astype(np.float32),
)
CROWD = Crowd(RNG.normal(size=JOKES))


def task(readers: int = 6, given: int = 5) -> Task:
    """Readers who rate all jokes, each in an order of their own; the fourth finds all that is left the same."""
    orders = [RNG.permutation(JOKES).tolist() for _ in range(readers)]
    ratings = [{joke: float(RNG.uniform(-1, 1)) for joke in order} for order in orders]
    rated = [[(joke, values[joke]) for joke in order[:given]] for order, values in zip(orders, ratings, strict=True)]
    asked = [{joke: values[joke] for joke in order[given:]} for order, values in zip(orders, ratings, strict=True)]
    asked[3] = dict.fromkeys(asked[3], 0.5)
    return Task("known", rated, asked)


TASK = task()


def measure(dealt: Task, method: Crowd | Slop, *counts: int):  # type: ignore[no-untyped-def]
    return measured(dealt, method, counts, Progress(disable=True))


def test_a_part_of_a_task_has_its_first_readers_with_their_first_jokes() -> None:
    few = TASK.part(2, 3)
    assert few.given == TASK.given[:2]
    assert [list(asked.items()) for asked in few.asked] == [list(asked.items())[:3] for asked in TASK.asked[:2]]


def test_a_task_is_its_own_largest_part() -> None:
    assert TASK.part(6, JOKES) == TASK


@pytest.fixture
def quick_embeddings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any unit vectors instead of those of the catalogue's thousand posts, which take half a minute."""

    def embeddings(texts: Sequence[str]) -> np.ndarray:
        vectors = RNG.normal(size=(len(texts), 384)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(jokes, "embeddings", embeddings)
    catalogue_components.cache_clear()
    yield
    catalogue_components.cache_clear()


@pytest.mark.usefixtures("quick_embeddings")
def test_components_of_the_embeddings_are_further_features_that_a_basis_could_have() -> None:
    basis = Basis.load(DEFAULT_BASIS)
    features = RNG.normal(size=(JOKES, basis.text_size)).astype(np.float32)
    method = with_components(basis, features, jokes.embeddings([f"joke number {number}" for number in range(JOKES)]))
    assert method.features.shape == (JOKES, basis.size + 1 + COMPONENTS) == (JOKES, method.basis.text_size)
    assert np.array_equal(method.features[:, : basis.size + 1], features[:, : basis.size + 1])
    assert len(measure(TASK, method, 5).accuracy[5]) == 5


def test_a_reader_of_whom_no_pair_differs_is_left_out_for_all_methods() -> None:
    ours, theirs = measure(TASK, OURS, 2, 5), measure(TASK, CROWD, 2, 5)
    assert {count: len(found) for count, found in ours.accuracy.items()} == {2: 5, 5: 5}
    assert {count: len(found) for count, found in theirs.accuracy.items()} == {2: 5, 5: 5}


def test_slop_is_compared_with_a_method_reader_by_reader() -> None:
    ours, theirs = measure(TASK, OURS, 2, 5), measure(TASK, CROWD, 2, 5)
    last = compared(TASK, CROWD.name, theirs, ours)[-1]
    differences = np.subtract(ours.accuracy[5], theirs.accuracy[5]).tolist()
    assert (last.n, last.readers) == (5, 5)
    assert last.ahead == over_readers(differences)
    assert last.slop - last.accuracy.mean == pytest.approx(last.ahead.mean)


def test_a_count_that_nobody_reaches_has_no_row() -> None:
    assert [row.n for row in compared(TASK, CROWD.name, measure(TASK, CROWD, 2, 40), measure(TASK, OURS, 2, 40))] == [2]


def results() -> Results:
    found = Results()
    add_group(found, TASK, OURS, Group([OURS, CROWD], (2, 5), 6, JOKES), Progress(disable=True))
    few = Crowd(CROWD.means, name="on few readers")
    add_group(found, TASK, OURS, Group([few], (5,), 2, 4), Progress(disable=True))
    return found


RESULTS = results()


def test_a_method_on_few_readers_is_compared_with_slop_on_those() -> None:
    row = RESULTS.rows[-1]
    expected = measure(TASK.part(2, 4), OURS, 5).accuracy[5]
    assert (row.method, row.n, row.readers) == ("on few readers", 5, 2)
    assert row.slop == pytest.approx(np.mean(expected))
    assert row.slop != RESULTS.rows[1].slop


def test_slop_is_not_ahead_of_itself() -> None:
    own = [row for row in RESULTS.rows if row.method == OURS.name]
    assert [row.n for row in own] == [2, 5]
    assert all(row.ahead.mean == row.ahead.low == row.ahead.high == 0 for row in own)


def test_files_and_tables_have_every_row_with_what_it_costs(tmp_path: Path) -> None:
    save(tmp_path, RESULTS, {"basis": "b1", "device": "2 CPU cores"}, None)
    with (tmp_path / "humor.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["SLOP", "SLOP", "crowd's mean", "crowd's mean", "on few readers"]
    assert (rows[0]["tokens_to_rank"], rows[0]["tokens_to_write"]) == ("0", str(BASIS.prompts.shape[1]))
    assert int(rows[0]["bytes_a_reader"]) > int(rows[2]["bytes_a_reader"]) == 0
    assert float(rows[0]["times_slops"]) == 1
    assert len(json.loads((tmp_path / "humor.json").read_text())["rows"]) == 5
    assert (tmp_path / "humor.png").stat().st_size > 10_000
    console = Console(width=200, record=True, file=StringIO())
    console.print(table_of(RESULTS.rows, "known", RESULTS.costs), ahead_table(RESULTS.rows, "known"))
    assert console.export_text().count("on few readers") == 2


def test_what_a_language_model_ranked_is_kept_and_says_what_it_was_compared_with(tmp_path: Path) -> None:
    before, row = {"basis": "b0", "device": "a GPU"}, flat_rows(RESULTS)[0]
    names = (HISTORY, "LoRA, r = 8", "crowd's mean", "a method of then")
    tables.save_json(tmp_path / "then.json", {**before, "rows": [{**row, "method": name} for name in names]})
    save(tmp_path, RESULTS, {"basis": "b1", "device": "2 CPU cores"}, tmp_path / "then.json")
    rows = json.loads((tmp_path / "humor.json").read_text())["rows"]
    assert [(row["method"], row["basis"], row["device"]) for row in rows if row["basis"] == "b0"] == [
        (HISTORY, "b0", "a GPU"),
        ("LoRA, r = 8", "b0", "a GPU"),
    ]
    assert len(rows) == 5 + 2


def test_without_readers_for_them_no_language_model_is_loaded() -> None:
    settings = HumorSettings(data=Path(), language_readers=0, tuned_readers=0, _cli_parse_args=False)
    assert language_groups(settings, BASIS, []) == []
