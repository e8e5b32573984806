import csv
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from client.catalogue import LabelledCatalogue, Post, with_few
from client.classes import load_classes
from research import few as study
from research.few import FewSettings, Way, labels_of, row_of, ways

QUIET = Console(quiet=True)
NAMES = {kind: sorted(n for n, s in load_classes().items() if s.kind == kind)[:4] for kind in ("topic", "style")}
CLASSES = [*NAMES["topic"], *NAMES["style"]]
SHOWN = tuple(Post(f"{name}-{n}", f"{name} number {n}", name) for name in CLASSES for n in range(30))


def telling(texts: list[str]) -> np.ndarray:
    """Embeddings that tell the classes apart."""
    rng = np.random.default_rng(0)
    rows = np.eye(len(CLASSES))[[CLASSES.index(text.split()[0]) for text in texts]]
    return (rows + 0.05 * rng.normal(size=rows.shape)).astype("f4")


@pytest.fixture(autouse=True)
def without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "sentence_embedder", telling)
    monkeypatch.setattr(study, "load_classes", lambda: {n: load_classes()[n] for n in CLASSES})
    monkeypatch.setattr(study, "load_catalogue", lambda: LabelledCatalogue(SHOWN, ()))
    monkeypatch.setattr("sys.argv", ["few"])


def options(**more: object) -> FewSettings:
    return FewSettings(_cli_parse_args=False, count=8, posts=12, seeds=[0, 1], **more)  # type: ignore[arg-type]


def test_of_some_classes_only_the_first_posts_are_left() -> None:
    posts = [Post(str(n), "", name) for n, name in enumerate("abaabb")]
    assert with_few(posts, {"a": 2}) == [0, 1, 2, 4, 5]


def test_every_seed_has_few_posts_of_two_topics_and_two_styles() -> None:
    drawn = list(study.draws(options(), LabelledCatalogue(SHOWN, ())))
    assert [draw.seed for draw in drawn] == [0, 1]
    for draw in drawn:
        counts = {name: sum(post.label == name for post in draw.posts) for name in CLASSES}
        assert {name for name, count in counts.items() if count == 12} == set(draw.few)
        assert len(set(draw.few) & set(NAMES["topic"])) == len(set(draw.few) & set(NAMES["style"])) == 2
        assert draw.embeddings.shape == (len(draw.posts), len(CLASSES))


def test_classes_of_few_posts_that_lie_apart_are_found() -> None:
    drawn = list(study.draws(options(), LabelledCatalogue(SHOWN, ())))
    row = row_of(Way(ward=True, smallest=8, crowd=0), drawn, options())
    assert row.few.mean == row.every.mean == 1
    assert row.lost == 0


def test_a_class_without_a_cluster_of_its_own_is_lost() -> None:
    drawn = list(study.draws(options(), LabelledCatalogue(SHOWN, ())))
    row = row_of(Way(ward=True, smallest=8, crowd=0), drawn, options().model_copy(update={"count": 2}))
    assert row.lost == 1


def test_what_readers_like_together_has_a_part_in_the_clusters() -> None:
    draw = next(study.draws(options(exposure=0.3), LabelledCatalogue(SHOWN, ())))
    plain, engaged = (labels_of(Way(False, 8, crowd), draw, options(exposure=0.3)) for crowd in (0, 40))
    assert plain.shape == engaged.shape == (len(draw.posts),)
    assert not np.array_equal(plain, engaged)


def test_the_study_writes_its_files(tmp_path: Path) -> None:
    settings = options(out=tmp_path, crowds=[0])
    study.compare(settings, QUIET)
    with (tmp_path / "few.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(ways(settings)) == 4
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".md", ".json", ".png"}
