"""The likelihood study on a tiny model: choosing on a half, measuring on the other, folds, and the files."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from client.catalogue import load_catalogue
from client.errors import UserError
from research.likelihood import report
from research.likelihood import study as study_module
from research.likelihood.__main__ import folds_texts
from research.likelihood.arms import ANY, BEST, MEANINGS, PLAIN, SHIPPED, START, TRAINED, WORDS, Arms, Measured
from research.likelihood.halves import chosen, first_half, nats, second_halves
from research.likelihood.settings import LikelihoodSettings
from research.likelihood.study import Study
from research.likelihood.texts import folds_of, held_out_posts, posts_in
from slop.basis import Basis, EmbedderName, Template
from slop.text_features import LengthScale
from tests.basis import random_head
from tests.tiny_model import WORDS as VOCABULARY
from tests.tiny_model import random_prompts, tiny_model

MODEL = tiny_model()
PROMPTS = list(random_prompts(12))
RNG = np.random.default_rng(0)
NAMES = [f"{first}{last}nn" for first in "bdfghjklmn" for last in "aeio"]  # each in one post: every cluster has words
TEXTS = [f"{name} {' '.join(RNG.choice(VOCABULARY, size=RNG.integers(3, 40)))}" for name in NAMES]
POSTS = [MODEL.post_tokens(text, most=32) for text in TEXTS[:12]]
QUIET = Console(quiet=True)
MEASURED = Measured({PLAIN: [3.0, 4.0, 5.0], TRAINED: [2.5, 3.5, 3.0]}, [10, 10, 20])
ABOUT = {"model": "tiny", "basis": "0", "tokens": 32, "seed": 0, "folds": 2, "prompts": 2, "steps": 1}


def one_by_one(prompt: torch.Tensor, post: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return MODEL.losses_by_token(prompt[None], [[post]])[0].double().numpy()


def basis() -> Basis:
    prompts = random_prompts(10).numpy()
    return Basis(
        model="tiny",
        revision="0",
        prompts=prompts,
        center=np.full(10, 0.1, np.float32),
        scale=1.0,
        temperature=2.0,
        head=random_head(10),
        embedder=EmbedderName("tiny", "test"),
        length=LengthScale(2.0, 1.0),
        crowd_direction=np.zeros(11, np.float32),
        words=tuple((word, "soup") for word in VOCABULARY[:10]),
        norm_range=(0.1, 10.0),
    )


def embed(texts: list[str]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(texts), 8)).astype("f4")


def options(monkeypatch: pytest.MonkeyPatch, **changes: object) -> LikelihoodSettings:
    monkeypatch.setattr("sys.argv", ["likelihood"])
    for name in ("DATA", "POSTS", "OUT"):
        monkeypatch.delenv(name, raising=False)
    return LikelihoodSettings(**{"folds": 2, "prompts": 2, "steps": 1, "tokens": 32, **changes})


def test_every_token_of_every_post_has_its_loss_whatever_posts_are_beside_it() -> None:
    for found, post in zip(nats(MODEL, PROMPTS[0], POSTS), POSTS, strict=True):
        assert found == pytest.approx(one_by_one(PROMPTS[0], post), abs=1e-4)


def test_the_halves_of_a_post_are_the_whole_post_and_the_end_belongs_to_the_second() -> None:
    odd = torch.arange(7)
    assert first_half(odd).tolist() == [0, 1, 2]
    assert len(first_half(torch.arange(2))) == 1


def test_the_prompt_is_chosen_on_the_first_half_alone() -> None:
    few = PROMPTS[:5]
    choice = chosen(MODEL, few, POSTS)
    best = [int(np.argmin([one_by_one(p, post)[: len(post) // 2].sum() for p in few])) for post in POSTS]
    assert choice.tolist() == best
    other_ends = [torch.cat([first_half(post), post[len(post) // 2 :].flip(0)]) for post in POSTS]
    assert chosen(MODEL, few, other_ends).tolist() == best


def test_of_many_prompts_those_go_on_that_are_ahead_after_the_first_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("research.likelihood.halves.HEAT_TOKENS", 3)
    monkeypatch.setattr("research.likelihood.halves.SURVIVORS", 4)
    for post, found in zip(POSTS, chosen(MODEL, PROMPTS, POSTS), strict=True):
        halves = np.stack([one_by_one(prompt, post)[: len(post) // 2] for prompt in PROMPTS])
        ahead = halves[:, :3].sum(axis=1).argsort()[:4]
        assert found == ahead[halves[ahead].sum(axis=1).argmin()]


def test_the_second_half_is_measured_given_the_first_under_the_chosen_prompt() -> None:
    choice = np.arange(len(POSTS)) % 3
    found = second_halves(MODEL, PROMPTS, POSTS, choice)
    expected = [one_by_one(PROMPTS[k], post)[len(post) // 2 :].mean() for k, post in zip(choice, POSTS, strict=True)]
    assert found == pytest.approx(expected, abs=1e-4)


def test_no_choice_does_better_than_the_best_in_hindsight_and_the_mean_lies_between() -> None:
    arms = Arms(MODEL, POSTS, lambda: None)
    arms.trained(torch.stack(PROMPTS[:4]))
    found = arms.measured()
    assert (np.array(found.arms[BEST]) <= found.arms[TRAINED]).all()
    assert (np.array(found.arms[BEST]) < found.arms[ANY]).all()
    assert found.tokens == [len(post) - len(post) // 2 for post in POSTS]


def test_plain_is_the_system_message_as_text() -> None:
    arms = Arms(MODEL, POSTS, lambda: None)
    arms.plain()
    plain = MODEL.embed_text(Template().plain_system)
    expected = [one_by_one(plain, post)[len(post) // 2 :].mean() for post in POSTS]
    assert arms.measured().arms[PLAIN] == pytest.approx(expected, abs=1e-4)


def test_every_post_is_held_out_once_and_never_trained_on_where_it_is() -> None:
    splits = folds_of(TEXTS, 3, 2, seed=1)
    assert sorted(np.concatenate([held for _, held in splits])) == list(range(len(TEXTS)))
    for train, held in splits:
        assert sorted([*train, *held]) == list(range(len(TEXTS)))
    again = folds_of(TEXTS, 3, 2, seed=1)
    assert all((one[1] == other[1]).all() for one, other in zip(splits, again, strict=True))


def test_too_few_posts_are_an_error_that_says_how_many_it_takes() -> None:
    with pytest.raises(UserError, match=r"40 posts are too few for 20 prompts in 2 folds: it takes 321"):
        folds_of(TEXTS, 2, 20, seed=0)
    assert folds_of(["a b"] * 321, 2, 20, seed=0)


@pytest.mark.parametrize("content", ["no json", '{"post_id": "a"}', '["a"]', '{"text": 5}'])
def test_a_broken_file_of_posts_is_an_error_that_says_what_a_line_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=r'no usable posts in .*"text"'):
        posts_in(path)


def test_posts_without_two_words_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(json.dumps({"post_id": text, "text": text}) for text in ("", "one", "two words")))
    assert posts_in(path) == ["two words"]


def test_the_catalogues_posts_are_those_that_the_default_basis_never_saw() -> None:
    catalogue = load_catalogue()
    drawn = held_out_posts(50, seed=0)
    assert len(drawn) == 50
    assert set(drawn) <= {post.text for post in catalogue.held_out}
    assert drawn != held_out_posts(50, seed=1)


def test_ones_own_posts_come_before_the_jokes_and_without_either_there_are_no_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"post_id": "a", "text": "two words"}\n')
    assert folds_texts(options(monkeypatch, posts=path, data=tmp_path)) == ("mine", ["two words"])
    assert folds_texts(options(monkeypatch)) is None


def test_folds_train_prompts_and_measure_every_post_in_all_arms_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = options(monkeypatch)
    found = Study(MODEL, basis(), embed, settings, QUIET, tmp_path).folds(TEXTS)
    assert set(found.arms) == {PLAIN, WORDS, START, TRAINED, ANY, BEST, SHIPPED} == set(MEANINGS)
    assert all(len(values) == len(TEXTS) and np.isfinite(values).all() for values in found.arms.values())
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


def test_what_is_done_is_not_done_again_and_other_options_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = counted(monkeypatch)
    first = Study(MODEL, basis(), embed, options(monkeypatch), QUIET, tmp_path).folds(TEXTS)
    next(tmp_path.glob("*-2.json")).unlink()
    again = Study(MODEL, basis(), embed, options(monkeypatch), QUIET, tmp_path).folds(TEXTS)
    assert again == first
    assert trained() == 3
    Study(MODEL, basis(), embed, options(monkeypatch, seed=1), QUIET, tmp_path).folds(TEXTS)
    assert trained() == 5


def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the bases that are built."""
    built: list[object] = []

    class Counted(study_module.Builder):
        def run(self) -> tuple[torch.Tensor, np.ndarray, list[list[str]]]:
            built.append(self)
            return super().run()

    monkeypatch.setattr(study_module, "Builder", Counted)
    return lambda: len(built)


