from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_model import random_prompts, tiny_model
from training.basis import teacher
from training.basis.teacher import TeachingState, likelihoods, written_under
from training.language_model import PromptScorer

MODEL = tiny_model()
PROMPTS = random_prompts(3)
POSTS = ["the dog barks", "a star shines over the garden", "soil", "we run and we run and we cook soup", "save money"]
CANDIDATES = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher, "AT_ONCE", {"cpu": 3})
    monkeypatch.setattr(teacher, "SAVED_EVERY", 1)
    monkeypatch.setattr(teacher, "MAX_TOKENS", 5)


def state(folder: Path, posts: list[str] = POSTS, prompts: torch.Tensor = PROMPTS) -> TeachingState:
    return TeachingState.at(folder / "state.pt", prompts, posts, written=2, seed=0)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ends the work at its third batch; returns the names of the calls that were made."""
    calls: list[str] = []
    for name in ("write", "losses_after"):
        whole = getattr(MODEL, name)

        def some(*args: Any, whole: Any = whole, name: str = name, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return whole(*args, **kwargs)

        monkeypatch.setattr(MODEL, name, some)
    return calls


def test_a_likelihood_is_that_of_the_whole_post_under_one_prompt_alone(tmp_path: Path) -> None:
    found = likelihoods(MODEL, PROMPTS, POSTS, CANDIDATES, state(tmp_path))
    alone = np.array([PromptScorer(MODEL, PROMPTS)(text) for text in POSTS])
    np.testing.assert_allclose(found[CANDIDATES], alone[CANDIDATES], rtol=1e-4)
    assert (found[~CANDIDATES] == -np.inf).all()


def test_likelihoods_that_were_interrupted_end_as_those_that_were_not(tmp_path: Path, interrupted: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        likelihoods(MODEL, PROMPTS, POSTS, CANDIDATES, state(tmp_path))
    resumed = likelihoods(MODEL, PROMPTS, POSTS, CANDIDATES, state(tmp_path))
    calls = len(interrupted)
    (tmp_path / "whole").mkdir()
    whole = likelihoods(MODEL, PROMPTS, POSTS, CANDIDATES, state(tmp_path / "whole"))
    np.testing.assert_array_equal(resumed, whole)
    assert calls - 1 == len(interrupted) - calls  # none but the interrupted one was made twice


def test_every_prompt_writes_as_many_posts_and_empty_ones_are_left_out_with_their_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = iter(range(100))
    monkeypatch.setattr(
        MODEL, "write", lambda prefixes, *_: ["" if (n := next(places)) == 4 else f"post {n}" for _ in prefixes]
    )
    written = written_under(MODEL, PROMPTS, 2, 0, state(tmp_path))
    assert written.texts == ["post 0", "post 1", "post 2", "post 3", "post 5"]
    assert written.prompts.tolist() == [0, 1, 2, 0, 2]


def test_writing_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path, interrupted: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        written_under(MODEL, PROMPTS, 4, 0, state(tmp_path))
    resumed = written_under(MODEL, PROMPTS, 4, 0, state(tmp_path))
    (tmp_path / "whole").mkdir()
    whole = written_under(MODEL, PROMPTS, 4, 0, state(tmp_path / "whole"))
    assert resumed.texts == whole.texts
    assert len(interrupted) == 3 + 2 + 4


def test_what_was_kept_of_other_prompts_or_posts_is_not_used(tmp_path: Path) -> None:
    state(tmp_path).keep("written", ["kept"])
    assert state(tmp_path).get("written") == ["kept"]
    assert state(tmp_path, POSTS[1:]).get("written") is None
    assert state(tmp_path, prompts=random_prompts(3, seed=9)).get("written") is None
