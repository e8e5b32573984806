"""The topics study asks, counts and compares what it says."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from client.catalogue import Post, by_label
from client.chats import Chats, Message
from client.classes import load_classes
from client.engine import StockEngine
from client.readers import Reaction, Reader
from client.texts import Sampling, WrittenTexts
from research import tables
from research.metrics import Estimate
from research.topics.__main__ import TopicsSettings
from research.topics.arms import AT_ONCE, CONTROL, SOFT, TURNS, Given, Pool, drawn, from_profiles, pool_tasks, served
from research.topics.arms import POSTS as POSTS_A_READER
from research.topics.composed import COMPOSED, SERVED, ComposedPosts, Wanted, composed_for, wanted_by
from research.topics.figures import Copies, Judge, by_taste, rows_of
from research.topics.people import COUNTS, MAIN, Habits, Learner, Member, TasteKind, members_of
from research.topics.report import HELD_OUT, Results, flat, show
from research.topics.writing import CachedWriter, WritingTask
from slop.basis import Basis, Template
from slop.composing import Composer, Pair
from slop.profiles import Profile
from slop.settings import DEFAULT_BASIS, LearningSettings
from slop.style_subject import StyleSubjectBasis
from slop.tensor_wire import torch_base64
from tests.basis import spread_over, style_subject_for

SAMPLING = Sampling(0.8, 48, 0.05)
POSTS = by_label(
    Post(f"{label}-{i}", f"post {i} about {label}, in many words", label) for label in load_classes() for i in range(24)
)
HABITS = Habits(readers=8, noise=0.0, exposure=0.5)


@pytest.fixture(scope="module")
def basis() -> Basis:
    return Basis.load(DEFAULT_BASIS)


def learner_of(basis: Basis) -> Learner:
    """Every class of the catalogue is one prompt of the basis, to the learner's eyes."""
    rows = {label: np.eye(basis.text_size, dtype=np.float32)[k] for k, label in enumerate(POSTS)}
    return Learner(basis, {post.post_id: rows[label] for label, posts in POSTS.items() for post in posts})


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [(TasteKind.TOPIC, ["topic"]), (TasteKind.STYLE, ["style"]), (TasteKind.BOTH, ["topic", "style"])],
)
def test_readers_of_a_kind_have_the_tastes_that_it_says(kind: TasteKind, kinds: list[str]) -> None:
    for member in members_of(kind, POSTS, HABITS, seed=0):
        assert [load_classes()[taste].kind for taste in member.tastes] == kinds


def test_readers_with_a_changed_taste_liked_something_else_before() -> None:
    for member in members_of(TasteKind.CHANGED, POSTS, HABITS, seed=0):
        assert len(member.before) == MAIN
        liked_before = {reaction.post.label for reaction in member.before if reaction.liked}
        assert len(liked_before) == len(member.tastes) == 1
        assert not liked_before & set(member.tastes)


def test_a_seed_gives_the_same_readers_again_and_another_one_others() -> None:
    first, again, other = (members_of(TasteKind.TWO, POSTS, HABITS, seed) for seed in (0, 0, 1))
    assert [m.reactions for m in first] == [m.reactions for m in again]
    assert [m.reactions for m in first] != [m.reactions for m in other]


def test_profiles_turn_to_the_taste_and_count_the_interactions(basis: Basis) -> None:
    learner = learner_of(basis)
    for member in members_of(TasteKind.TOPIC, POSTS, HABITS, seed=0):
        profiles = learner.profiles(member)
        assert [profiles[n].interactions for n in COUNTS] == list(COUNTS)
        assert list(POSTS)[int(profiles[MAIN].mean[: basis.size].argmax())] == member.tastes[0]


def test_what_was_learned_before_a_change_counts_in_the_profile_after_it(basis: Basis) -> None:
    member = members_of(TasteKind.CHANGED, POSTS, HABITS, seed=0)[0]
    assert learner_of(basis).profiles(member)[4].interactions == MAIN + 4


class Recorder(StockEngine):
    """Writes the number of the request."""

    def __init__(self) -> None:
        self.model, self.asked = "model", 0

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> WrittenTexts:
        self.asked += 1
        return WrittenTexts([f"{self.asked}"] * posts, 7)


