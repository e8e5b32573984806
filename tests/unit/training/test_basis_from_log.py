import json
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kafka.errors import KafkaConnectionError

from slop.kafka.topics import encode, key_of
from slop.redis.posts import PostRef
from slop.settings import LearningSettings
from slop.v1.post_pb2 import Post
from tests.basis import random_basis
from training.basis import command
from training.basis import from_log as live
from training.basis.clusters import SMALLEST
from training.basis.command import catalogue_of, kept_posts, remove
from training.basis.from_log import Catalogue, Entry, Listing, posts_of
from training.factors.reactions import Reactions


def record(post: Post) -> SimpleNamespace:
    return SimpleNamespace(key=key_of(post), value=encode(post))


def post(post_id: str, text: str = "", at_ms: int = 0, **others: str) -> SimpleNamespace:
    return record(Post(tenant="t", post_id=post_id, text=text or f"about {post_id}", created_at_ms=at_ms, **others))


def tombstone(post_id: str) -> SimpleNamespace:
    return SimpleNamespace(key=key_of(Post(tenant="t", post_id=post_id)), value=None)


def texts(records: Iterable[SimpleNamespace], most: int = 100) -> list[str]:
    return [entry.text for entry in posts_of(records, most, {})]


def entries(*posts: tuple[str, str]) -> list[Entry]:
    return [Entry(0, key, text) for key, text in posts]


def test_the_newest_posts_come_first() -> None:
    assert texts([post("a", at_ms=2), post("b", at_ms=3), post("c", at_ms=1)]) == ["about b", "about a", "about c"]


def test_a_deleted_post_is_not_read_and_one_that_was_sent_again_is_read_as_it_is_now() -> None:
    records = [post("a"), post("b", "first"), tombstone("a"), post("b", "second"), post("c"), tombstone("c"), post("c")]
    assert sorted(texts(records)) == ["about c", "second"]


@pytest.mark.parametrize("marks", [{"for_user_id": "ann"}, {"arm": "soft"}, {"basis": "0123"}])
def test_what_generation_wrote_is_not_read(marks: dict[str, str]) -> None:
    assert texts([post("a"), post("b", **marks)]) == ["about a"]


def test_a_generated_post_that_somebody_sends_again_is_not_read() -> None:
    assert texts([post("gen-1"), post("generous")]) == ["about generous"]


def test_broken_and_empty_posts_are_left_out() -> None:
    assert texts([SimpleNamespace(key=b"t/x", value=b"\xff"), post("a", "  \n"), post("b", " b ")]) == ["b"]


def test_of_a_long_log_the_newest_are_kept() -> None:
    order = np.random.default_rng(0).permutation(1_000).tolist()
    kept = posts_of([post(f"p{number}", at_ms=number) for number in order], 2, {})
    assert [entry.created_at_ms for entry in kept[:5]] == [999, 998, 997, 996, 995]
    assert len(kept) < 20


def others_left(attack: Iterable[SimpleNamespace], others: list[SimpleNamespace], readers: dict[str, int]) -> float:
    """Which share of the others' posts is used of a log in which thousands of somebody else's come after them."""
    found = posts_of([*others, *attack], len(others), readers)[: len(others)]
    return sum(entry.key.startswith("t/other") for entry in found) / len(others)


NEWEST = [post(f"attack{number}", at_ms=10**6 + number) for number in range(4_000)]


@pytest.mark.parametrize("posts", [4_000, 40_000])
def test_posts_of_one_author_leave_those_of_the_others_in(posts: int) -> None:
    others = [post(f"other{number}", at_ms=number, author=f"author{number % 300}") for number in range(4_000)]
    attack = (post(f"attack{number}", at_ms=10**6 + number, author="mallory") for number in range(posts))
    assert others_left(attack, others, {}) >= 0.95


def test_posts_of_no_author_leave_those_of_authors_in() -> None:
    others = [post(f"other{number}", at_ms=number, author=f"author{number % 300}") for number in range(4_000)]
    assert others_left(NEWEST, others, {}) >= 0.95


def test_posts_of_one_author_leave_those_of_a_product_without_authors_in() -> None:
    others = [post(f"other{number}", at_ms=number) for number in range(4_000)]
    attack = (post(f"attack{number}", at_ms=10**6 + number, author="mallory") for number in range(4_000))
    assert others_left(attack, others, {}) >= 0.95


@pytest.mark.parametrize("authors", [["", ""], ["ann", "{}"]])
def test_posts_that_readers_reacted_to_are_left_in_whatever_authors_the_others_name(authors: list[str]) -> None:
    theirs, names = authors
    others = [post(f"other{number}", at_ms=number, author=theirs and f"{theirs}{number}") for number in range(4_000)]
    attack = [post(f"attack{at}", at_ms=10**6 + at, author=names.format(at)) for at in range(4_000)]
    read = {f"t/other{number}": 3 for number in range(4_000)} | {f"t/attack{number}": 2 for number in range(4_000)}
    assert others_left(attack, others, read) >= 0.95


def test_posts_of_a_single_author_are_all_read_where_nobody_else_wants_the_room() -> None:
    assert len(texts([post(f"p{number}", author="ann") for number in range(90)])) == 90


def test_a_text_is_listed_once_with_every_post_that_has_it() -> None:
    own = entries(("t/a", "rain"), ("t/b", "sun"), ("t/c", "rain"))
    listing = Listing.of(own, entries(("t/b", "a new sun"), ("t/d", "snow"), ("t/e", "sun"), ("t/f", "hail")), most=1)
    assert listing.texts == ["rain", "sun", "snow"]
    assert listing.places == {"t/a": 0, "t/b": 1, "t/c": 0, "t/d": 2, "t/e": 1}


