"""Building style × subject prompts from posts: clusters, joint training, early stopping, and learning from drafts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from slop.basis import Basis
from slop.style_subject import StyleSubjectBasis, norm_range_of
from training.basis.blocks import Floats, blocks_of, openings_of
from training.basis.build import WORDS_A_CLUSTER, WORDS_AT_START
from training.basis.clusters import Labels, cluster_words
from training.basis.drafts import draft_contrasts, drafts_of, unseen_pairs
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
from training.basis.style_subject_state import Progress, StyleSubjectOptions
from training.basis.tuning import assigned
from training.basis.two_way import two_way_clusters
from training.language_model import LanguageModel

STYLE_START: Final = "You write short posts for a social feed"
SUBJECT_START: Final = " about"
STYLE, SUBJECT = 0, 1


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
