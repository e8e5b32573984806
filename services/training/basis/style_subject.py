"""Build style × subject prompts: find a style and a subject for every post without labels, and train both jointly.

    python -m training.basis.style_subject --model FOLDER [--catalogue FILE] [--out FOLDER]

The catalogue is a JSONL file of {"post_id", "text"}; with --log the posts of slop.posts.v1 are read too.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from slop.basis import Basis
from slop.settings import DEFAULT_BASIS
from slop.style_subject import StyleSubjectBasis, norm_range_of
from training.basis.blocks import Floats, blocks_of, openings_of
from training.basis.build import WORDS_A_CLUSTER, WORDS_AT_START
from training.basis.checkpoint import save_checkpoint
from training.basis.clusters import Labels, cluster_words
from training.basis.command import Materials, parser_of, remove
from training.basis.drafts import Drafts, draft_contrasts, drafts_of, unseen_pairs
from training.basis.pairs import (
    Cell,
    PairPrompts,
    cells_of,
    contrasts_of,
    drawn,
    joint_preference_step,
    joint_step,
    losses_under,
    preference_under,
)
from training.basis.preference import Contrast, plain_logs
from training.basis.tuning import assigned
from training.basis.two_way import two_way_clusters
from training.language_model import LanguageModel

STYLE_START: Final = "You write short posts for a social feed"
SUBJECT_START: Final = " about"
STYLE, SUBJECT = 0, 1


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


class StyleSubjectBuilder:
    """Builds style × subject prompts from posts; `run` may be called again after an interruption."""

    def __init__(
        self,
        model: LanguageModel,
        embed: Callable[[list[str]], Floats],
        posts: list[str],
        options: StyleSubjectOptions,
        checkpoint: Path,
    ) -> None:
        self._lm, self._embed, self._posts, self._options = model, embed, posts, options
        self._checkpoint = checkpoint
        self._tokens = [model.post_tokens(text) for text in posts]
        held = np.random.default_rng(options.seed).random(len(posts)) < options.held_out
        self._train, self._held = np.flatnonzero(~held), np.flatnonzero(held)
        self._plain: Tensor | None = None

    def run(self) -> Progress:
        """The finished training, with the best parts on held-out posts."""
        options = self._options
        progress = self._resume() or self._begin()
        with tqdm(total=options.total, initial=progress.prompts.steps, desc="joint training", unit="step") as bar:
            while not self._is_over(progress):
                bar.set_postfix(loss=f"{self._step(progress):.3f}", held_out=f"{progress.best_loss:.3f}")
                bar.update()
                if self._is_check_due(progress.prompts.steps):
                    self._check_held_out(progress)
                progress.save(self._checkpoint, self._options)
        unseen = unseen_pairs(progress.labels, options.styles, options.subjects)
        for number, steps in enumerate(options.drafted if unseen else (), 1):
            if progress.drafted < number:
                self._draft(progress, unseen)
            if progress.drafted == number:
                self._learn_from_drafts(progress, steps)
        return progress

    def _is_over(self, progress: Progress) -> bool:
        """Whether training on the posts alone is over."""
        stopped = progress.stale >= self._options.patience or progress.prompts.steps >= self._options.total
        return progress.drafted > 0 or stopped

    def _learn_from_drafts(self, progress: Progress, steps: int) -> None:
        """A round in which pairs learn from the drafts that they wrote, and go on learning from posts."""
        with tqdm(total=steps, initial=progress.prompts.steps, desc="learning from drafts", unit="step") as bar:
            while progress.prompts.steps < steps:
                bar.set_postfix(loss=f"{self._draft_step(progress, steps):.3f}")
                bar.update()
                progress.save(self._checkpoint, self._options)

    def _draft(self, progress: Progress, cells: Sequence[Cell]) -> None:
        """Have pairs write drafts; training then goes on from the best parts, with a new optimiser."""
        progress.prompts = PairPrompts.begin(*progress.parts())
        torch.manual_seed(self._options.seed + progress.drafted)
        progress.drafts = drafts_of(self._lm, progress.prompts, cells)
        progress.drafted += 1
        progress.shown.append(float(torch.cat([drafts.scores for drafts in progress.drafts.values()]).mean()))
        print(f"drafts of {len(cells)} pairs show them by {progress.shown[-1]:.3f} nats")

    def _draft_step(self, progress: Progress, total: int) -> float:
        rng = np.random.default_rng([self._options.seed, progress.drafted, progress.prompts.steps])
        by_pair = draft_contrasts(progress.drafts, rng) | self._contrasts(progress, rng)
        return joint_preference_step(self._lm, progress.prompts, list(by_pair), list(by_pair.values()), total)

    def _contrasts(self, progress: Progress, rng: np.random.Generator) -> dict[Cell, Contrast]:
        """Contrasts of one step on the posts."""
        labels, posts = progress.labels[self._train], [self._tokens[i] for i in self._train]
        batch = drawn(labels, rng)
        return dict(zip(batch, contrasts_of(batch, posts, labels, self._plain_logs()[self._train], rng), strict=True))

    def _plain_logs(self) -> Tensor:
        if self._plain is None:
            self._plain = plain_logs(self._lm, self._tokens)
        return self._plain

    def _resume(self) -> Progress | None:
        if not self._checkpoint.exists():
            return None
        progress = Progress.load(self._checkpoint, self._options)
        print(f"resumed from {self._checkpoint}: step {progress.prompts.steps}")
        return progress

    def _begin(self) -> Progress:
        options, labels = self._options, self._clusters()
        style = self._lm.embed_words(STYLE_START, options.style_rows)
        subjects = [
            self._lm.embed_words(" ".join([SUBJECT_START, *words[:WORDS_AT_START]]), options.subject_rows)
            for words in self.words_of(labels, SUBJECT)
        ]
        return Progress(labels, PairPrompts.begin([style] * options.styles, subjects))

    def _clusters(self) -> Labels:
        options, posts = self._options, self._posts
        blocks = blocks_of(posts, self._lm.hidden_states(posts), self._embed(posts), options.seed)
        return two_way_clusters(blocks, openings_of(posts), options.styles, options.subjects, options.seed)

    def words_of(self, labels: Labels, part: int) -> list[list[str]]:
        """The words of every style (part 0) or subject (part 1) of posts so labelled."""
        return cluster_words(self._posts, labels[:, part], self._count(part), WORDS_A_CLUSTER)

    def _count(self, part: int) -> int:
        return (self._options.styles, self._options.subjects)[part]

    def _step(self, progress: Progress) -> float:
        # Seeded by the step, so that a resumed build draws what an uninterrupted one draws.
        rng = np.random.default_rng([self._options.seed, progress.prompts.steps])
        labels, total = progress.labels[self._train], self._options.total
        batch = drawn(labels, rng)
        posts = [self._tokens[i] for i in self._train]
        if not self._options.preferences or progress.prompts.steps < total - self._options.rounds[-1]:
            return joint_step(self._lm, progress.prompts, posts, batch, total)
        contrasts = contrasts_of(batch, posts, labels, self._plain_logs()[self._train], rng)
        return joint_preference_step(self._lm, progress.prompts, list(batch), contrasts, total)

    def _is_check_due(self, step: int) -> bool:
        into_last = step - sum(self._options.rounds[:-1])
        at_look = into_last % self._options.check_every == 0 or step == self._options.total
        return self._held.size > 0 and into_last > 0 and at_look

    def _check_held_out(self, progress: Progress) -> None:
        """Early stopping: keep the parts that are best on held-out posts."""
        loss = self._held_out_loss(progress)
        if loss < progress.best_loss:
            progress.best_loss, progress.best, progress.stale = loss, progress.prompts.rows(), 0
        else:
            progress.stale += 1

    def _held_out_loss(self, progress: Progress) -> float:
        """The objective of the last round on held-out posts."""
        tokens, labels = [self._tokens[i] for i in self._held], progress.labels[self._held]
        if not self._options.preferences:
            return float(losses_under(self._lm, progress.prompts, tokens, labels, "held-out posts").mean())
        cells, rng = cells_of(labels), np.random.default_rng(self._options.seed)
        contrasts = contrasts_of(cells, tokens, labels, self._plain_logs()[self._held], rng)
        return preference_under(self._lm, progress.prompts, list(cells), contrasts)


def build_style_subject(
    model: LanguageModel,
    about_model: tuple[str, str],
    embed: Callable[[list[str]], Floats],
    posts: list[str],
    options: StyleSubjectOptions,
    checkpoint: Path,
    mixture: Basis | None = None,
) -> tuple[StyleSubjectBasis, Labels]:
    """Build style × subject prompts; `about_model` is the base model's name and revision, `mixture` their basis.

    Returns:
        The basis, and every post's style and subject, (N, 2).
    """
    builder = StyleSubjectBuilder(model, embed, posts, options, checkpoint)
    progress = builder.run()
    styles, subjects = (part.half().float().cpu().numpy() for part in progress.parts())
    labels = progress.labels
    basis = StyleSubjectBasis(
        model=about_model[0],
        revision=about_model[1],
        styles=styles,
        subjects=subjects,
        style_words=tuple(map(tuple, builder.words_of(labels, STYLE))),
        subject_words=tuple(map(tuple, builder.words_of(labels, SUBJECT))),
        norm_range=norm_range_of(styles, subjects),
        built={
            "posts": len(posts),
            "style_sizes": np.bincount(labels[:, STYLE], minlength=options.styles).tolist(),
            "subject_sizes": np.bincount(labels[:, SUBJECT], minlength=options.subjects).tolist(),
            "held_out_loss": round(progress.best_loss, 4) if progress.best else None,
            "preferences": options.preferences,
            "rounds": list(options.rounds),
            "drafted": list(options.drafted),
            "drafts_shown": [round(shown, 4) for shown in progress.shown],
            "seed": options.seed,
        },
        mixture=mixture.prompts_version if mixture else "",
        of_prompts=spread_of(best_prompts(model, mixture, posts), mixture.size, labels, options) if mixture else None,
    )
    return basis, labels


def best_prompts(model: LanguageModel, mixture: Basis, posts: Sequence[str]) -> Labels:
    """(N,) the prompt of a basis under which each post is likeliest."""
    tokens, prompts = [model.post_tokens(text) for text in posts], torch.from_numpy(mixture.prompts).to(model.device)
    return assigned(model, prompts, tokens)


def spread_of(owners: Labels, prompts: int, labels: Labels, options: StyleSubjectOptions) -> Floats:
    """How each prompt's posts are spread over styles and subjects.

    Args:
        owners: (N,) of prompts.
        prompts: K.
        labels: (N, 2) styles and subjects.
        options: how many of either there are.

    Returns:
        (K, S, J) float32, each prompt's sum 1; even where a prompt has no post.
    """
    counts = np.zeros((prompts, options.styles, options.subjects))
    np.add.at(counts, (owners, labels[:, STYLE], labels[:, SUBJECT]), 1)
    totals = counts.sum(axis=(1, 2), keepdims=True)
    even = 1 / (options.styles * options.subjects)
    spread: Floats = np.where(totals > 0, counts / np.maximum(totals, 1), even).astype(np.float32)
    return spread


def show(basis: StyleSubjectBasis) -> None:
    """Print what a basis consists of."""
    for part, all_words in (("style", basis.style_words), ("subject", basis.subject_words)):
        for number, (words, size) in enumerate(zip(all_words, basis.built[f"{part}_sizes"], strict=True)):
            print(f"  {part} {number:2d} {size:4d} posts  {' '.join(words[:8])}")


def main() -> None:
    """The command line."""
    defaults = StyleSubjectOptions()
    parser = parser_of(__doc__, ".run/basis/style_subject.pt", defaults.seed, defaults.rounds)
    parser.add_argument("--styles", type=int, default=defaults.styles)
    parser.add_argument("--subjects", type=int, default=defaults.subjects)
    parser.add_argument("--mixture", type=Path, default=DEFAULT_BASIS, help="folder of the basis that it goes with")
    parser.add_argument("--drafted", type=int, nargs="*", default=list(defaults.drafted), help="steps of each round")
    parser.add_argument("--preferences", action=argparse.BooleanOptionalAction, default=defaults.preferences)
    args = parser.parse_args()
    made_of = Materials.of(args)
    options = StyleSubjectOptions(
        styles=args.styles,
        subjects=args.subjects,
        rounds=tuple(args.rounds),
        preferences=args.preferences,
        drafted=tuple(args.drafted),
        seed=args.seed,
    )
    mixture, posts = Basis.load(args.mixture), made_of.catalogue.posts
    if mixture.revision != made_of.about_model[1]:
        raise SystemExit(f"{args.mixture} is of {mixture.model} {mixture.revision}, not of {args.model}: 'make basis'")
    basis, _ = build_style_subject(
        made_of.model, made_of.about_model, made_of.embedder.embed, posts, options, args.checkpoint, mixture
    )
    basis.save(args.out)
    remove(args.checkpoint)
    styles, subjects = basis.size
    print(f"style × subject prompts {basis.version}: {styles} styles and {subjects} subjects, in {args.out}")
    print(f"held-out posts: {basis.built['held_out_loss']}")
    show(basis)


if __name__ == "__main__":
    main()