def test_reactions_to_any_post_of_a_text_are_reactions_to_the_text() -> None:
    listing = Listing.of(entries(("t/a", "rain"), ("t/b", "sun")), entries(("t/c", "rain")), most=0)
    readers, keys = np.arange(8), ["t/a", "t/c", "t/unknown", "t/b"]
    values = np.where(readers % 2, 1.0, -1.0)
    given = Reactions(readers, readers % 4, values, np.ones(8), keys, np.zeros((4, 9)))
    places = listing.engagement(given, seed=0)
    assert places is not None
    assert places.any(axis=1).tolist() == [True, False]


@pytest.fixture
def settings(tmp_path: Path) -> LearningSettings:
    random_basis().save(tmp_path / "basis")
    return LearningSettings(_env_file=None, tenant="t", basis_dir=tmp_path / "basis")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "posts.jsonl"
    rows = [{"post_id": f"own-{number}", "text": f"own {number}"} for number in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def nobody() -> Reactions:
    none = np.zeros(0, np.intp)
    return Reactions(none, none, np.zeros(0), np.zeros(0), (), np.zeros((0, 5)))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What slop.posts.v1 has; nobody has reacted to any of it."""
    records: list[SimpleNamespace] = []
    monkeypatch.setattr(live, "whole_log", lambda *_: iter(records))
    monkeypatch.setattr(live, "logged", lambda *_: nobody())
    return records


def test_a_catalogue_of_the_log_has_the_files_posts_and_the_newest_others(
    settings: LearningSettings, file: Path, log: list[SimpleNamespace], capsys: pytest.CaptureFixture[str]
) -> None:
    log += [post(f"p{number}", at_ms=number) for number in range(SMALLEST + 5)]
    catalogue = Catalogue.of_log(file, settings, SMALLEST, seed=0)
    assert catalogue.posts[:3] == ["own 0", "own 1", "own 2"]
    assert set(catalogue.posts[3:]) == {f"about p{number}" for number in range(5, SMALLEST + 5)}
    assert catalogue.engagement is None
    assert f"{SMALLEST} posts of the log beside 3 of the catalogue" in capsys.readouterr().out


def test_of_a_log_with_too_few_posts_none_is_taken(
    settings: LearningSettings, file: Path, log: list[SimpleNamespace], capsys: pytest.CaptureFixture[str]
) -> None:
    log += [post("p"), post("own-1", "own 1"), post("q", "own 2")]
    assert Catalogue.of_log(file, settings, 100, seed=0).posts == ["own 0", "own 1", "own 2"]
    assert f"1 other posts in the log, {SMALLEST} are needed: the catalogue alone" in capsys.readouterr().out


def test_reactions_to_the_files_own_posts_count(
    settings: LearningSettings, file: Path, log: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    readers, posts = (part.ravel() for part in np.indices((6, 2)))
    keys = [PostRef("t", "own-2").key, PostRef("another", "own-1").key]
    given = Reactions(readers, posts, np.where((readers + posts) % 2, 1.0, -1.0), np.ones(12), keys, np.zeros((2, 5)))
    monkeypatch.setattr(live, "logged", lambda *_: given)
    places = Catalogue.of_log(file, settings, 100, seed=0).engagement
    assert places is not None
    assert places.any(axis=1).tolist() == [False, False, True]
    del log


@pytest.mark.usefixtures("log")
def test_without_a_basis_there_are_no_reactions_and_the_reason_is_told(
    settings: LearningSettings, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = settings.model_copy(update={"basis_dir": tmp_path / "nowhere"})
    assert Catalogue.of_log(file, first, 100, seed=0).engagement is None
    assert "no reactions: no usable basis in" in capsys.readouterr().out


def arguments(file: Path, *, log: bool = True) -> Namespace:
    return Namespace(checkpoint=file.parent / "checkpoint.pt", catalogue=file, log=log, most_posts=100, seed=0)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Catalogue]:
    """What successive readings of the log give."""
    catalogues = [Catalogue(["one"], np.eye(1, 2, dtype=np.float32)), Catalogue(["two"])]
    monkeypatch.setattr(command.Catalogue, "of_log", lambda *_: catalogues.pop(0))
    return catalogues


def test_a_build_that_is_resumed_goes_on_with_the_posts_it_began_with(file: Path, readings: list[Catalogue]) -> None:
    args = arguments(file)
    first = catalogue_of(args)
    args.checkpoint.touch()
    second = catalogue_of(args)
    assert second.posts == first.posts == ["one"]
    assert np.array_equal(second.engagement, first.engagement)
    assert len(readings) == 1
    remove(args.checkpoint)
    assert not args.checkpoint.exists()
    assert not kept_posts(args.checkpoint).exists()
    assert catalogue_of(args).posts == ["two"]


def test_a_build_that_was_interrupted_before_its_first_checkpoint_reads_the_posts_again(
    file: Path, readings: list[Catalogue]
) -> None:
    assert [catalogue_of(arguments(file)).posts for _ in range(2)] == [["one"], ["two"]]
    assert not readings


def test_a_checkpoint_of_unknown_posts_is_not_resumed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = arguments(file, log=False)
    args.checkpoint.touch()
    assert catalogue_of(args).posts == ["own 0", "own 1", "own 2"]
    assert not args.checkpoint.exists()
    assert "begun anew" in capsys.readouterr().out


def test_a_log_that_cannot_be_read_ends_the_command_with_the_reason(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Catalogue:
        raise KafkaConnectionError("no broker answers")

    monkeypatch.setattr(command.Catalogue, "of_log", away)
    with pytest.raises(SystemExit, match=r"the log can't be read: .*no broker answers"):
        catalogue_of(arguments(file))
