"""Likelihoods of many posts at once are those of one at a time."""

import numpy as np
import pytest
from rich.progress import Progress

from research.encoders.race import Race
from research.likelihoods import HEAT_TOKENS, by_token, raced
from tests.tiny_model import WORDS, random_prompts, tiny_model

TEXTS = [" ".join(WORDS[start : start + length]) + " ." for start in range(5) for length in (3, 12)]


@pytest.mark.parametrize(("survivors", "most"), [(5, 48), (2, 48), (2, 10), (5, HEAT_TOKENS)])
def test_likelihoods_by_token_add_up_to_what_a_race_computes(survivors: int, most: int) -> None:
    model, prompts = tiny_model(), random_prompts(5)
    tokens = by_token(model, prompts.numpy(), TEXTS, Progress(disable=True))
    scorer = Race(model, prompts, survivors, most)
    expected = np.stack([scorer(text) for text in TEXTS])
    np.testing.assert_allclose(raced(tokens, survivors, most), expected, rtol=1e-4, atol=1e-3)