def test_what_was_written_is_not_asked_for_again_by_the_next_run(tmp_path: Path) -> None:
    tasks = [WritingTask("a", Chats(Template()).plain(), 2), WritingTask("b", Chats(Template()).plain(), 2)]
    engine, path = Recorder(), tmp_path / "kept.jsonl"
    first, again = (
        asyncio.run(CachedWriter(engine, path, Progress(disable=True)).written("title", tasks, SAMPLING))
        for _ in range(2)
    )
    assert engine.asked == 2
    assert first == again
    assert first[0].posts != first[1].posts


def test_other_sampling_is_written_anew(tmp_path: Path) -> None:
    tasks, engine = [WritingTask("a", Chats(Template()).plain(), 1)], Recorder()
    writer = CachedWriter(engine, tmp_path / "kept.jsonl", Progress(disable=True))
    for sampling in (SAMPLING, Sampling(1.0, 48, 0.05)):
        asyncio.run(writer.written("title", tasks, sampling))
    assert engine.asked == 2


def test_a_pool_is_ordered_in_requests_of_bounded_size() -> None:
    tasks = pool_tasks([Chats(Template()).plain()] * 3, "pool", AT_ONCE + 1)
    assert [order.posts for order in tasks] == [AT_ONCE, 1] * 3
    assert len({order.name for order in tasks}) == 2


def test_a_reader_gets_different_posts_of_the_prompts_that_production_allots(basis: Basis) -> None:
    profile = Profile.new(basis.version, LearningSettings().prior_of(basis))
    mean = profile.mean.copy()
    mean[5] = 2.0
    pool = Pool([[f"{k}/{i}" for i in range(48)] for k in range(basis.size)], 32)
    posts = served(basis, pool, profile.moved(mean, profile.variance, signals=1, at_ms=0), rng())
    assert posts is not None
    assert len(set(posts)) == len(posts)
    assert {post.split("/")[0] for post in posts} == {"5"}


def test_a_reader_without_a_taste_gets_what_nobody_gets(basis: Basis) -> None:
    disliked = [Reaction(post, "skip", None, liked=False) for post in POSTS["cooking"] + POSTS["cars"][:8]]
    member = Member(TasteKind.TOPIC, 0, Reader("r", ("music",), 1.0), disliked)
    pool, plain = Pool([["soft"] * 48] * basis.size, 32), Pool([[f"plain {i}" for i in range(48)]], 28)
    (first, *_) = from_profiles(SOFT, basis, learner_of(basis), {0: (pool, plain)}, [member])
    assert all(post.startswith("plain") for post in first.posts)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_drawn_posts_are_never_the_same_twice() -> None:
    assert sorted(drawn(["a", "b", "c"], 3, rng())) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("The one two three four five six", True),
        ("one two three, four FIVE six! And now", True),
        ("one three two four five six of another kind", False),
        ("", False),
    ],
)
def test_a_copy_has_half_its_words_in_one_run_of_a_catalogue_post(text: str, copy: bool) -> None:
    assert Copies([Post("p", "zero one two three four five six seven", "x")])(text) is copy


def given_of(tastes: tuple[str, ...], posts: list[str], seed: int = 0, arm: str = SOFT) -> Given:
    kind = TasteKind.TOPIC if len(tastes) == 1 else TasteKind.BOTH
    return Given(arm, MAIN, Member(kind, seed, Reader("r", tastes, 1.0), ()), posts, 32)


def judged(given: Sequence[Given]) -> Judge:
    """A text's classes are its words, to the classifiers of parts in whatever case."""
    measure = lambda texts: [set(text.split()) for text in texts]  # noqa: E731
    parts = lambda texts: [set(text.lower().split()) for text in texts]  # noqa: E731
    return Judge(measure, measure, (post for one in given for post in one.posts), parts)


def test_rows_tell_any_taste_from_every_taste_and_from_all_at_once() -> None:
    given = [
        given_of(("music", "verse"), ["music loud", "verse short", *["bread"] * 6]),
        given_of(("music", "verse"), ["music verse", "MUSIC verse", *["bread"] * 6], seed=1),
    ]
    (row,) = rows_of(given, judged(given), Copies([]), ["a b c", "d e f"])
    assert row.share.mean == pytest.approx(0.25)
    assert row.by_seed == [0.25, 0.25]
    assert row.every is not None
    assert row.every.mean == pytest.approx(1.0)
    assert row.at_once.mean == pytest.approx(1 / 16)
    assert row.at_once_by_classifiers is not None
    assert row.at_once_by_classifiers.mean == pytest.approx(2 / 16)


