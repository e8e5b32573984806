"""The prompts study: every way gives prompts that may be sent, and the table says what was written under them."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from client.catalogue import LabelledCatalogue, Post, by_label
from client.chats import Message
from client.classes import load_classes
from client.errors import UserError
from client.readers import Reader
from client.texts import Sampling, TextScore, WrittenTexts
from research import jokes
from research.detectors import Classifier
from research.figures import Scorer
from research.projector import Projector
from research.prompts import __main__ as module
from research.prompts import report
from research.prompts.__main__ import (
    TASTES,
    Prepared,
    PromptsSettings,
    learned_by,
    members,
    projector_of,
    study,
)
from research.prompts.choosing import CANDIDATES, CHOOSING, Choosing, KnownTexts, chosen_posts
from research.prompts.figures import Measures, Row, rows_of, some
from research.prompts.given import Learned, first_of, given_chosen, given_from_pools
from research.prompts.ways import (
    AVERAGE,
    CONCATENATED,
    DRAWN,
    MIXTURES,
    OWN,
    PRODUCTION,
    PROJECTED,
    THOMPSON,
    TOP,
    OwnPrompts,
    drawn_prompts,
)
from research.topics import writing
from research.topics.arms import CONTROL, POSTS, Given, Pool
from research.topics.figures import Copies, Judge
from research.topics.people import MAIN, Learner, Member, TasteKind
from slop.basis import Basis
from slop.soft_prompts import shares
from tests.basis import TinyEmbedder, basis_of, encoder_of, profile_of, random_basis
from tests.tiny_model import random_prompts, tiny_model

BASIS = random_basis(size=4, rows=5, width=16)
LABELS = list(load_classes())
LISTED = by_label(Post(f"{label}-{i}", f"post {i} about {label}", label) for label in LABELS for i in range(34))
SETTINGS = PromptsSettings(_cli_parse_args=[], seeds=[0, 1], readers=3, own_readers=2, pool=32)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def own() -> OwnPrompts:
    return OwnPrompts(BASIS, Projector(BASIS, 8))


@pytest.mark.parametrize("way", DRAWN)
def test_every_way_of_drawing_gives_a_prompt_of_the_basis_for_each_post(way: str) -> None:
    for weights in ([2.0, 1.5, -1.0, 0.3], [0.0, 0.0, 0.0, 1e-6], [-1.0, 9.0, 9.0, -9.0]):
        found = drawn_prompts(way, profile_of(BASIS, weights), BASIS.size, POSTS, rng())
        assert found is not None
        assert found.shape == (POSTS,)
        assert set(found.tolist()) <= set(range(BASIS.size))


@pytest.mark.parametrize("way", DRAWN)
def test_drawing_for_a_reader_repeats_by_seed(way: str) -> None:
    profile = profile_of(BASIS, [1.0, 0.9, 0.5, 0.4])
    one, two = (drawn_prompts(way, profile, BASIS.size, 50, rng()) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_the_higher_the_power_the_more_posts_are_under_the_strongest_prompt() -> None:
    profile = profile_of(BASIS, [1.0, 0.8, 0.5, -0.4])
    found = [drawn_prompts(way, profile, BASIS.size, 400, rng()) for way in (*MIXTURES, TOP)]
    counts = [int((prompts == 0).sum()) for prompts in found if prompts is not None]
    assert counts == sorted(set(counts))
    assert counts[-1] == 400


def test_production_is_one_of_the_mixtures() -> None:
    share = shares(profile_of(BASIS, [1.0, 0.5, 0.0, 0.0]), BASIS.size)
    found = drawn_prompts(PRODUCTION, profile_of(BASIS, [1.0, 0.5, 0.0, 0.0]), BASIS.size, 1700, rng())
    assert share is not None
    assert found is not None
    np.testing.assert_allclose(np.bincount(found, minlength=4) / 1700, share, atol=0.01)


def test_thompson_sampling_tries_what_it_is_unsure_of_and_not_what_it_knows_to_be_bad() -> None:
    profile = profile_of(BASIS, [1.0, 0.9, -9.0, -9.0])
    unsure = drawn_prompts(THOMPSON, profile, BASIS.size, 200, rng())
    sure = drawn_prompts(
        THOMPSON,
        profile.moved(profile.mean, profile.variance * 1e-6, signals=1, at_ms=0),
        BASIS.size,
        200,
        rng(),
    )
    assert unsure is not None
    assert sure is not None
    assert set(unsure.tolist()) == {0, 1}
    assert set(sure.tolist()) == {0}


def test_a_reader_without_a_positive_weight_has_no_prompt() -> None:
    profile = profile_of(BASIS, [-1.0, -0.5, 0.0, -2.0])
    assert [drawn_prompts(way, profile, BASIS.size, POSTS, rng()) for way in DRAWN] == [None] * len(DRAWN)
    assert [own()(way, profile) for way in OWN] == [None] * len(OWN)


def test_own_prompts_have_rows_as_long_as_the_basis_has_them() -> None:
    profile = profile_of(BASIS, [1.0, 0.9, 0.2, -1.0])
    for way in OWN:
        prompt = own()(way, profile)
        assert prompt is not None
        assert prompt.shape == ((10, 16) if way == CONCATENATED else (5, 16))
        norms = np.linalg.norm(prompt, axis=1)
        assert norms.min() > BASIS.norm_range[0] * 0.995
        assert norms.max() < BASIS.norm_range[1] * 1.005


def test_the_two_strongest_prompts_are_concatenated_the_strongest_first() -> None:
    found = own()(CONCATENATED, profile_of(BASIS, [0.5, -1.0, 1.0, 0.2]))
    np.testing.assert_array_equal(found, np.concatenate([BASIS.prompts[2], BASIS.prompts[0]]))
    alone = own()(CONCATENATED, profile_of(BASIS, [-0.5, -1.0, 1.0, 0.0]))
    np.testing.assert_array_equal(alone, BASIS.prompts[2])


def test_average_and_projector_are_the_prompt_itself_for_one_taste_and_part_by_training() -> None:
    one, several = profile_of(BASIS, [0, 0, 1, 0]), profile_of(BASIS, [1, 0.9, 0, 0])
    for way in (AVERAGE, PROJECTED):
        np.testing.assert_allclose(own()(way, one), BASIS.prompts[2], rtol=1e-3)
    np.testing.assert_array_equal(own()(AVERAGE, several), own()(PROJECTED, several))
    trained = Projector(BASIS, 8)
    with torch.no_grad():
        trained.outer.bias.fill_(1.0)
    make = OwnPrompts(BASIS, trained)
    np.testing.assert_array_equal(make(AVERAGE, several), own()(AVERAGE, several))
    assert not np.allclose(np.asarray(make(PROJECTED, several)), np.asarray(make(AVERAGE, several)), atol=0.1)


def test_readers_have_one_two_or_four_tastes_or_a_topic_and_a_style() -> None:
    found = members(SETTINGS, LISTED)
    kinds = {kind: [m for m in found if m.kind == kind] for kind in dict.fromkeys(m.kind for m in found)}
    assert list(kinds) == [*TASTES, TasteKind.BOTH]
    assert all(len(of) == SETTINGS.readers * len(SETTINGS.seeds) for of in kinds.values())
    for kind, tastes in TASTES.items():
        assert all(len(set(member.tastes)) == tastes for member in kinds[kind])
    assert len({member.reader.user_id for member in found}) == len(found)
    assert [m.reactions for m in members(SETTINGS, LISTED)] == [m.reactions for m in found]


@pytest.fixture(scope="module")
def basis() -> Basis:
    prompts = np.random.default_rng(0).normal(size=(len(LABELS), 2, 8)).astype(np.float32)
    return basis_of(prompts, [f"subject{k}" for k in range(len(LABELS))])


@pytest.fixture(scope="module")
def learned(basis: Basis) -> list[Learned]:
    """Every class of the catalogue is one prompt of the basis, to the learner's eyes."""
    rows = {label: np.eye(basis.text_size, dtype=np.float32)[k] for k, label in enumerate(LABELS)}
    learner = Learner(basis, {post.post_id: rows[label] for label, posts in LISTED.items() for post in posts})
    return learned_by(learner, members(SETTINGS, LISTED))


