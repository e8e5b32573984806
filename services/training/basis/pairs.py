"""Soft prompts in two parts, trained together: a post's prompt is its style's rows, then its subject's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from training.basis.clusters import Labels
from training.basis.preference import Contrast, contrast_losses
from training.basis.tuning import LEARNING_RATE, learning_rate
from training.language_model import LanguageModel

PAIRS_A_STEP: Final = 8
POSTS_A_PAIR: Final = 3
OTHERS_A_PART: Final = 2
PAIRS_AT_ONCE: Final = 16

Cell = tuple[int, int]
"""A style and a subject."""


@dataclass(slots=True)
class PairPrompts:
    """All parts in training: S styles of (a, d) rows and J subjects of (b, d), one optimiser, and the steps done.

    In a step without a post of a part, the part has no gradient, and Adam changes neither it nor its moments.
    """

    styles: list[Tensor]
    subjects: list[Tensor]
    optimizer: torch.optim.Adam
    steps: int = 0

    @classmethod
    def begin(cls, styles: Iterable[Tensor], subjects: Iterable[Tensor]) -> Self:
        """Start from given rows."""
        first, second = ([rows.detach().clone().requires_grad_(True) for rows in part] for part in (styles, subjects))
        return cls(first, second, torch.optim.Adam([*first, *second], lr=LEARNING_RATE))

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        styles, subjects = self.rows()
        return {"styles": styles, "subjects": subjects, "optimizer": self.optimizer.state_dict(), "steps": self.steps}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Self:
        """Continue from a checkpoint."""
        prompts = cls.begin(state["styles"], state["subjects"])
        prompts.optimizer.load_state_dict(state["optimizer"])
        prompts.steps = state["steps"]
        return prompts

    def rows(self) -> tuple[Tensor, Tensor]:
        """Copies of the (S, a, d) styles and the (J, b, d) subjects."""
        return torch.stack(self.styles).detach(), torch.stack(self.subjects).detach()

    def of(self, cells: Sequence[Cell]) -> Tensor:
        """The prompts of P pairs, (P, a + b, d); differentiable in both parts."""
        return torch.stack([torch.cat([self.styles[style], self.subjects[subject]]) for style, subject in cells])


def drawn(labels: Labels, rng: np.random.Generator) -> dict[Cell, list[int]]:
    """The posts of one step, by pair: at most PAIRS_A_STEP pairs with at most POSTS_A_PAIR posts each.

    Half of the pairs come from styles drawn evenly, half from subjects drawn evenly, so that a rare style or subject
    has as much practice as a common one.

    Args:
        labels: (N, 2), every post's style and subject.
        rng: source of the draw.
    """
    anchors = [_anchor(labels[:, number % 2], rng) for number in range(PAIRS_A_STEP)]
    cells = dict.fromkeys((int(labels[post, 0]), int(labels[post, 1])) for post in anchors)
    return {cell: _posts_of(cell, labels, rng) for cell in cells}


def cells_of(labels: Labels) -> dict[Cell, list[int]]:
    """All posts by pair; `labels` are (N, 2)."""
    cells: dict[Cell, list[int]] = {}
    for post, (style, subject) in enumerate(labels.tolist()):
        cells.setdefault((style, subject), []).append(post)
    return cells


def _anchor(labels: Labels, rng: np.random.Generator) -> int:
    cluster = rng.choice(np.unique(labels))
    return int(rng.choice(np.flatnonzero(labels == cluster)))


def _posts_of(cell: Cell, labels: Labels, rng: np.random.Generator) -> list[int]:
    members = np.flatnonzero((labels == cell).all(axis=1))
    return [int(post) for post in rng.permutation(members)[:POSTS_A_PAIR]]


def contrasts_of(
    batch: dict[Cell, list[int]],
    posts: Sequence[Tensor],
    labels: Labels,
    plain: Tensor,
    rng: np.random.Generator,
) -> list[Contrast]:
    """A contrast for every pair: its posts, and posts that share either its style or its subject, but not both.

    So a style's rows learn what is not in the subject's, and a subject's what is not in the style's.

    Args:
        batch: posts by pair, see `drawn`.
        posts: tokens of N posts.
        labels: (N, 2), their styles and subjects.
        plain: (N,) log p(post) under the plain model, in nats.
        rng: source of the draw.
    """
    contrasts = []
    for cell, own in batch.items():
        shared = labels == cell
        near = [shared[:, part] & ~shared[:, 1 - part] for part in (0, 1)]
        others = [int(i) for part in near for i in rng.permutation(np.flatnonzero(part))[:OTHERS_A_PART]]
        if not others:  # its style and its subject have no other posts
            others = [int(i) for i in rng.permutation(np.flatnonzero(~shared.all(axis=1)))[:OTHERS_A_PART]]
        contrasts.append(Contrast([posts[i] for i in own], [posts[i] for i in others], plain[[*own, *others]]))
    return contrasts


def joint_step(
    model: LanguageModel, prompts: PairPrompts, posts: Sequence[Tensor], batch: dict[Cell, list[int]], total: int
) -> float:
    """One Adam step of both parts of some pairs.

    Args:
        model: the frozen model.
        prompts: trained in place.
        posts: tokens of N posts.
        batch: posts by pair, see `drawn`.
        total: steps of the whole training.

    Returns:
        The mean loss in nats a token.
    """
    losses = model.losses(prompts.of(list(batch)), [[posts[i] for i in members] for members in batch.values()])
    return _step(prompts, losses.mean(), total)


def joint_preference_step(
    model: LanguageModel, prompts: PairPrompts, cells: Sequence[Cell], contrasts: Sequence[Contrast], total: int
) -> float:
    """One Adam step on contrasts of the pairs (see `training.basis.preference`). Returns the mean objective."""
    return _step(prompts, contrast_losses(model, list(prompts.of(cells)), contrasts).mean(), total)


def _step(prompts: PairPrompts, loss: Tensor, total: int) -> float:
    prompts.optimizer.zero_grad()
    prompts.optimizer.param_groups[0]["lr"] = learning_rate(prompts.steps, total)
    loss.backward()  # type: ignore[no-untyped-call]
    prompts.optimizer.step()
    prompts.steps += 1
    return float(loss.detach())


@torch.inference_mode()
def preference_under(
    model: LanguageModel, prompts: PairPrompts, cells: Sequence[Cell], contrasts: Sequence[Contrast]
) -> float:
    """The mean objective of preference tuning over pairs."""
    total = 0.0
    for at in range(0, len(cells), PAIRS_AT_ONCE):
        chosen = slice(at, at + PAIRS_AT_ONCE)
        total += float(contrast_losses(model, list(prompts.of(cells[chosen])), contrasts[chosen]).sum())
    return total / len(cells)


@torch.inference_mode()
def losses_under(
    model: LanguageModel, prompts: PairPrompts, posts: Sequence[Tensor], labels: Labels, about: str
) -> npt.NDArray[np.float64]:
    """Mean loss a token of N posts, each under its own pair.

    Args:
        model: the frozen model.
        prompts: as they stand.
        posts: tokens of N posts.
        labels: (N, 2), every post's style and subject.
        about: label of the progress bar.

    Returns:
        (N,) nats.
    """
    order = np.lexsort((labels[:, 1], labels[:, 0]))  # posts of a pair together, so that they share its prefix
    losses = np.empty(len(posts))
    size = 2 * model.posts_at_once  # the prefix that they share leaves room for more
    with tqdm(total=len(posts), desc=about, unit="post", leave=False) as bar:
        for chosen in np.array_split(order, range(size, len(order), size)):
            losses[chosen] = _losses_in_order(model, prompts, [posts[i] for i in chosen], labels[chosen])
            bar.update(len(chosen))
    return losses


def _losses_in_order(
    model: LanguageModel, prompts: PairPrompts, posts: Sequence[Tensor], labels: Labels
) -> npt.NDArray[np.float64]:
    """As `losses_under`, for one batch in which the posts of a pair are neighbours."""
    groups: dict[Cell, list[Tensor]] = {}
    for (style, subject), post in zip(labels.tolist(), posts, strict=True):
        groups.setdefault((style, subject), []).append(post)
    losses: npt.NDArray[np.float64] = (
        model.losses(prompts.of(list(groups)), list(groups.values())).double().cpu().numpy()
    )
    return losses
