import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.tiny_model import random_prompts, tiny_model
from training.basis.preference import SHARPNESS, Contrast, contrast_losses, preference_loss, preference_step
from training.basis.tuning import PromptState, losses_under

MODEL = tiny_model()
DOGS = [MODEL.post_tokens(text) for text in ("the dog barks", "a dog barks and we run", "the dog and the dog run")]
STARS = [MODEL.post_tokens(text) for text in ("a star shines", "the star shines over the star")]
GAINS = arrays(np.float64, st.integers(1, 6), elements=st.floats(-300, 300))


def logs(rows: torch.Tensor, posts: list[torch.Tensor]) -> np.ndarray:
    return -losses_under(MODEL, rows, posts) * [len(post) for post in posts]


def contrast(own: list[torch.Tensor], others: list[torch.Tensor]) -> Contrast:
    return Contrast(own, others, torch.from_numpy(logs(MODEL.plain, [*own, *others])).float())


@given(GAINS, GAINS)
def test_the_loss_is_that_of_the_paper_over_all_pairs(own: np.ndarray, others: np.ndarray) -> None:
    expected = np.mean([np.logaddexp(0, -SHARPNESS * (a - b)) for a in own for b in others])
    assert float(preference_loss(torch.from_numpy(own), torch.from_numpy(others))) == pytest.approx(expected, rel=1e-9)


def test_a_prompt_that_does_what_the_plain_model_does_prefers_nothing() -> None:
    pair = contrast(DOGS, STARS)
    likelihood = losses_under(MODEL, MODEL.plain, DOGS).mean()
    loss = float(contrast_losses(MODEL, [MODEL.plain], [pair])[0])
    assert loss == pytest.approx(likelihood + math.log(2), abs=1e-4)


def test_tuning_prefers_own_posts_more_and_lessens_what_it_says() -> None:
    prompt, pair = PromptState.begin(random_prompts(1)[0]), contrast(DOGS, STARS)
    start = prompt.rows.detach().clone()
    for _ in range(15):
        preference_step(MODEL, [prompt], [pair], total=15)
    rows = prompt.rows.detach()
    gained = logs(rows, DOGS).mean() - logs(start, DOGS).mean()
    assert gained > logs(rows, STARS).mean() - logs(start, STARS).mean() + 1
    assert contrast_losses(MODEL, [rows], [pair]) < contrast_losses(MODEL, [start], [pair])


def test_contrasts_of_several_prompts_side_by_side_are_those_of_each_alone() -> None:
    prompts, pairs = random_prompts(2), [contrast(DOGS, STARS), contrast(STARS[:1], DOGS[:2])]
    together = contrast_losses(MODEL, list(prompts), pairs)
    alone = [contrast_losses(MODEL, [prompt], [pair])[0] for prompt, pair in zip(prompts, pairs, strict=True)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4)
