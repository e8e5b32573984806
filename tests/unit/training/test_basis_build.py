from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slop.basis import Basis
from slop.text_features import responsibilities
from tests.tiny_model import random_prompts, tiny_model
from training.basis import build
from training.basis.build import Builder, BuildOptions, build_basis
from training.basis.distil import HeadOptions
from training.basis.tuning import PromptState, losses_under, train_step

MODEL = tiny_model()
DOGS = ["the dog barks", "a dog barks and we run", "the dog and the dog run", "we run over the dog"]
STARS = ["a star shines", "the star shines over the star", "a star and a star", "over the star shines a star"]
POSTS = [
    f"{post} {extra}" for extra in ("", "and", "the", "a", "over", "we", "soup", "garden") for post in DOGS + STARS
]
OPTIONS = BuildOptions(
    prompts=2, rows=3, rounds=(3, 3), nearest=2, check_every=2, head=HeadOptions(written=3, candidates=2)
)


def embed(texts: list[str]) -> np.ndarray:
    space = np.random.default_rng(0).normal(size=(len(texts), 8)) * 0.1
    space[:, 0] += [5 * ("dog" in text) for text in texts]
    return space.astype("f4")


def noise(texts: list[str]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(texts), 8)).astype("f4")


class Fake:
    """A sentence embedder."""

    name, revision = "fake", "1"

    def __init__(self, embed: Callable[[list[str]], np.ndarray]) -> None:
        self.embed = embed


def builder(folder: Path, options: BuildOptions = OPTIONS) -> Builder:
    return Builder(MODEL, embed, POSTS, options, folder / "checkpoint.pt")


def test_tuning_lowers_the_loss_of_the_prompts_own_posts() -> None:
    posts = [MODEL.post_tokens(text) for text in DOGS]
    prompt = PromptState.begin(random_prompts(1)[0])
    before = losses_under(MODEL, prompt.rows.detach(), posts).mean()
    for _ in range(15):
        train_step(MODEL, [prompt], [posts], total=15)
    assert losses_under(MODEL, prompt.rows.detach(), posts).mean() < before - 0.05


def test_prompts_trained_side_by_side_are_those_trained_alone() -> None:
    batches = [[MODEL.post_tokens(t) for t in texts] for texts in (DOGS, STARS[:2])]
    together = [PromptState.begin(rows) for rows in random_prompts(2)]
    train_step(MODEL, together, batches, total=10)
    for prompt, rows, batch in zip(together, random_prompts(2), batches, strict=True):
        alone = PromptState.begin(rows)
        train_step(MODEL, [alone], [batch], total=10)
        assert torch.allclose(prompt.rows, alone.rows, atol=1e-4)


def test_the_model_itself_is_never_trained() -> None:
    before = MODEL.embed(torch.arange(10)).clone()
    train_step(MODEL, [PromptState.begin(random_prompts(1)[0])], [[MODEL.post_tokens("the dog")]], total=5)
    assert torch.equal(MODEL.embed(torch.arange(10)), before)


@pytest.mark.parametrize(("step", "softness"), [("train_step", 0), ("preference_step", 0), ("preference_step", 5)])
def test_a_build_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, softness: float
) -> None:
    options = replace(OPTIONS, softness=softness)
    whole, _, _ = builder(tmp_path / "whole", options).run()
    steps, real = iter(range(100)), getattr(build, step)

    def interrupted(*args: object) -> float:
        if next(steps) == 1:
            raise KeyboardInterrupt
        loss: float = real(*args)
        return loss

    cut = builder(tmp_path / "cut", options)
    with monkeypatch.context() as patch:
        patch.setattr(build, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            cut.run()
    resumed, _, _ = builder(tmp_path / "cut", options).run()
    assert torch.equal(resumed, whole)


def test_prompts_share_a_post_by_how_likely_they_make_it(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    soft = Builder(MODEL, embed, POSTS, replace(OPTIONS, softness=5.0, rounds=(1, 0)), checkpoint)
    prompts, labels, _ = soft.run()
    weights = torch.load(checkpoint, weights_only=True)["weights"].numpy()
    losses = [losses_under(MODEL, rows, [MODEL.post_tokens(post) for post in POSTS]) for rows in prompts]
    logs = -np.stack(losses, axis=1) * [[len(MODEL.post_tokens(post))] for post in POSTS]
    assert weights == pytest.approx(responsibilities(logs, 5.0), abs=1e-4)
    assert (weights.argmax(axis=1) == labels).all()
    assert 0.01 < weights.min() < 0.5


def test_a_lower_rate_moves_prompts_less(tmp_path: Path) -> None:
    moved = {}
    for rate in (0.0, 1e-3, 3e-2):
        options = replace(OPTIONS, rate=rate, preferences=False, rounds=(2,))
        moved[rate], _, _ = builder(tmp_path / str(rate), options).run()
    far, near = (float((moved[rate] - moved[0.0]).norm()) for rate in (3e-2, 1e-3))
    assert far > 5 * near > 0


def test_a_build_without_preferences_is_by_likelihood_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(build, "preference_step")
    alone = replace(OPTIONS, preferences=False)
    prompts, _, _ = Builder(MODEL, embed, POSTS, alone, tmp_path / "c.pt").run()
    assert prompts.shape == (2, 3, MODEL.width)


def test_posts_that_the_same_readers_like_are_clustered_together(tmp_path: Path) -> None:
    dogs = np.array(["dog" in post for post in POSTS])
    liked = 20 * np.eye(2, dtype=np.float32)[dogs.astype(int)]
    options = replace(OPTIONS, rounds=(1,))
    basis, labels = build_basis(MODEL, ("tiny", "0"), Fake(noise), POSTS, options, tmp_path / "c.pt", engagement=liked)
    assert len(set(zip(labels.tolist(), dogs.tolist(), strict=True))) == 2
    assert basis.built["engaged_posts"] == len(POSTS)


def test_a_basis_tells_its_clusters_apart(tmp_path: Path) -> None:
    basis, labels = build_basis(MODEL, ("tiny", "0"), Fake(embed), POSTS, OPTIONS, tmp_path / "c.pt")
    dogs = np.array(["dog" in post for post in POSTS])
    agreement = (labels[dogs] == np.bincount(labels[dogs]).argmax()).mean()
    assert agreement > 0.8
    basis.save(tmp_path / "basis")
    assert Basis.load(tmp_path / "basis").version == basis.version
