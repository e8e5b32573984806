from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slop.style_subject import StyleSubjectBasis
from tests.basis import basis_of
from tests.tiny_model import random_prompts, tiny_model
from training.basis import style_subject_build as building
from training.basis.style_subject_build import StyleSubjectBuilder, build_style_subject, spread_of
from training.basis.style_subject_state import StyleSubjectOptions
from training.language_model import PromptScorer

MODEL = tiny_model()
THINGS = ("dog", "star", "garden")
MANNERS = ("the {} barks and we run !!!", "write short {} system user", "over the {} cook a soup . money")
EXTRAS = ("", " and", " we", " save", " the", " shines", " soil", " over")
PLAIN = [manner.format(thing) + extra for extra in EXTRAS for thing in THINGS for manner in MANNERS]
POSTS = [f"{post} own{'abcdefghi'[n // 9]}{'abcdefghi'[n % 9]}" for n, post in enumerate(PLAIN)]
OPTIONS = StyleSubjectOptions(
    3, 3, style_rows=4, subject_rows=2, rounds=(3, 4), check_every=2, held_out=0.15, drafted=(), seed=0
)


def embed(texts: list[str]) -> np.ndarray:
    space = np.random.default_rng(0).normal(size=(len(texts), 8)) * 0.1
    space[:, :3] += [[5 * (thing in text) for thing in THINGS] for text in texts]
    return space.astype("f4")


def builder(folder: Path, options: StyleSubjectOptions = OPTIONS) -> StyleSubjectBuilder:
    return StyleSubjectBuilder(MODEL, embed, POSTS, options, folder / "checkpoint.pt")


def test_a_build_finds_and_keeps_styles_and_subjects(tmp_path: Path) -> None:
    basis, labels = build_style_subject(MODEL, ("tiny", "0"), embed, POSTS, OPTIONS, tmp_path / "c.pt")
    assert labels.shape == (len(POSTS), 2)
    assert (basis.size, basis.rows, basis.styles.shape[1]) == ((3, 3), 6, 4)
    assert sum(basis.built["style_sizes"]) == sum(basis.built["subject_sizes"]) == len(POSTS)
    assert (basis.built["seed"], basis.built["rounds"], basis.built["drafted"]) == (0, [3, 4], [])
    assert 0 < basis.built["held_out_loss"] < 10
    basis.save(tmp_path / "basis")
    assert StyleSubjectBasis.load(tmp_path / "basis").version == basis.version


@pytest.mark.parametrize(
    ("preferences", "step", "after"),
    [(False, "joint_step", 5), (True, "joint_step", 2), (True, "joint_preference_step", 2)],
)
def test_a_build_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preferences: bool, step: str, after: int
) -> None:
    options = replace(OPTIONS, preferences=preferences)
    whole = builder(tmp_path / "whole", options).run()
    steps, real = iter(range(100)), getattr(building, step)

    def interrupted(*args: object) -> float:
        if next(steps) == after:
            raise KeyboardInterrupt
        loss: float = real(*args)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(building, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            builder(tmp_path / "cut", options).run()
    resumed = builder(tmp_path / "cut", options).run()
    assert resumed.prompts.steps == whole.prompts.steps == 7
    assert resumed.best_loss == whole.best_loss
    assert all(torch.equal(a, b) for a, b in zip(resumed.prompts.rows(), whole.prompts.rows(), strict=True))
    np.testing.assert_array_equal(resumed.labels, whole.labels)


def test_a_build_that_was_interrupted_between_drafts_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, styles=9, drafted=(3, 2))
    whole = builder(tmp_path / "whole", options).run()
    assert whole.drafted == len(whole.shown) == 2
    assert not all(torch.equal(a, b) for a, b in zip(whole.best or (), whole.prompts.rows(), strict=True))
    real, steps = building.draft_contrasts, iter(range(100))

    def interrupted(*args: object) -> object:
        if next(steps) in {1, 4}:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(building, "draft_contrasts", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                builder(tmp_path / "cut", options).run()
        resumed = builder(tmp_path / "cut", options).run()
    assert resumed.shown == whole.shown
    assert all(torch.equal(a, b) for a, b in zip(resumed.prompts.rows(), whole.prompts.rows(), strict=True))


def test_a_checkpoint_of_other_options_is_not_gone_on_with(tmp_path: Path) -> None:
    builder(tmp_path).run()
    with pytest.raises(SystemExit, match="--fresh"):
        builder(tmp_path, StyleSubjectOptions(2, 3, style_rows=4, subject_rows=2)).run()


def test_the_kept_parts_are_those_that_were_best_on_held_out_posts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, rounds=(2, 8), check_every=1, preferences=False)
    looked, real = [], building.losses_under

    def worse_each_time(*args: object) -> np.ndarray:
        looked.append(args[-1])
        return real(*args) + len(looked)  # type: ignore[arg-type]

    monkeypatch.setattr(building, "losses_under", worse_each_time)
    progress = builder(tmp_path, options).run()
    assert looked.count("held-out posts") == 3
    assert progress.prompts.steps == 5
    assert progress.best is not None
    assert not torch.equal(progress.best[0], progress.prompts.rows()[0])


def test_a_mixtures_prompts_are_told_by_the_styles_and_subjects_of_their_posts() -> None:
    owners, labels = np.array([0, 0, 0, 2]), np.array([[1, 0], [1, 0], [0, 2], [2, 1]])
    spread = spread_of(owners, 4, labels, OPTIONS)
    assert spread.shape == (4, 3, 3)
    assert spread[0, 1, 0] == pytest.approx(2 / 3)
    assert spread[0, 0, 2] == pytest.approx(1 / 3)
    assert spread[2, 2, 1] == 1
    np.testing.assert_allclose(spread[[1, 3]], 1 / 9, rtol=1e-6)


def test_every_post_belongs_to_the_mixtures_prompt_that_makes_it_likeliest(tmp_path: Path) -> None:
    mixture = basis_of(random_prompts(4, width=MODEL.width).numpy())
    basis, _ = build_style_subject(MODEL, ("tiny", "0"), embed, POSTS, OPTIONS, tmp_path / "c.pt", mixture)
    assert basis.mixture == mixture.prompts_version
    assert basis.of_prompts is not None
    assert basis.of_prompts.shape == (4, 3, 3)
    scorer = PromptScorer(MODEL, torch.from_numpy(mixture.prompts))
    best = [int(scorer(text).argmax()) for text in POSTS]
    found = building.best_prompts(MODEL, mixture, POSTS)
    assert np.mean(found == best) > 0.95
    basis.save(tmp_path / "basis")
    again = StyleSubjectBasis.load(tmp_path / "basis")
    assert again.version == basis.version
    np.testing.assert_array_equal(again.of_prompts, basis.of_prompts)
