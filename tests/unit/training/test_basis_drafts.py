import numpy as np
import pytest
import torch

from tests.tiny_model import random_prompts, tiny_model
from training.basis.drafts import BEST, WORST, Drafts, draft_contrasts, drafts_of, shown, unseen_pairs
from training.basis.pairs import PairPrompts, joint_preference_step
from training.language_model import PromptScorer

MODEL = tiny_model()
CELLS = [(0, 1), (1, 0), (1, 2)]


def prompts() -> PairPrompts:
    return PairPrompts.begin(random_prompts(2, rows=4), random_prompts(3, rows=2, seed=2))


@pytest.fixture(scope="module")
def drafts() -> dict[tuple[int, int], Drafts]:
    torch.manual_seed(0)
    return drafts_of(MODEL, prompts(), CELLS)


def test_pairs_with_few_posts_are_those_that_write() -> None:
    labels = np.array([[0, 0]] * 3 + [[1, 1]] * 2 + [[1, 0]])
    assert unseen_pairs(labels, 2, 2) == [(0, 1), (1, 0), (1, 1)]


def test_every_pair_has_its_drafts_once_each_and_the_best_first(drafts: dict[tuple[int, int], Drafts]) -> None:
    assert list(drafts) == CELLS
    for of_pair in drafts.values():
        assert len(of_pair.tokens) == len(of_pair.plain) == len(of_pair.scores) > WORST
        assert len({tuple(post.tolist()) for post in of_pair.tokens}) == len(of_pair.tokens)
        assert torch.equal(of_pair.scores, of_pair.scores.sort(descending=True).values)


def test_a_post_shows_a_pair_as_far_as_neither_its_style_nor_its_subject_may_be_another() -> None:
    parts, post = prompts(), MODEL.post_tokens("the dog barks over the garden")
    found = shown(MODEL, parts, [post], np.array([[1, 2]]))[0]
    scores = {}
    for part, cells in (("style", [(0, 2), (1, 2)]), ("subject", [(1, 0), (1, 1), (1, 2)])):
        logs = torch.tensor(PromptScorer(MODEL, parts.of(cells).detach())("the dog barks over the garden"))
        scores[part] = float(logs.log_softmax(0)[-1])
    assert found == pytest.approx(min(scores.values()), abs=1e-4)


def test_a_step_prefers_a_pairs_best_drafts_to_its_worst(drafts: dict[tuple[int, int], Drafts]) -> None:
    contrasts = draft_contrasts(drafts, np.random.default_rng(0))
    assert set(contrasts) == set(CELLS)
    for cell, contrast in contrasts.items():
        places = [next(at for at, post in enumerate(drafts[cell].tokens) if post is one) for one in contrast.posts]
        own = len(contrast.own)
        assert max(places[:own]) < BEST
        assert min(places[own:]) >= len(drafts[cell].tokens) - WORST
        assert torch.equal(contrast.plain, drafts[cell].plain[places])


def test_pairs_learn_to_write_what_shows_them(drafts: dict[tuple[int, int], Drafts]) -> None:
    parts, rng = prompts(), np.random.default_rng(0)
    losses = []
    for _ in range(12):
        by_pair = draft_contrasts(drafts, rng)
        losses.append(joint_preference_step(MODEL, parts, list(by_pair), list(by_pair.values()), total=12))
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
