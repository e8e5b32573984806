"""The variants study builds each basis once, and judges it on readers and posts that it has not seen."""

import csv
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from client.catalogue import LabelledCatalogue, load_catalogue, some_of
from client.chats import Message
from client.texts import Sampling, TextScore, WrittenTexts
from research.variants import __main__ as study
from research.variants import builds
from research.variants.builds import CHANGES, SHIPPED, Variant
from research.variants.figures import Posts
from slop.basis import Basis
from tests.basis import basis_of

QUIET = Console(quiet=True)


class Parrot:
    """Answers what is asked under prompt k with catalogue posts of class k, and nobody with nothing of note."""

    model = "parrot"

    def __init__(self, basis: Basis, catalogue: LabelledCatalogue) -> None:
        self._chats = {str(study.Pools(None, basis, Sampling())._chats.soft(p)): k for k, p in enumerate(basis.prompts)}  # type: ignore[arg-type]
        self._posts: dict[str, list[str]] = {}
        for post in catalogue.held_out:
            self._posts.setdefault(post.label, []).append(post.text)
        self._labels = sorted(self._posts)

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> WrittenTexts:
        k = self._chats.get(str(messages))
        known = ["nothing of note here"] if k is None else self._posts[self._labels[k]]
        return WrittenTexts([known[i % len(known)] for i in range(posts)], 30)

    async def score(self, text: str) -> TextScore:
        return TextScore(-2.0 * len(text.split()), len(text.split()))


@pytest.fixture
def told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LabelledCatalogue:
    """A basis with a prompt for every class, under which the posts of the class are likeliest."""
    catalogue = load_catalogue()
    labels = sorted({post.label for post in catalogue.shown})
    basis = basis_of(np.random.default_rng(0).normal(size=(len(labels), 3, 4)).astype("f4"), [*labels])

    def known(basis: Basis, settings: study.VariantsSettings, catalogue: LabelledCatalogue, _: object) -> Posts:
        shown, unseen = some_of(catalogue.shown, settings.shown), some_of(catalogue.held_out, 2)
        own = [np.array([[p.label] for p in posts]) == np.array(labels)[None] for posts in (shown, unseen)]
        features = [basis.text_features(shares, np.full(len(shares), 20), np.empty((len(shares), 0))) for shares in own]
        return Posts(shown, unseen, features[0], features[1], -20.0 * ~own[1], [10] * len(unseen))

    @asynccontextmanager
    async def writer(*_: object, **__: object) -> AsyncIterator[Parrot]:
        yield Parrot(basis, catalogue)

    monkeypatch.setattr(Variant, "basis", lambda *_: basis)
    monkeypatch.setattr(study, "known_posts", known)
    monkeypatch.setattr(study, "writer", writer)
    for module, name in ((study, "BUILT"), (builds, "BUILT")):
        monkeypatch.setattr(module, name, tmp_path)
    monkeypatch.setattr("research.topics.writing.KEPT_TEXTS", tmp_path)
    return catalogue


def options(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> study.VariantsSettings:
    monkeypatch.setattr("sys.argv", ["variants"])
    monkeypatch.delenv("OUT", raising=False)
    return study.VariantsSettings(out=folder, names=list(names), readers=4, seeds=[0], pool=8, shown=16)


def test_a_basis_that_tells_classes_apart_finds_every_taste(
    told_apart: LabelledCatalogue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study.compare(options(monkeypatch, tmp_path / "out", SHIPPED), QUIET)
    (row,) = csv.DictReader((tmp_path / "out" / "variants.csv").read_text().splitlines())
    assert float(row["ranking_16"]) > 0.95
    assert float(row["share_one_topic_16"]) > 0.9 < float(row["share_one_style_16"])
    assert float(row["both"]) > 0.4
    assert float(row["loss"]) == pytest.approx(np.log(22) / 10, abs=1e-3)
    for end in ("md", "json", "png"):
        assert (tmp_path / "out" / f"variants.{end}").stat().st_size > 0


def test_what_was_judged_stays_in_the_table_and_is_not_judged_again(
    told_apart: LabelledCatalogue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study.compare(options(monkeypatch, tmp_path / "out", SHIPPED), QUIET)
    monkeypatch.setattr(study, "known_posts", lambda *_: pytest.fail("judged again"))
    study.compare(options(monkeypatch, tmp_path / "out", SHIPPED), QUIET)
    monkeypatch.undo()
    assert [row["variant"] for row in csv.DictReader((tmp_path / "out" / "variants.csv").read_text().splitlines())] == [
        SHIPPED
    ]


def test_every_variant_differs_from_what_ships_and_from_the_others() -> None:
    digests = {Variant.named(name).digest("0") for name in CHANGES}
    assert len(digests) == len(CHANGES)
    assert Variant.named(SHIPPED).digest("0") != Variant.named(SHIPPED).digest("1")


def test_a_name_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no 99 prompts"):
        options(monkeypatch, tmp_path, "99 prompts")
