"""The projector: it begins as the average of a basis' prompts, and learns prompts of readers with several tastes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from research.projector import training as module
from research.projector.network import ABOUT, InvalidProjector, Projector, within
from research.projector.training import ProjectorOptions, Training, assigned, drawn, train_projector
from slop.basis import Basis
from tests.basis import basis_of, random_basis
from tests.tiny_model import random_prompts, tiny_model

MODEL = tiny_model()
SUBJECTS = ("dog barks", "star shines", "money save")
POSTS = [
    f"{post} {extra}"
    for extra in ("", "and", "the", "a", "over", "we", "soup", "garden")
    for post in ("the dog barks", "a star shines", "we save money", "the dog and the dog", "star over star")
]
OPTIONS = ProjectorOptions(steps=12, mixtures=6, rank=8, rate=0.02, check_every=4, checked=8)


def tiny_basis() -> Basis:
    rows = [3 * MODEL.embed_words(subject, 3) for subject in SUBJECTS]
    return basis_of(torch.stack(rows).numpy(), SUBJECTS)


BASIS = tiny_basis()


def moved(basis: Basis) -> Projector:
    """A projector that has learned something."""
    projector = Projector(basis, 8)
    with torch.no_grad():
        projector.outer.weight.normal_(std=5.0, generator=torch.Generator().manual_seed(0))
    return projector


def shares_of(*weights: float) -> np.ndarray:
    return np.array(weights) / sum(weights)


def test_a_reader_of_one_taste_gets_its_prompt_before_training() -> None:
    basis = random_basis()
    projector = Projector(basis, 8)
    for k, prompt in enumerate(basis.prompts):
        np.testing.assert_allclose(projector.prompt(np.eye(basis.size)[k]), prompt, rtol=1e-3)


def test_a_reader_of_two_tastes_gets_their_average_with_rows_as_long_as_a_prompts() -> None:
    basis = random_basis(seed=3)
    average = basis.prompts[:2].mean(axis=0)
    prompt = Projector(basis, 8).prompt(shares_of(1, 1, 0, 0))
    cosines = (prompt * average).sum(axis=1) / np.linalg.norm(prompt, axis=1) / np.linalg.norm(average, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-3)
    assert np.linalg.norm(prompt, axis=1).min() >= basis.norm_range[0] * 0.999


@given(weights=st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda found: sum(found) > 0.01))
@settings(max_examples=50)
def test_rows_stay_within_the_range_of_the_basis_whatever_was_learned(weights: list[float]) -> None:
    prompt = moved(BASIS).prompt(shares_of(*weights))
    norms = np.linalg.norm(prompt, axis=1)
    assert prompt.shape == BASIS.prompts.shape[1:]
    assert norms.min() >= BASIS.norm_range[0] * 0.999
    assert norms.max() <= BASIS.norm_range[1] * 1.001


def test_bringing_rows_into_a_range_keeps_those_within_and_lets_gradients_through() -> None:
    rows = torch.tensor([[0.0, 0.1], [0.0, 2.0], [9.0, 0.0], [0.0, 0.0]], requires_grad=True)
    found = within(rows, (1.0, 3.0))
    assert torch.allclose(found.detach(), torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 0.0], [0.0, 0.0]]))
    found.sum().backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    assert rows.grad[0, 0] == pytest.approx(10)


def test_posts_belong_to_the_prompt_that_explains_them_best() -> None:
    posts = [MODEL.post_tokens(text) for text in POSTS[:10]]
    labels = assigned(MODEL, torch.from_numpy(BASIS.prompts), posts)
    losses = torch.stack([MODEL.losses(rows[None], [posts]) for rows in torch.from_numpy(BASIS.prompts)])
    assert labels.tolist() == losses.argmin(dim=0).tolist()


def test_made_up_readers_have_one_two_or_four_tastes_and_posts_of_them_alone() -> None:
    members = [np.arange(10 * k, 10 * k + 10) for k in range(5)] + [np.array([], np.intp)]
    readers = drawn(members, 60, ProjectorOptions(), np.random.default_rng(0))
    assert {int((row > 0).sum()) for row in readers.shares} == {1, 2, 4}
    np.testing.assert_allclose(readers.shares.sum(axis=1), 1, rtol=1e-5)
    assert not readers.shares[:, 5].any()
    for row, posts in zip(readers.shares, readers.posts, strict=True):
        assert len(posts) == ProjectorOptions().posts
        assert all(row[post // 10] > 0 for post in posts)


def test_a_seed_gives_the_same_made_up_readers() -> None:
    members = [np.arange(5), np.arange(5, 9)]
    one, two, other = (drawn(members, 8, OPTIONS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.shares, two.shares)
    assert one.posts == two.posts != other.posts
    assert {int((row > 0).sum()) for row in one.shares} == {1, 2}


def test_training_lowers_the_loss_of_posts_that_it_has_not_seen(tmp_path: Path) -> None:
    about = train_projector(MODEL, BASIS, POSTS, tmp_path / "p.safetensors", OPTIONS, tmp_path / "c.pt").about
    assert about["held_out_loss"] < about["held_out_loss_at_start"] - 0.05
    assert about["options"]["steps"] == OPTIONS.steps
    assert not (tmp_path / "c.pt").exists()
    trained, start = Projector.load(tmp_path / "p.safetensors", BASIS), Projector(BASIS, OPTIONS.rank)
    assert not np.allclose(trained.prompt(shares_of(1, 1, 0)), start.prompt(shares_of(1, 1, 0)), atol=0.01)


def test_a_training_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_projector(MODEL, BASIS, POSTS, tmp_path / "whole", OPTIONS, tmp_path / "whole.pt")
    steps, real = iter(range(100)), module.learning_rate

    def interrupted(step: int, total: int) -> float:
        if next(steps) == 6:
            raise KeyboardInterrupt
        return real(step, total)

    with monkeypatch.context() as patch:
        patch.setattr(module, "learning_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_projector(MODEL, BASIS, POSTS, tmp_path / "cut", OPTIONS, tmp_path / "cut.pt")
    monkeypatch.delattr(module, "assigned")
    train_projector(MODEL, BASIS, POSTS, tmp_path / "cut", OPTIONS, tmp_path / "cut.pt")
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_checkpoint_of_another_basis_is_not_gone_on_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ProjectorOptions(steps=2, mixtures=2, checked=2)
    other = basis_of(random_prompts(3).numpy(), SUBJECTS)
    Training(MODEL, other, POSTS, short, tmp_path / "c.pt").run()
    assert (tmp_path / "c.pt").exists()
    train_projector(MODEL, BASIS, POSTS, tmp_path / "p", short, tmp_path / "c.pt")
    assert "resumed" not in capsys.readouterr().out


def test_without_held_out_posts_the_last_step_is_kept(tmp_path: Path) -> None:
    everything = ProjectorOptions(steps=3, mixtures=2, held_out=0.0, check_every=2, rank=4)
    projector = Training(MODEL, BASIS, POSTS, everything, tmp_path / "c.pt").run()
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    assert torch.equal(projector.outer.weight, state["projector"]["outer.weight"])


def test_a_projector_read_back_gives_the_same_prompts(tmp_path: Path) -> None:
    projector = moved(BASIS)
    projector.about = {"steps": 1}
    projector.save(tmp_path / "new" / "p.safetensors")
    again = Projector.load(tmp_path / "new" / "p.safetensors", BASIS)
    share = shares_of(1, 2, 3)
    assert again.about == {"steps": 1}
    np.testing.assert_array_equal(again.prompt(share), projector.prompt(share))


def test_a_projector_of_another_basis_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(InvalidProjector, match="no usable projector"):
        Projector.load(path, BASIS)
    moved(BASIS).save(path)
    with pytest.raises(InvalidProjector, match="of basis"):
        Projector.load(path, basis_of(random_prompts(3).numpy(), SUBJECTS))
    tensors = load_file(path)
    tensors["outer.bias"][0] = float("nan")
    save_file(tensors, path, {ABOUT: json.dumps([BASIS.text_version, {}])})
    with pytest.raises(InvalidProjector, match="not finite"):
        Projector.load(path, BASIS)
    path.write_bytes(b"no tensors")
    with pytest.raises(InvalidProjector, match="no usable projector"):
        Projector.load(path, BASIS)
