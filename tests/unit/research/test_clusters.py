"""The clusters study tells spaces that find the classes from those that do not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from client.catalogue import LabelledCatalogue, Post, by_label
from client.classes import load_classes
from client.readers import Reaction
from research import clusters
from research.clusters import (
    Clusterings,
    ClustersSettings,
    Way,
    best_f1,
    features_of,
    label,
    space_of,
    table_of,
    variants,
)
from research.other_readers import other_readers, reactions_of
from research.topics.people import Habits, Member, TasteKind, members_of
from slop.basis import Basis
from slop.settings import DEFAULT_BASIS
from training.basis.blocks import Blocks
from training.factors.reactions import Reactions

LABELS = list(load_classes())
SHOWN = tuple(Post(f"{label}-{i}", f"post {i} about {label}", label) for label in LABELS for i in range(24))
UNSEEN = tuple(Post(f"{label}-new-{i}", f"new {i} about {label}", label) for label in LABELS for i in range(2))
HABITS = Habits(readers=6, noise=0.0, exposure=0.5)


@pytest.fixture(scope="module")
def blocks() -> Blocks:
    """Hidden states know the class of a post; the others are noise."""
    rng = np.random.default_rng(0)
    telling = np.array([np.eye(len(LABELS))[LABELS.index(post.label)] for post in (*SHOWN, *UNSEEN)])
    noise = rng.normal(size=(2, len(telling), 8)) / np.sqrt(8)
    return Blocks(telling + 0.02 * rng.normal(size=telling.shape), *noise)


@pytest.fixture(scope="module")
def clusterings(blocks: Blocks) -> Clusterings:
    members = members_of(TasteKind.TOPIC, by_label(SHOWN), HABITS, seed=0)
    return Clusterings(Basis.load(DEFAULT_BASIS), blocks, SHOWN, UNSEEN, members, HABITS)


def met(others: Sequence[Member]) -> list[tuple[int, Reaction]]:
    return [(reader, reaction) for reader, member in enumerate(others) for reaction in member.reactions]


def triples(given: Reactions) -> tuple[list[int], list[int], list[float]]:
    return given.readers.tolist(), given.posts.tolist(), given.values.tolist()


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
    spaces = ("hidden states", "sentence embeddings")
    telling, blind = (clusterings.row(Way(name, len(LABELS)), [0]) for name in spaces)
    assert telling.f1.mean > 0.95
    assert telling.lost == 0
    assert telling.ranking.mean > 0.9
    assert blind.f1.mean < 0.5
    assert blind.lost > len(LABELS) / 2
    assert blind.ranking.mean < 0.7


def test_other_readers_see_all_posts_and_are_none_of_the_readers_that_are_judged_by() -> None:
    others = other_readers(SHOWN, Habits(readers=90, noise=0.0, exposure=0.5), seed=0)
    judged = [member for kind in TasteKind for member in members_of(kind, by_label(SHOWN), HABITS, seed=0)]
    assert not {member.reader.user_id for member in others} & {member.reader.user_id for member in judged}
    assert len({member.reader.user_id for member in others}) == 90
    assert len({reaction.post for _, reaction in met(others)}) > 0.98 * len(SHOWN)


def test_reactions_of_other_readers_are_those_that_production_would_count() -> None:
    others = other_readers(SHOWN, HABITS, seed=0)
    given = reactions_of(others, {post.post_id: place for place, post in enumerate(SHOWN)})
    likes = np.concatenate([[reaction.liked for reaction in member.reactions] for member in others])
    assert len(given.values) == given.readers.size > 0.9 * likes.size
    told = {(reader, SHOWN[post].post_id): value for reader, post, value in zip(*triples(given), strict=True)}
    agreed = [
        told.get((reader, reaction.post.post_id), 0) * (2 * reaction.liked - 1) for reader, reaction in met(others)
    ]
    assert np.mean(np.array(agreed) > 0) > 0.9


def test_engagement_of_many_readers_finds_classes_that_texts_do_not_tell(clusterings: Clusterings) -> None:
    few, many = (clusterings.row(Way("engagement alone", len(LABELS), readers), [0]) for readers in (40, 400))
    assert many.f1.mean > 0.8
    assert few.f1.mean < 0.5


def test_every_space_is_tried_and_the_one_in_use_with_every_count_and_with_every_number_of_others() -> None:
    settings = ClustersSettings(_cli_parse_args=[], counts=[16, 24, 32], count=24, crowds=[50, 200])
    tried = list(variants(settings))
    assert len(tried) == len(set(tried)) == len(clusters.SPACES) + 2 + 2 * len(clusters.ENGAGED)
    assert {way.count for way in tried if way.space == clusters.SHIPPED} == {16, 24, 32}
    assert {way.others for way in tried if way.space in clusters.ENGAGED} == {50, 200}
    assert label(tried[-1]) == "sentences, style and engagement, 24, 200 readers"


def test_the_results_are_a_table_a_plot_and_files(
    blocks: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "load_catalogue", lambda: LabelledCatalogue(SHOWN, UNSEEN))
    monkeypatch.setattr(clusters, "blocks_kept", lambda *_: blocks)
    chosen = {"counts": [22], "count": 22, "seeds": [0], "crowds": [20], "readers": 2, "unseen": 2}
    settings = ClustersSettings(_cli_parse_args=[], out=tmp_path, **chosen)
    clusters.compare(settings, Console(width=200, quiet=True))
    assert {path.name for path in tmp_path.iterdir()} == {f"clusters.{end}" for end in ("csv", "md", "json", "png")}
    lines = (tmp_path / "clusters.csv").read_text().splitlines()
    assert len(lines) == 1 + len(clusters.SPACES) + len(clusters.ENGAGED)
    assert table_of([]).row_count == 0
