from collections import Counter
from pathlib import Path

import numpy as np
import torch

from tests.tiny_model import random_prompts, tiny_model
from training.basis.pairs import (
    PAIRS_A_STEP,
    POSTS_A_PAIR,
    PairPrompts,
    cells_of,
    contrasts_of,
    drawn,
    joint_preference_step,
    joint_step,
    losses_under,
    preference_under,
)
from training.basis.preference import plain_logs

MODEL = tiny_model()
TEXTS = [
    "the dog barks",
    "a star shines over the garden",
    "we run and run",
    "the dog and the star",
    "soup",
    "cook soup",
]
POSTS = [MODEL.post_tokens(text) for text in TEXTS]
LABELS = np.array([[1, 0], [0, 2], [1, 1], [0, 0], [1, 0], [0, 2]])


def prompts() -> PairPrompts:
    return PairPrompts.begin(list(random_prompts(2, rows=4)), list(random_prompts(3, rows=2, seed=2)))


def test_a_pairs_prompt_is_its_styles_rows_and_then_its_subjects() -> None:
    parts = prompts()
    prompt = parts.of([(1, 2), (0, 0)])
    assert prompt.shape == (2, 6, 16)
    assert torch.equal(prompt[0, :4], parts.styles[1])
    assert torch.equal(prompt[0, 4:], parts.subjects[2])


def test_a_step_trains_both_parts_of_its_pairs_and_no_other_part() -> None:
    parts, before = prompts(), prompts()
    for _ in range(2):
        joint_step(MODEL, parts, POSTS, {(1, 0): [0, 4]}, total=10)
    moved = [not torch.equal(a, b) for a, b in zip(parts.styles, before.styles, strict=True)]
    assert moved == [False, True]
    moved = [not torch.equal(a, b) for a, b in zip(parts.subjects, before.subjects, strict=True)]
    assert moved == [True, False, False]


def test_a_part_keeps_still_while_others_are_trained() -> None:
    parts = prompts()
    joint_step(MODEL, parts, POSTS, {(1, 0): [0, 4]}, total=10)
    rows = parts.styles[1].detach().clone()
    joint_step(MODEL, parts, POSTS, {(0, 2): [1, 5]}, total=10)
    assert torch.equal(parts.styles[1], rows)


def test_joint_training_lowers_the_loss_of_posts() -> None:
    parts = prompts()
    before = losses_under(MODEL, parts, POSTS, LABELS, "").mean()
    for step in range(15):
        joint_step(MODEL, parts, POSTS, drawn(LABELS, np.random.default_rng(step)), total=15)
    assert losses_under(MODEL, parts, POSTS, LABELS, "").mean() < before - 0.05


def test_losses_come_in_the_order_of_the_posts_whatever_their_pairs() -> None:
    parts, many = prompts(), 10
    losses = losses_under(MODEL, parts, POSTS * many, np.tile(LABELS, (many, 1)), "")
    with torch.inference_mode():
        alone = [float(MODEL.losses(parts.of([(s, j)]), [[post]])) for post, (s, j) in zip(POSTS, LABELS, strict=True)]
    np.testing.assert_allclose(losses, alone * many, rtol=1e-4)


def test_a_steps_posts_are_of_their_pairs_and_none_comes_twice() -> None:
    labels = np.random.default_rng(0).integers([3, 4], size=(200, 2))
    for seed in range(20):
        batch = drawn(labels, np.random.default_rng(seed))
        posts = [post for members in batch.values() for post in members]
        assert len(batch) <= PAIRS_A_STEP
        assert len(set(posts)) == len(posts)
        assert all(0 < len(members) <= POSTS_A_PAIR for members in batch.values())
        assert all((labels[post] == cell).all() for cell, members in batch.items() for post in members)


def test_a_rare_style_is_drawn_about_as_often_as_a_common_one() -> None:
    labels = np.stack([np.repeat([0, 1], [190, 10]), np.random.default_rng(0).integers(10, size=200)], axis=1)
    batches = [drawn(labels, np.random.default_rng(seed)) for seed in range(200)]
    times = Counter(style for batch in batches for style in {style for style, _ in batch})
    assert times[1] > 0.8 * times[0]


def test_a_checkpoint_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = prompts()
    joint_step(MODEL, whole, POSTS, {(1, 0): [0, 4]}, total=10)
    torch.save(whole.state(), tmp_path / "state.pt")
    resumed = PairPrompts.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    for parts in (whole, resumed):
        joint_step(MODEL, parts, POSTS, {(1, 0): [0], (1, 1): [2]}, total=10)
    assert resumed.steps == whole.steps == 2
    assert all(torch.equal(a, b) for a, b in zip(resumed.rows(), whole.rows(), strict=True))


def test_posts_of_a_pair_are_set_against_posts_that_share_its_style_or_its_subject_but_not_both() -> None:
    labels = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [1, 1], [0, 2]])
    plain = torch.arange(6.0)
    (contrast,) = contrasts_of({(0, 0): [0, 1]}, POSTS, labels, plain, np.random.default_rng(0))
    assert contrast.plain[:2].tolist() == [0, 1]
    assert set(contrast.plain[2:].tolist()) == {2, 3, 5}
    for post, number in zip(contrast.others, contrast.plain[2:].int().tolist(), strict=True):
        assert torch.equal(post, POSTS[number])


def test_a_pair_that_shares_nothing_is_set_against_any_other_posts() -> None:
    labels = np.array([[0, 0], [1, 1], [1, 2]])
    (contrast,) = contrasts_of({(0, 0): [0]}, POSTS[:3], labels, torch.arange(3.0), np.random.default_rng(0))
    assert set(contrast.plain[1:].tolist()) == {1, 2}


def test_preference_tuning_of_pairs_lessens_what_it_says() -> None:
    parts, cells = prompts(), cells_of(LABELS)
    assert cells == {(1, 0): [0, 4], (0, 2): [1, 5], (1, 1): [2], (0, 0): [3]}
    contrasts = contrasts_of(cells, POSTS, LABELS, plain_logs(MODEL, POSTS), np.random.default_rng(0))
    before = preference_under(MODEL, parts, list(cells), contrasts)
    for _ in range(10):
        joint_preference_step(MODEL, parts, list(cells), contrasts, total=10)
    assert preference_under(MODEL, parts, list(cells), contrasts) < before - 0.05
