"""Options of a build of style × subject prompts, and its state, which a checkpoint keeps."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.basis.checkpoint import save_checkpoint
from training.basis.clusters import Labels
from training.basis.drafts import Drafts
from training.basis.pairs import Cell, PairPrompts


@dataclass(frozen=True, slots=True)
class StyleSubjectOptions:
    """How style × subject prompts are built.

    Attributes:
        styles: S; some more than the styles that are expected, for posts without a style of their own.
        subjects: J; a few more than the subjects that are expected.
        style_rows: a, virtual tokens of a style.
        subject_rows: b, virtual tokens of a subject.
        rounds: steps of each round on the posts.
        held_out: share of posts that only early stopping sees.
        check_every: steps of the last round between two looks at held-out posts.
        patience: looks without a gain after which training stops.
        preferences: whether the last round also tunes pairs to prefer their own posts (`training.basis.preference`).
        drafted: steps of each further round, in which pairs learn from drafts of their own (`training.basis.drafts`).
        seed: of everything random; of two that were tried, the one whose pairs stand together best.
    """

    styles: int = 12
    subjects: int = 20
    style_rows: int = 8
    subject_rows: int = 5
    rounds: tuple[int, ...] = (60, 100)
    held_out: float = 0.1
    check_every: int = 20
    patience: int = 2
    preferences: bool = True
    drafted: tuple[int, ...] = (60,)
    seed: int = 1

    @property
    def total(self) -> int:
        """Steps of all rounds."""
        return sum(self.rounds)


@dataclass(slots=True)
class Progress:
    """Where a build stands; a checkpoint keeps it.

    Attributes:
        labels: (N, 2), every post's style and subject.
        best: the (S, a, d) styles and (J, b, d) subjects that were best on held-out posts.
        best_loss: their objective on held-out posts.
        stale: looks at held-out posts since then.
        drafted: how often pairs have written drafts; from 1 on `prompts` are those that learn from drafts.
        drafts: by pair, of the last time.
        shown: mean score of the drafts of each time, a log probability, see `training.basis.drafts.shown`.
    """

    labels: Labels
    prompts: PairPrompts
    best: tuple[Tensor, Tensor] | None = None
    best_loss: float = math.inf
    stale: int = 0
    drafted: int = 0
    drafts: dict[Cell, Drafts] = field(default_factory=dict)
    shown: list[float] = field(default_factory=list)

    def parts(self) -> tuple[Tensor, Tensor]:
        """The (S, a, d) styles and (J, b, d) subjects that are best so far."""
        return self.best if self.best and not self.drafted else self.prompts.rows()

    def save(self, path: Path, options: StyleSubjectOptions) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "options": asdict(options),
            "labels": torch.from_numpy(self.labels),
            "prompts": self.prompts.state(),
            "best": self.best,
            "best_loss": self.best_loss,
            "stale": self.stale,
            "drafted": self.drafted,
            "drafts": [(cell, tuple(drafts)) for cell, drafts in self.drafts.items()],
            "shown": self.shown,
        }
        save_checkpoint(state, path)

    @classmethod
    def load(cls, path: Path, options: StyleSubjectOptions) -> "Progress":
        """Read a checkpoint.

        Raises:
            SystemExit: it is of a build with other options.
        """
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state.pop("options") != asdict(options):
            raise SystemExit(f"{path} is of other options: give the same ones again, or begin anew with --fresh")
        labels, prompts = state.pop("labels").numpy(), PairPrompts.restore(state.pop("prompts"))
        drafts = {cell: Drafts(*rest) for cell, rest in state.pop("drafts")}
        return cls(labels, prompts, drafts=drafts, **state)