def test_the_first_readers_of_every_kind_and_seed_are_chosen(learned: list[Learned]) -> None:
    chosen = first_of(learned, 2)
    groups = [(one.member.kind, one.member.seed) for one in chosen]
    assert len(groups) == 2 * 4 * 2
    assert all(groups.count(group) == 2 for group in groups)
    assert chosen[0] is learned[0]


@pytest.mark.parametrize("way", DRAWN)
def test_readers_are_given_different_posts_from_the_pools_of_their_seed(
    way: str, basis: Basis, learned: list[Learned]
) -> None:
    soft = {seed: Pool([[f"{seed} {k} {i}" for i in range(8)] for k in range(basis.size)], 30.0) for seed in (0, 1)}
    plain = {seed: Pool([[f"{seed} plain {i}" for i in range(8)]], 20.0) for seed in (0, 1)}
    given = given_from_pools(way, basis, learned, soft, plain)
    assert [one.posts for one in given] == [one.posts for one in given_from_pools(way, basis, learned, soft, plain)]
    for one in given:
        assert len(set(one.posts)) == POSTS
        assert {text.split()[0] for text in one.posts} == {str(one.member.seed)}


def pool_of(basis: Basis, posts: int = CANDIDATES) -> Pool:
    return Pool([[f"{k} post {i} of prompt {k}" for i in range(posts)] for k in range(basis.size)], 30.0)