def test_every_taste_is_looked_for_by_the_classifiers_of_either_too() -> None:
    given = [given_of(("music", "verse"), ["MUSIC verse", *["bread"] * 7]), given_of(("music", "verse"), ["bread"] * 8)]
    (row,) = rows_of(given, judged(given), Copies([]), ["a b"])
    assert row.every is not None
    assert row.every.mean == 0
    assert row.every_by_parts is not None
    assert row.every_by_parts.mean == pytest.approx(0.5)


def test_only_of_readers_of_a_topic_and_a_style_classifiers_of_either_are_asked() -> None:
    given = [given_of(("music",), ["music"])]
    (row,) = rows_of(given, judged(given), Copies([]), ["a b"])
    assert row.at_once_by_classifiers is None
    results = Results(
        [row], dict.fromkeys([(TasteKind.TOPIC, CONTROL, MAIN), (TasteKind.TOPIC, HELD_OUT, 0)], 5.0), {}, None
    )
    assert flat(row, results)["all_tastes_in_one_post_by_classifiers"] == ""


def test_shares_taste_by_taste_are_those_of_readers_with_one_taste() -> None:
    given = [given_of(("music",), ["music", "bread"]), given_of(("music", "verse"), ["bread", "bread"])]
    assert {taste: share.mean for taste, share in by_taste(given, judged(given), SOFT).items()} == {"music": 0.5}


def test_a_row_is_compared_with_the_control_of_its_kind() -> None:
    given = [given_of(("music",), ["music"], arm=arm) for arm in (CONTROL, SOFT)]
    rows = rows_of(given, judged(given), Copies([]), ["a b"])
    keys = (TasteKind.TOPIC, CONTROL, MAIN), (TasteKind.TOPIC, SOFT, MAIN), (TasteKind.TOPIC, HELD_OUT, 0)
    results = Results(rows, dict(zip(keys, (5.0, 8.0, 20.0), strict=True)), {}, None)
    found = flat(next(row for row in rows if row.arm == SOFT), results)
    assert (found["perplexity"], found["perplexity_x_control"], found["perplexity_held_out"]) == (8.0, 1.6, 20.0)
    assert isinstance(rows[0].share, Estimate)


def test_rivals_of_an_earlier_run_are_kept_and_say_what_wrote_them(tmp_path: Path) -> None:
    given = [given_of(tastes, ["music"], arm=SOFT) for tastes in (("music",), ("verse",))]
    row = rows_of(given, judged(given), Copies([]), ["a b"])[0]
    rows = [replace(row, kind=kind) for kind in TasteKind]
    perplexities = {(kind, name, n): 5.0 for kind in TasteKind for name, n in ((CONTROL, MAIN), (HELD_OUT, 0))}
    about = TopicsSettings(_cli_parse_args=[], seeds=[0]).model_dump(exclude={"out", "earlier"})
    told = {"model": "tiny", "style_subject_version": None, "forgetting": 1.0, "classifier_accuracy": 0.9}
    before = {"basis": "then", "writer": "a GPU", "effort": {"cpu_us_an_interaction": 2.0, "tuned": 6e6}}
    rival = flat(rows[0], results := Results(rows, perplexities, {"music": row.share}, None))
    names = (TURNS, SOFT, "an arm of then")
    tables.save_json(tmp_path / "then.json", {**before, "rows": [{**rival, "arm": name} for name in names]})
    now = {**about, **told, "basis": "now", "writer": "a CPU"}
    show(Console(quiet=True), results, now, tmp_path / "out", tmp_path / "then.json")
    kept = json.loads((tmp_path / "out" / "topics.json").read_text())
    assert [(row["kind"], row["arm"], row["basis"], row["writer"]) for row in kept["rows"]] == [
        (TasteKind.TOPIC, TURNS, "then", "a GPU"),
        *((kind, SOFT, "now", "a CPU") for kind in TasteKind),
    ]
    assert kept["effort"] == before["effort"]
    assert "3,000,000 times as much" in (tmp_path / "out" / "topics.md").read_text()
    assert (tmp_path / "out" / "topics.png").read_bytes().startswith(b"\x89PNG")


