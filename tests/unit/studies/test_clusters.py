"""The clusters study tells spaces that find the classes from those that do not."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from catalogue.classes import load_classes
from slop.basis import Basis
from slop.settings import DEFAULT_BASIS
from studies import clusters
from studies.clusters import Clusterings, ClustersSettings, best_f1, features_of, space_of, table_of, variants
from studies.posts import Catalogue, Post, by_label
from studies.topics.people import Habits, Kind, members_of
from trainer.basis.blocks import Blocks

LABELS = list(load_classes())
SHOWN = tuple(Post(f"{label}-{i}", f"post {i} about {label}", label) for label in LABELS for i in range(24))
UNSEEN = tuple(Post(f"{label}-new-{i}", f"new {i} about {label}", label) for label in LABELS for i in range(2))


@pytest.fixture(scope="module")
def blocks() -> Blocks:
    """Hidden states know the class of a post; the others are noise."""
    rng = np.random.default_rng(0)
    telling = np.array([np.eye(len(LABELS))[LABELS.index(post.label)] for post in (*SHOWN, *UNSEEN)])
    noise = rng.normal(size=(2, len(telling), 8)) / np.sqrt(8)
    return Blocks(telling + 0.02 * rng.normal(size=telling.shape), *noise)


@pytest.fixture(scope="module")
def clusterings(blocks: Blocks) -> Clusterings:
    basis = Basis.load(DEFAULT_BASIS)
    members = members_of(Kind.TOPIC, by_label(SHOWN), Habits(readers=6, noise=0.0, exposure=0.5), seed=0)
    return Clusterings(basis, blocks, SHOWN, UNSEEN, members)


def test_a_class_is_found_by_the_cluster_that_is_nearest_to_it() -> None:
    found = best_f1(np.array([0, 0, 1, 1, 1]), ["a", "a", "a", "b", "b"])
    assert found == {"a": pytest.approx(0.8), "b": pytest.approx(0.8)}


def test_blocks_count_as_much_as_their_weights() -> None:
    blocks = Blocks(*(np.ones((3, size)) for size in (2, 1, 4)))
    assert space_of(blocks, (1, 0, 0.5)).tolist() == [[1, 1, 0, 0.5, 0.5, 0.5, 0.5]] * 3


def test_a_post_is_nearest_to_its_own_centre() -> None:
    centers = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    features = features_of(centers + np.float32(0.1), centers)
    assert features.shape == (3, 4)
    assert features[:, :3].argmax(axis=1).tolist() == [0, 1, 2]
    assert np.linalg.norm(features, axis=1).mean() == pytest.approx(1, abs=1e-5)


def test_a_space_that_knows_the_classes_beats_one_that_does_not(clusterings: Clusterings) -> None:
    telling, blind = (clusterings.row(name, len(LABELS), [0]) for name in ("hidden states", "sentence embeddings"))
    assert telling.f1.mean > 0.95
    assert telling.lost == 0
    assert telling.ranking.mean > 0.9
    assert blind.f1.mean < 0.5
    assert blind.lost > len(LABELS) / 2
    assert blind.ranking.mean < 0.7


def test_every_space_is_tried_and_the_one_in_use_with_every_count() -> None:
    tried = list(variants(ClustersSettings(_cli_parse_args=[], counts=[16, 24, 32], count=24)))
    assert len(tried) == len(set(tried)) == len(clusters.SPACES) + 2
    assert {count for name, count in tried if name == clusters.SHIPPED} == {16, 24, 32}


def test_the_results_are_a_table_a_plot_and_files(
    blocks: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "load_catalogue", lambda: Catalogue(SHOWN, UNSEEN))
    monkeypatch.setattr(clusters, "blocks_kept", lambda *_: blocks)
    settings = ClustersSettings(_cli_parse_args=[], out=tmp_path, counts=[22], count=22, seeds=[0], readers=2, unseen=2)
    clusters.compare(settings, Console(width=200, quiet=True))
    assert {path.name for path in tmp_path.iterdir()} == {f"clusters.{end}" for end in ("csv", "md", "json", "png")}
    lines = (tmp_path / "clusters.csv").read_text().splitlines()
    assert len(lines) == 1 + len(clusters.SPACES)
    assert table_of([]).row_count == 0