def known_of(basis: Basis, pool: Pool, liked: str = "") -> KnownTexts:
    """Texts whose features are all of the first prompt's, those that end with `liked` more so than others."""
    texts = [text for posts in pool.posts for text in posts]
    features = np.zeros((len(texts), basis.feature_count), np.float32)
    features[:, 0] = [1.0 if liked and text.split()[2] in liked.split() else 0.1 for text in texts]
    embeddings = TinyEmbedder().embed(texts)
    return KnownTexts(dict(zip(texts, features, strict=True)), dict(zip(texts, embeddings, strict=True)))


@pytest.mark.parametrize("way", CHOOSING)
def test_every_way_of_choosing_gives_different_posts_of_the_pool_and_repeats_by_seed(way: str) -> None:
    pool, profile = pool_of(BASIS), profile_of(BASIS, [1.0, 0.9, 0.5, 0.4])
    one, two = (chosen_posts(CHOOSING[way], BASIS, profile, pool, known_of(BASIS, pool), rng()) for _ in range(2))
    assert one == two
    assert one is not None
    assert len(set(one)) == POSTS
    only = chosen_posts(CHOOSING[way], BASIS, profile_of(BASIS, [0, 1, 0, 0]), pool, known_of(BASIS, pool), rng())
    assert only is not None
    assert {text[0] for text in only} == {"1"}


def test_under_each_prompt_the_prompts_keep_productions_shares_and_among_all_the_best_are_taken() -> None:
    pool, profile = pool_of(BASIS), profile_of(BASIS, [1.0, 1.0, 0.0, 0.0])
    known = known_of(BASIS, pool)
    for text in pool.posts[1]:
        known.features[text][0] = 2.0
    apart = chosen_posts(Choosing(4), BASIS, profile, pool, known, rng())
    together = chosen_posts(Choosing(4, is_under_prompt=False), BASIS, profile, pool, known, rng())
    assert apart is not None
    assert together is not None
    assert [text[0] for text in sorted(apart)] == ["0"] * 4 + ["1"] * 4
    assert {text[0] for text in together} == {"1"}


def test_the_candidates_that_the_profile_likes_most_are_chosen() -> None:
    pool = pool_of(BASIS)
    liked = " ".join(map(str, range(0, CANDIDATES, 4)))
    found = chosen_posts(
        Choosing(4), BASIS, profile_of(BASIS, [1.0, -1, -1, -1]), pool, known_of(BASIS, pool, liked), rng()
    )
    assert found is not None
    assert {text.split()[2] for text in found} == set(liked.split())


def test_the_likeness_of_texts_is_the_mean_cosine_of_pairs() -> None:
    rows = {"a": np.array([1, 0], np.float32), "b": np.array([1, 0], np.float32), "c": np.array([0, 1], np.float32)}
    assert KnownTexts({}, rows).likeness(["a", "b", "c"]) == pytest.approx(1 / 3)