STYLES = [label for label in POSTS if load_classes()[label].kind == "style"]
TOPICS = [label for label in POSTS if load_classes()[label].kind == "topic"]


def style_subject_of_classes(basis: Basis) -> StyleSubjectBasis:
    """Every class of the catalogue is one prompt of the basis, and a style or a subject of its own."""
    pairs: list[tuple[int | None, int | None]] = [
        (STYLES.index(label), None) if label in STYLES else (None, TOPICS.index(label)) for label in POSTS
    ]
    rest: list[tuple[int | None, int | None]] = [(None, None)] * (basis.size - len(pairs))
    return style_subject_for(basis, spread_over(pairs + rest, len(STYLES), len(TOPICS)))


def wanted_of(basis: Basis, style_subject: StyleSubjectBasis) -> list[Wanted]:
    composer = Composer.of(style_subject)
    assert composer is not None
    members = [
        member for kind in (TasteKind.TOPIC, TasteKind.BOTH) for member in members_of(kind, POSTS, HABITS, seed=0)
    ]
    return wanted_by(composer, basis, learner_of(basis), members)


def test_readers_of_a_topic_and_a_style_want_them_as_a_pair(basis: Basis) -> None:
    for one in wanted_of(basis, style_subject_of_classes(basis)):
        assert len(one.choices) == POSTS_A_READER
        if one.member.kind == TasteKind.BOTH and one.pairs:
            topic, style = one.member.tastes
            assert one.pairs.most_common(1)[0][0] == Pair(STYLES.index(style), TOPICS.index(topic))


def test_it_is_told_for_how_many_readers_of_a_kind_posts_are_composed(basis: Basis) -> None:
    shares = composed_for(wanted_of(basis, style_subject_of_classes(basis)))
    assert shares[TasteKind.BOTH] > 0.5 > shares[TasteKind.TOPIC]


def test_only_pairs_that_somebody_wants_are_written_and_everybody_gets_different_posts(
    basis: Basis, tmp_path: Path
) -> None:
    style_subject, engine = style_subject_of_classes(basis), Numbers()
    wanted = wanted_of(basis, style_subject)
    soft, plain = (
        Pool([[f"soft {k}/{i}" for i in range(48)] for k in range(basis.size)], 32),
        Pool([["plain"] * 48], 28),
    )
    writer = CachedWriter(engine, tmp_path / "kept.jsonl", Progress(disable=True))
    given = asyncio.run(ComposedPosts(writer, basis, style_subject, SAMPLING).given(wanted, {0: (soft, plain)}))
    both = [one for one in wanted if one.member.kind in SERVED]
    assert [(one.arm, one.member, one.n) for one in given] == [(COMPOSED, one.member, MAIN) for one in both]
    assert engine.asked == {
        name_of(style_subject, pair): max(one.pairs[pair] for one in both)
        for pair in {pair for one in both for pair in one.pairs}
    }
    for one, of in zip(given, both, strict=True):
        assert len(set(one.posts)) == POSTS_A_READER
        asked = Counter(post.split("/")[0] for post in one.posts)
        assert asked == {
            **{name_of(style_subject, pair): count for pair, count in of.pairs.items()},
            **Counter(f"soft {choice}" for choice in of.choices if not isinstance(choice, Pair)),
        }


def name_of(style_subject: StyleSubjectBasis, pair: Pair) -> str:
    return torch_base64(style_subject.prompt(*pair)).replace("/", "_")


class Numbers(StockEngine):
    """Writes the soft prompt that it is asked with and a number, and keeps how many posts of it were asked for."""

    def __init__(self) -> None:
        self.model, self.asked = "model", dict[str, int]()

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> WrittenTexts:
        prompt = messages[0]["content"][0]["data"].replace("/", "_")
        assert prompt not in self.asked
        self.asked[prompt] = posts
        return WrittenTexts([f"{prompt}/{number}" for number in range(posts)], 7)
