"""How well features rank posts for readers who were held out, learned by the update that production uses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slop.latent import Block, Prior, update
from training.factors.reactions import Reactions

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

FEWEST_REACTIONS = 6
CLEAR_GAP = 0.2


@dataclass(frozen=True, slots=True)
class Agreement:
    """Pair agreements with the old and the new features, (U,) each, one value for each held-out reader."""

    before: Doubles
    after: Doubles

    @property
    def gain(self) -> tuple[float, float]:
        """The mean gain in agreement, and half the width of its 95% interval (normal approximation)."""
        gains = self.after - self.before
        return float(gains.mean()), float(1.96 * gains.std(ddof=1) / np.sqrt(gains.size))

    @property
    def is_better(self) -> bool:
        """Whether the whole interval of the gain is above 0."""
        gain, margin = self.gain
        return gain > margin

    def __str__(self) -> str:
        """For people."""
        gain, margin = self.gain
        return (
            f"pair agreement of {self.after.size} held-out readers {self.before.mean():.4f} before, "
            f"{self.after.mean():.4f} after, gain {gain:+.4f} +- {margin:.4f}"
        )


class Judge:
    """Learns the first half of each reader's reactions, and ranks the posts of the second half."""

    def __init__(self, reactions: Reactions) -> None:
        """Readers of fewer than FEWEST_REACTIONS are left out."""
        order = np.argsort(reactions.readers, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(reactions.readers[order])) + 1)
        halves = [np.array_split(rows, 2) for rows in groups if rows.size >= FEWEST_REACTIONS]
        halves.sort(key=lambda half: -half[0].size)  # so that the readers of a turn are the first rows
        self._reactions, self._halves = reactions, halves

    @property
    def size(self) -> int:
        """How many readers there are."""
        return len(self._halves)

    def learned(self, features: Floats, prior: Prior) -> Floats:
        """The latent means of the readers, (U, D) float32, under (N, F) features of the posts."""
        mean, variance = (
            np.tile(values.astype(np.float32), (len(self._halves), 1)) for values in (prior.mean, prior.variance)
        )
        for turn in range(self._halves[0][0].size if self._halves else 0):
            rows = np.array([first[turn] for first, _ in self._halves if first.size > turn])
            part, of = slice(0, rows.size), self._reactions
            label = ((1 + of.values[rows]) / 2).astype(np.float32)
            mean[part], variance[part], _ = update(
                mean[part],
                variance[part],
                features[of.posts[rows]],
                label,
                of.weights[rows].astype(np.float32),
                prior,
            )
        return mean

    def agreement(self, mean: Floats, features: Floats, blocks: Sequence[Block]) -> Doubles:
        """For each reader the share of pairs of second-half posts that are ranked as the reactions are; a tie is half.

        Pairs count whose reactions differ by CLEAR_GAP; readers without such a pair are left out.
        """
        weights = np.column_stack([share * part for share, part in _parts(mean, blocks)])
        pairs = zip(weights, self._halves, strict=True)
        shares = (self._of_reader(features @ weight, second) for weight, (_, second) in pairs)
        return np.array([share for share in shares if share is not None])

    def _of_reader(self, scores: Floats, rows: npt.NDArray[np.intp]) -> float | None:
        values, ranked = self._reactions.values[rows], scores[self._reactions.posts[rows]]
        better = values[:, None] - values[None] >= CLEAR_GAP
        if not better.any():
            return None
        return float((0.5 + 0.5 * np.sign(ranked[:, None] - ranked[None]))[better].mean())


def _parts(mean: Floats, blocks: Sequence[Block]) -> list[tuple[float, Floats]]:
    """Each block's share and its weights without the bias."""
    starts = np.cumsum([0, *(block.size + 1 for block in blocks)])
    return [(block.share, mean[:, at : at + block.size]) for block, at in zip(blocks, starts, strict=False)]