def test_without_a_positive_weight_nothing_is_chosen_and_the_plain_models_posts_are_given(
    basis: Basis, learned: list[Learned]
) -> None:
    nobody = Learned(0, learned[0].member, profile_of(basis, [-1.0] * basis.size))
    plain = {0: Pool([[f"plain {i}" for i in range(8)]], 20.0)}
    soft = {0: pool_of(basis)}
    [given] = given_chosen("best of 4 of all", basis, [nobody], soft, plain, known_of(basis, soft[0]))
    assert sorted(given.posts) == sorted(plain[0].posts[0])


def test_a_reader_of_whom_nothing_is_known_gets_the_plain_models_posts(basis: Basis, learned: list[Learned]) -> None:
    nobody = Learned(0, learned[0].member, profile_of(basis, [-1.0] * basis.size))
    plain = {0: Pool([[f"plain {i}" for i in range(8)]], 20.0)}
    [given] = given_from_pools(PRODUCTION, basis, [nobody], {0: Pool([[]] * basis.size, 30.0)}, plain)
    assert sorted(given.posts) == sorted(plain[0].posts[0])
    assert given.prompt_tokens == 20


class Fake:
    """Writes what it is asked with, told apart by number."""

    model = "fake"

    def __init__(self) -> None:
        self.rows: list[int] = []

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> WrittenTexts:
        said = messages[0]["content"]
        rows = 8
        if not isinstance(said, str):
            tensor = torch.load(io.BytesIO(base64.b64decode(said[0]["data"])), weights_only=True)
            assert tensor.isfinite().all()
            rows = len(tensor)
        self.rows.append(rows)
        name = sha256(json.dumps(messages).encode()).hexdigest()[:6]
        return WrittenTexts([f"{name} is post {i} of the {name} lot" for i in range(posts)], 20 + rows)

    async def score(self, text: str) -> TextScore:
        return TextScore(-20.0, 10)


@pytest.fixture(scope="module")
def catalogue() -> LabelledCatalogue:
    posts = tuple(post for posts in LISTED.values() for post in posts)
    return LabelledCatalogue(posts[::2], posts[1::2])


async def rows_written(
    basis: Basis,
    learned: list[Learned],
    catalogue: LabelledCatalogue,
    engine: Fake,
    settings: PromptsSettings = SETTINGS,
) -> list[Row]:
    projector = Projector(basis, 4)
    reads = encoder_of(basis).features_and_embeddings
    ready = Prepared(basis, Classifier.trained_on(catalogue.held_out), projector, learned, reads)
    with Progress(disable=True) as progress:
        return await study(settings, ready, engine, catalogue, progress)


async def test_the_study_has_a_row_of_every_way_for_every_kind_of_reader(
    basis: Basis, learned: list[Learned], catalogue: LabelledCatalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "KEPT_TEXTS", tmp_path / "kept")
    engine = Fake()
    rows = await rows_written(basis, learned, catalogue, engine)
    assert {(row.kind, row.way) for row in rows} == {
        (kind, way) for kind in (*TASTES, TasteKind.BOTH) for way in (CONTROL, *DRAWN, *CHOOSING, *OWN)
    }
    assert set(engine.rows) == {8, 2, 4}
    by_way = {row.way: row for row in rows if row.kind == "two tastes"}
    assert by_way[CONCATENATED].prompt_tokens == pytest.approx(24, abs=1)
    assert (by_way[PRODUCTION].readers, by_way[PROJECTED].readers) == (6, 4)
    assert by_way[PRODUCTION].ahead.mean == 0
    assert all(row.perplexity.mean == pytest.approx(np.exp(2)) for row in rows)
    assert all((row.every is None) == (row.kind == "one taste") for row in rows)
    assert await rows_written(basis, learned, catalogue, again := Fake()) == rows
    assert not again.rows  # all was kept

    about = SETTINGS.model_dump() | {
        "model": "tiny",
        "basis": basis.version,
        "classifier_accuracy": 0.9,
        "projector_training": {"options": {"steps": 3}, "held_out_loss_at_start": 3.2, "held_out_loss": 3.1},
    }
    about = {name: value for name, value in about.items() if name not in {"out", "projector"}}
    report.show(Console(quiet=True, width=120), rows, about, tmp_path / "out")
    listed = list(csv.DictReader((tmp_path / "out" / "prompts.csv").read_text().splitlines()))
    assert len(listed) == len(rows)
    assert listed[0].keys() >= {
        "kind",
        "way",
        "share",
        "share_low",
        "perplexity_high",
        "distinct2_x_control",
        "readers",
    }
    assert json.loads((tmp_path / "out" / "prompts.json").read_text())["seeds"] == [0, 1]
    page = (tmp_path / "out" / "prompts.md").read_text()
    assert page.count("## Readers with") == 4
    assert "3.200 nats a token under the average, 3.100 under the projector" in page
    assert (tmp_path / "out" / "prompts.png").read_bytes().startswith(b"\x89PNG")
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(report.table_of(rows, "two tastes"))
    assert "…" not in console.export_text()


