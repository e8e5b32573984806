"""Drafts: posts written under style × subject prompts, from which pairs learn to show their style and their subject.

The catalogue has no post for most pairs. So each pair writes drafts, and learns to prefer those that show both its
style and its subject best to those that show one of them least. To learn from the best of one's own samples is ReST
(Gulcehre et al. 2023, arXiv 2308.08998); to have the model itself be the judge is Yuan et al. 2024 (arXiv 2401.10020).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from torch import Tensor
from tqdm import tqdm

from training.basis.clusters import Labels
from training.basis.pairs import PAIRS_A_STEP, POSTS_A_PAIR, Cell, PairPrompts, losses_under
from training.basis.preference import Contrast, plain_logs
from training.language_model import LanguageModel

DRAFTS_A_PAIR: Final = 16
BEST: Final = 4  # so many of a pair's drafts are preferred
WORST: Final = 8  # to so many others
TEMPERATURE: Final = 1.0
MIN_P: Final = 0.05
MAX_TOKENS: Final = 48
LEAST_TOKENS: Final = 4  # of a draft, with the end of turn; a shorter one is no post
WRITTEN_AT_ONCE: Final = {"cuda": 768, "cpu": 32}

Doubles = npt.NDArray[np.float64]


class Drafts(NamedTuple):
    """The drafts of a pair, the one that shows it best first.

    Attributes:
        tokens: of D drafts, (T,) int64 each.
        plain: (D,) log p(post) under the plain model, in nats.
        scores: (D,) how well each shows the pair, logs of probabilities, see `shown`.
    """

    tokens: list[Tensor]
    plain: Tensor
    scores: Tensor


def unseen_pairs(labels: Labels, styles: int, subjects: int) -> list[Cell]:
    """Pairs with fewer than POSTS_A_PAIR posts; `labels` are (N, 2), the styles and subjects of posts."""
    counts = np.zeros((styles, subjects), dtype=np.intp)
    np.add.at(counts, (labels[:, 0], labels[:, 1]), 1)
    return [(int(style), int(subject)) for style, subject in np.argwhere(counts < POSTS_A_PAIR)]


def drafts_of(model: LanguageModel, prompts: PairPrompts, cells: Sequence[Cell]) -> dict[Cell, Drafts]:
    """Have each pair write DRAFTS_A_PAIR posts, and score them; a text that a pair wrote twice counts once."""
    written = _written(model, prompts, [cell for cell in cells for _ in range(DRAFTS_A_PAIR)])
    tokens = {(cell, text): model.post_tokens(text) for cell, text in written}
    of_posts = {known: post for known, post in tokens.items() if len(post) >= LEAST_TOKENS}
    owners, posts = np.array([cell for cell, _ in of_posts]).reshape(-1, 2), list(of_posts.values())
    plain, scores = plain_logs(model, posts), shown(model, prompts, posts, owners)
    found = {}
    for cell in cells:
        own = np.flatnonzero((owners == cell).all(axis=1))
        best_first = own[np.argsort(-scores[own], kind="stable")]
        drafts = [posts[at] for at in best_first]
        found[cell] = Drafts(drafts, plain[best_first], torch.from_numpy(scores[best_first]).float())
    return found


@torch.inference_mode()
def _written(model: LanguageModel, prompts: PairPrompts, cells: Sequence[Cell]) -> list[tuple[Cell, str]]:
    size = WRITTEN_AT_ONCE[model.device.type]
    found: list[tuple[Cell, str]] = []
    for at in tqdm(range(0, len(cells), size), desc="writing drafts", unit="batch"):
        chosen = cells[at : at + size]
        prefixes = list(model.prefix(prompts.of(chosen)))
        found += zip(chosen, model.write(prefixes, MAX_TOKENS, TEMPERATURE, MIN_P), strict=True)
    return found


def shown(model: LanguageModel, prompts: PairPrompts, posts: Sequence[Tensor], owners: Labels) -> Doubles:
    """How well posts show the pairs that they were written under.

    Args:
        model: the frozen model.
        prompts: as they stand.
        posts: tokens of N posts.
        owners: (N, 2), their styles and subjects.

    Returns:
        (N,) the smaller of log p(style | post, subject) and log p(subject | post, style), by Bayes' rule with a uniform
        prior over all styles, or over all subjects.
    """
    found = [_posteriors(model, prompts, posts, owners, part) for part in (0, 1)]
    smaller: Doubles = np.minimum(*found)
    return smaller


def _posteriors(
    model: LanguageModel, prompts: PairPrompts, posts: Sequence[Tensor], owners: Labels, part: int
) -> Doubles:
    """(N,) log posterior of the style (part 0) or the subject (part 1) that each post was written under."""
    name, count = (("styles", len(prompts.styles)), ("subjects", len(prompts.subjects)))[part]
    tried = np.repeat(owners, count, axis=0)
    tried[:, part] = np.tile(np.arange(count), len(owners))
    repeated = [post for post in posts for _ in range(count)]
    losses = losses_under(model, prompts, repeated, tried, f"judging drafts' {name}").reshape(-1, count)
    lengths = np.array([[len(post)] for post in posts])
    logs: Doubles = log_softmax(-losses * lengths, axis=1)
    of_owners: Doubles = np.take_along_axis(logs, owners[:, part, None], axis=1)[:, 0]
    return of_owners


def draft_contrasts(drafts: dict[Cell, Drafts], rng: np.random.Generator) -> dict[Cell, Contrast]:
    """The contrasts of one step: for some pairs, some of their best drafts and of their worst."""
    able = [cell for cell, of_pair in drafts.items() if len(of_pair.tokens) > WORST]
    chosen = [able[at] for at in rng.permutation(len(able))[:PAIRS_A_STEP]]
    return {cell: _contrast(drafts[cell], rng) for cell in chosen}


def _contrast(drafts: Drafts, rng: np.random.Generator) -> Contrast:
    own = rng.permutation(BEST)[:POSTS_A_PAIR]
    others = len(drafts.tokens) - 1 - rng.permutation(WORST)[:POSTS_A_PAIR]
    first, second = ([drafts.tokens[at] for at in part] for part in (own, others))
    return Contrast(first, second, drafts.plain[[*own, *others]])