def test_no_more_posts_are_measured_than_asked_for_alike_in_every_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Study(MODEL, basis(), embed, options(monkeypatch, measured=20), QUIET, tmp_path).folds(TEXTS)
    assert len(found.tokens) == 20


def test_the_catalogue_needs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = counted(monkeypatch)
    found = Study(MODEL, basis(), embed, options(monkeypatch), QUIET, tmp_path).catalogue(TEXTS[:10])
    assert list(found.arms) == [PLAIN, WORDS, TRAINED]
    assert len(found.tokens) == 10
    assert trained() == 0


def test_a_change_is_taken_post_by_post_and_perplexity_token_by_token() -> None:
    plain, trained = report.rows_of("jokes", MEASURED)
    assert (plain.nats.mean, plain.change.mean, plain.change.low) == (4.0, 0.0, 0.0)
    assert trained.change.mean == pytest.approx(-1.0)
    assert -2.0 <= trained.change.low < -1.0 < trained.change.high <= -0.5
    assert plain.perplexity == pytest.approx(np.exp((30 + 40 + 100) / 40))


def test_the_files_say_the_same_and_have_a_panel_for_each_kind_of_posts(tmp_path: Path) -> None:
    rows = [*report.rows_of("jokes", MEASURED), *report.rows_of("catalogue", MEASURED)]
    console = Console(width=120, file=io.StringIO(), record=True)
    report.show(console, rows, ABOUT, tmp_path)
    written = json.loads((tmp_path / "likelihood.json").read_text())
    listed = list(csv.DictReader(io.StringIO((tmp_path / "likelihood.csv").read_text())))
    assert [{name: str(value) for name, value in row.items()} for row in written["rows"]] == listed
    assert (written["seed"], len(listed)) == (0, 4)
    assert (tmp_path / "likelihood.md").read_text().count("| jokes |") == 2
    assert (tmp_path / "likelihood.png").read_bytes().startswith(b"\x89PNG")
    assert "3 posts, jokes" in console.export_text()


def test_options_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["likelihood"])
    monkeypatch.setenv("LIKELIHOOD_FOLDS", "3")
    monkeypatch.setenv("DATA", "somewhere")
    assert (LikelihoodSettings().folds, LikelihoodSettings().data) == (3, Path("somewhere"))