def given_to(way: str, tastes: Sequence[str], posts: Sequence[str], user: str = "u") -> Given:
    return Given(way, MAIN, Member("two tastes", 0, Reader(user, tuple(tastes), 1.0), []), posts, 30.0)


def by_word(texts: Sequence[str]) -> list[set[str]]:
    return [set(text.split()) for text in texts]


def test_figures_are_means_over_readers_and_ahead_compares_the_same_readers() -> None:
    posts = {"u": ["a b", "a", "c", "c"], "v": ["a", "c", "c", "c"]}
    better = {"u": ["a", "a", "b", "b"]}
    given = [given_to(PRODUCTION, "ab", of, user) for user, of in posts.items()]
    given += [given_to(TOP, "ab", of, user) for user, of in better.items()]
    scores = Scorer({text: TextScore(-30.0 if text == "b" else -20.0, 10) for text in ("a", "a b", "b", "c")})
    judge = Judge(by_word, by_word, [text for one in given for text in one.posts])
    copies = Copies([Post("c", "c", "x")])
    production, top = rows_of(given, Measures(judge, copies, scores, 2, 0.5, lambda texts: texts.count("b") / 4))
    assert (production.likeness.mean, top.likeness.mean) == (0, 0.5)
    assert (production.share.mean, production.ahead.mean) == (0.375, 0)
    assert (top.share.mean, top.ahead.mean) == (1, 0.5)
    assert production.every is not None
    assert (production.every.mean, production.at_once.mean) == (0.5, 0.125)
    assert (production.near_copies.mean, top.near_copies.mean) == (0.625, 0)
    assert production.perplexity.mean == pytest.approx(np.exp(2))
    assert top.perplexity.mean == pytest.approx(np.exp(2.5))


def test_posts_that_are_scored_are_spread_over_a_readers_posts() -> None:
    assert list(some("abcdefgh", 2)) == ["a", "e"]
    assert list(some("abc", 8)) == ["a", "b", "c"]


def test_a_projector_is_trained_if_there_is_none_and_then_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    basis = basis_of(random_prompts(3).numpy())
    settings = PromptsSettings(_cli_parse_args=[], projector_steps=2)
    posts = [f"the dog barks {word}" for word in ("a", "over", "garden", "soil", "and", "we")] * 4
    monkeypatch.setattr(module, "KEPT", tmp_path)
    monkeypatch.setattr(jokes, "language_model", lambda _: tiny_model())
    trained = projector_of(settings, basis, posts)
    assert trained.about["options"]["steps"] == 2
    monkeypatch.delattr(jokes, "language_model")
    again = projector_of(settings, basis, posts)
    assert torch.equal(again.outer.weight, trained.outer.weight)
    [kept] = (tmp_path / "projectors").iterdir()
    given = PromptsSettings(_cli_parse_args=[], projector=kept)
    assert torch.equal(projector_of(given, basis, []).outer.weight, trained.outer.weight)


def test_a_projector_of_another_basis_ends_the_study_with_what_to_do(tmp_path: Path) -> None:
    settings = PromptsSettings(_cli_parse_args=[], projector=tmp_path / "p.safetensors")
    with pytest.raises(UserError, match=r"research\.projector"):
        projector_of(settings, BASIS, [])


def test_options_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["prompts"])
    monkeypatch.setenv("PROMPTS_OWN_READERS", "3")
    settings = PromptsSettings()
    assert (settings.own_readers, settings.sampling, settings.local) == (3, Sampling(0.8, 48, 0.05), False)
