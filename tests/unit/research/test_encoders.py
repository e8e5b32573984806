"""The encoders study computes what production does, and judges what it says."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from client.catalogue import Post, by_label
from client.classes import load_classes
from research.encoders import report
from research.encoders.arms import Encoder, compressed, distilled, over_prompts, with_parts
from research.encoders.figures import Rates, Row, rates_of, rows_of
from research.topics.arms import Pool
from research.topics.people import COUNTS, Habits, Member, TasteKind, members_of
from slop.basis import Basis
from slop.settings import DEFAULT_BASIS
from tests.basis import basis_of, random_basis
from tests.tiny_model import random_prompts

LABELS = list(load_classes())
SHOWN = [Post(f"{label}-{i}", f"post {i} about {label}", label) for label in LABELS for i in range(20)]
UNSEEN = [Post(f"{label}-unseen-{i}", f"unseen {i} about {label}", label) for label in LABELS for i in range(2)]


def test_features_over_prompts_are_centred_and_of_mean_norm_one() -> None:
    basis = basis_of(random_prompts(4).numpy())
    logs = np.random.default_rng(0).normal(scale=5, size=(30, 4))
    features = over_prompts(basis, logs, np.full(30, 12))
    assert features.shape == (30, basis.text_size)
    np.testing.assert_allclose(features[:, :4].mean(axis=0), 0, atol=1e-5)
    assert np.linalg.norm(features[:, :4], axis=1).mean() == pytest.approx(1, abs=1e-5)


def test_a_distilled_head_finds_the_likeliest_prompt_from_what_tells_it() -> None:
    rng = np.random.default_rng(0)
    best = rng.integers(4, size=200)
    targets = 10.0 * np.eye(4)[best]
    inputs = (np.eye(4)[best] + 0.1 * rng.normal(size=(200, 4))).astype(np.float32)
    logs = distilled(random_basis(), inputs, targets, seed=0)
    assert (logs.argmax(axis=1) == best).mean() > 0.98
    blind = distilled(random_basis(), rng.normal(size=(200, 4)).astype(np.float32), targets, seed=0)
    assert (blind.argmax(axis=1) == best).mean() < 0.5


def test_components_are_of_mean_norm_one() -> None:
    parts = compressed(np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32), 4, seed=0)
    assert parts.shape == (40, 4)
    assert np.linalg.norm(parts, axis=1).mean() == pytest.approx(1, abs=1e-5)


def test_further_features_stand_between_the_prompts_and_the_length() -> None:
    encoder = Encoder("over three prompts", np.array([[1, 2, 3, 9]], np.float32), True, 12.0)
    combined = with_parts(encoder, "parts", np.array([[5, 6]], np.float32), 3.0)
    assert combined.features.tolist() == [[1, 2, 3, 5, 6, 9]]
    assert (combined.over_prompts, combined.milliseconds) == (True, 15.0)


@pytest.fixture(scope="module")
def basis() -> Basis:
    return Basis.load(DEFAULT_BASIS)


@pytest.fixture(scope="module")
def members() -> list[Member]:
    return members_of(TasteKind.TOPIC, by_label(SHOWN), Habits(readers=6, noise=0.0, exposure=0.5), seed=0)


def telling(basis: Basis, *, over: bool = True) -> Encoder:
    """Every class of the catalogue is one prompt of the basis."""
    rows = [np.eye(basis.text_size)[LABELS.index(post.label)] for post in (*SHOWN, *UNSEEN)]
    return Encoder("telling" if over else "blind to prompts", np.array(rows, np.float32), over, 12.0)


def rates_by_class(basis: Basis) -> Rates:
    """Under each prompt, posts of its class alone; under those without one, of none."""
    posts = [[LABELS[k]] * 3 if k < len(LABELS) else ["nothing"] * 3 for k in range(basis.size)]
    return rates_of({0: Pool(posts, 1.0)}, lambda texts: [{text} & set(LABELS) for text in texts])


def test_readers_are_ranked_and_served_right_where_features_tell_their_tastes(
    basis: Basis, members: list[Member]
) -> None:
    rows = rows_of(telling(basis), basis, (SHOWN, UNSEEN), members, rates_by_class(basis))
    assert [row.n for row in rows] == list(COUNTS)
    assert rows[-1].ranking.mean > 0.95
    assert rows[-1].share is not None
    assert rows[-1].share.mean > 0.8


def test_features_that_are_not_over_prompts_choose_none(basis: Basis, members: list[Member]) -> None:
    encoder = telling(basis, over=False)
    assert {row.share for row in rows_of(encoder, basis, (SHOWN, UNSEEN), members, rates_by_class(basis))} == {None}


def test_random_features_rank_by_chance(basis: Basis, members: list[Member]) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(SHOWN) + len(UNSEEN), basis.text_size)).astype(np.float32)
    rows = rows_of(Encoder("random", features, True, 1.0), basis, (SHOWN, UNSEEN), members, rates_by_class(basis))
    assert abs(rows[-1].ranking.mean - 0.5) < 0.15


def test_the_results_are_a_table_a_plot_and_files(basis: Basis, members: list[Member], tmp_path: Path) -> None:
    rows: list[Row] = []
    for encoder in (telling(basis), telling(basis, over=False)):
        rows += rows_of(encoder, basis, (SHOWN, UNSEEN), members, rates_by_class(basis))
    about = {"model": "m", "basis": "b", "readers": 6, "seeds": [0], "noise": 0.1}
    report.show(Console(width=200, quiet=True), rows, about, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"encoders.{end}" for end in ("csv", "md", "json", "png")}
    lines = (tmp_path / "encoders.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(COUNTS)
    assert lines[-1].startswith("blind to prompts,12.0,32,")
