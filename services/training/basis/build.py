"""Build a basis from a catalogue: cluster the posts, then train a soft prompt for each cluster.

Training is hard expectation maximisation: tune every prompt on its posts (M step), move each post to the prompt under
which it is likeliest (E step), and so on; in the last round prompts also learn preferences. The catalogue is a JSONL
file of {"post_id", "text"}; readers' reactions may add which posts are liked together.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from slop.basis import Basis
from slop.embedder import SentenceEmbedder
from slop.text_features import responsibilities
from training.basis.blocks import clustering_space
from training.basis.checkpoint import kept_lessons, save_checkpoint
from training.basis.clusters import SMALLEST, Labels, cluster_words, guarded, initial_clusters, nearest_clusters
from training.basis.distil import HeadOptions, fit_head
from training.basis.preference import Contrast, contrast_losses, plain_logs, preference_step
from training.basis.tuning import (
    LEARNING_RATE,
    POSTS_A_STEP,
    PromptState,
    losses_under,
    train_step,
)
from training.language_model import LanguageModel

Floats = npt.NDArray[np.float32]
Drawn = npt.NDArray[np.intp]

START_WORDS: Final = "You write short posts for a social feed about"
WORDS_A_CLUSTER: Final = 12
WORDS_AT_START: Final = 4
OTHERS_HELD_OUT: Final = 12


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a basis is built.

    Attributes:
        prompts: K; better a few more than the classes that are expected.
        rows: k, virtual tokens a prompt.
        rounds: optimiser steps a prompt in each round of EM; posts are reassigned between rounds.
        nearest: how many of its nearest clusters a post may move to.
        held_out: share of posts that only early stopping sees.
        patience: checks on held-out posts without a gain after which a prompt stops.
        check_every: steps between such checks.
        temperature: of the responsibilities.
        preferences: whether the last round also tunes prompts to prefer their own posts (`training.basis.preference`).
        softness: of the assignment of posts to prompts, nats: 0 gives a post to its best prompt alone, else its prompts
            share it by softmax(log p(y | P_k) / softness).
        rate: peak of the learning rate.
        ward: whether k-means begins from Ward's clusters.
        smallest: posts in a cluster, at least; smaller ones are dissolved.
        head: how the head is fitted.
        seed: of everything random.
    """

    prompts: int = 24
    rows: int = 13
    rounds: tuple[int, ...] = (12, 8, 20)
    nearest: int = 2
    held_out: float = 0.1
    patience: int = 2
    check_every: int = 4
    temperature: float = 2.0
    preferences: bool = True
    softness: float = 0.0
    rate: float = LEARNING_RATE
    ward: bool = False
    smallest: int = SMALLEST
    head: HeadOptions = field(default_factory=HeadOptions)
    seed: int = 0


@dataclass(slots=True)
class Progress:
    """Where a build stands; a checkpoint keeps it.

    Attributes:
        labels: (N,), every post's cluster.
        weights: (N, K) float32, each row summing to 1: each prompt's share of a post.
        prompts: K prompts in training, one for each cluster.
        round: the round under way, from 0.
        step: steps done in it.
        words: the most typical words of each cluster.
    """

    labels: Labels
    weights: Floats
    prompts: list[PromptState]
    round: int = 0
    step: int = 0
    words: list[list[str]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "labels": torch.from_numpy(self.labels),
            "weights": torch.from_numpy(self.weights),
            "prompts": [prompt.state() for prompt in self.prompts],
            "round": self.round,
            "step": self.step,
            "words": self.words,
        }
        save_checkpoint(state, path)

    @classmethod
    def load(cls, path: Path) -> "Progress":
        """Read a checkpoint."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        prompts = [PromptState.restore(prompt) for prompt in state["prompts"]]
        weights = state["weights"].numpy()
        return cls(state["labels"].numpy(), weights, prompts, state["round"], state["step"], state["words"])


def read_catalogue(path: Path) -> list[str]:
    """The texts of a catalogue, in the file's order."""
    return [json.loads(line)["text"] for line in path.read_text().splitlines() if line.strip()]


def one_hot(labels: Labels, count: int) -> Floats:
    """(N,) labels as (N, count) float32 weights of 0 and 1."""
    return np.eye(count, dtype=np.float32)[labels]


def start_text(words: Sequence[str]) -> str:
    """The text whose embeddings a cluster's prompt starts from."""
    return f"{START_WORDS} {', '.join(words[:WORDS_AT_START])}"


class Builder:
    """Builds a basis from posts; `run` may be called again after an interruption."""

    def __init__(
        self,
        model: LanguageModel,
        embed: Callable[[list[str]], Floats],
        posts: list[str],
        options: BuildOptions,
        checkpoint: Path,
        engagement: Floats | None = None,
    ) -> None:
        """`engagement` is of the posts (see `training.basis.engagement`), if anything is known of readers."""
        self._lm, self._embed, self._posts, self._options = model, embed, posts, options
        self._checkpoint, self._engagement = checkpoint, engagement
        self._tokens = [model.post_tokens(text) for text in posts]
        held = np.random.default_rng(options.seed).random(len(posts)) < options.held_out
        self._train, self._held = ~held, held

    def run(self) -> tuple[Tensor, Labels, list[list[str]]]:
        """The (K, k, d) prompts, every post's cluster, and every cluster's words."""
        space = self._space()
        progress = self._resume() or self._begin(space)
        while progress.round < len(self._options.rounds):
            if progress.round and not progress.step:
                self._reassign(progress, space)
            self._train_round(progress)
            progress.round, progress.step = progress.round + 1, 0
            progress.save(self._checkpoint)
        best = [prompt.rows if prompt.best_rows is None else prompt.best_rows for prompt in progress.prompts]
        return torch.stack([rows.detach() for rows in best]), progress.labels, progress.words

    def _space(self) -> Floats:
        kept = self._checkpoint.with_suffix(".space.npy")
        if self._checkpoint.exists() and kept.exists():
            return np.asarray(np.load(kept), dtype=np.float32)
        space = clustering_space(self._posts, self._embed(self._posts), self._options.seed, self._engagement)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, space)
        return space

    def _resume(self) -> Progress | None:
        if not self._checkpoint.exists():
            return None
        progress = Progress.load(self._checkpoint)
        print(f"resumed from {self._checkpoint}: round {progress.round + 1}, step {progress.step}")
        return progress

    def _begin(self, space: Floats) -> Progress:
        count, options = self._options.prompts, self._options
        labels = initial_clusters(space, count, options.seed, ward=options.ward, smallest=options.smallest)
        words = cluster_words(self._posts, labels, count, WORDS_A_CLUSTER)
        starts = [self._lm.embed_words(start_text(w), self._options.rows) for w in words]
        prompts = [PromptState.begin(start, self._options.rate) for start in starts]
        return Progress(labels, one_hot(labels, count), prompts, words=words)

    def _reassign(self, progress: Progress, space: Floats) -> None:
        """The E step: every post goes to the prompt that explains it best among its nearest clusters."""
        count = self._options.prompts
        candidates = nearest_clusters(space, progress.labels, count, self._options.nearest)
        losses = np.full(candidates.shape, np.inf)
        for k in tqdm(range(count), desc=f"reassigning before round {progress.round + 1}", unit="prompt"):
            chosen = np.flatnonzero(candidates[:, k])
            losses[chosen, k] = losses_under(self._lm, progress.prompts[k].rows, [self._tokens[i] for i in chosen])
        labels = losses.argmin(axis=1).astype(np.intp)
        moved = float((labels != progress.labels).mean())
        print(f"{moved:.1%} of the posts moved")
        progress.labels = guarded(space, labels, count, self._options.seed, self._options.smallest)
        progress.weights = one_hot(progress.labels, count)
        if self._options.softness:
            logs = -losses * np.array([len(post) for post in self._tokens])[:, None]
            shared = responsibilities(logs, self._options.softness).astype(np.float32)
            undisputed = progress.labels == labels  # posts that `guarded` moved stay with their one prompt
            progress.weights[undisputed] = shared[undisputed]
        progress.words = cluster_words(self._posts, progress.labels, count, WORDS_A_CLUSTER)

    def _train_round(self, progress: Progress) -> None:
        """The M step: every prompt is tuned on its cluster's posts."""
        steps = self._options.rounds[progress.round]
        last = progress.round == len(self._options.rounds) - 1
        plain = plain_logs(self._lm, self._tokens) if last and self._options.preferences else None
        name = f"round {progress.round + 1} of {len(self._options.rounds)}"
        stale = dict.fromkeys(range(self._options.prompts), 0)
        with tqdm(total=steps, initial=progress.step, desc=name, unit="step") as bar:
            while progress.step < steps:
                active = [k for k in stale if stale[k] < self._options.patience]
                bar.set_postfix(loss=f"{self._step(progress, active, plain):.3f}", active=len(active))
                progress.step += 1
                bar.update()
                if last and (progress.step % self._options.check_every == 0 or progress.step == steps):
                    self._check_held_out(progress, active, stale, plain)
                progress.save(self._checkpoint)

    def _step(self, progress: Progress, active: list[int], plain: Tensor | None) -> float:
        # Seeded by the step, so that a resumed build draws what an uninterrupted one draws.
        rng = np.random.default_rng([self._options.seed, progress.round, progress.step])
        total, losses = sum(self._options.rounds), []
        a_prompt = POSTS_A_STEP if plain is None else 2 * POSTS_A_STEP
        at_once = self._lm.posts_at_once // a_prompt
        for start in range(0, len(active), at_once):
            group = active[start : start + at_once]
            prompts = [progress.prompts[k] for k in group]
            own = [self._draw(progress.weights[:, k], rng) for k in group]
            if plain is None:
                losses.append(train_step(self._lm, prompts, [[self._tokens[i] for i in drawn] for drawn in own], total))
            else:
                others = [self._draw((progress.labels != k).astype(np.float32), rng) for k in group]
                contrasts = [self._contrast(*drawn, plain) for drawn in zip(own, others, strict=True)]
                losses.append(preference_step(self._lm, prompts, contrasts, total))
        return float(np.mean(losses)) if losses else float("nan")

    def _draw(self, weights: Floats, rng: np.random.Generator) -> Drawn:
        """Training posts by (N,) weights, different ones if there are enough."""
        members = np.flatnonzero((weights > 0) & self._train)
        odds = weights[members].astype(np.float64)
        return rng.choice(members, POSTS_A_STEP, replace=members.size < POSTS_A_STEP, p=odds / odds.sum())

    def _contrast(self, own: Drawn, others: Drawn, plain: Tensor) -> Contrast:
        posts = [[self._tokens[i] for i in drawn] for drawn in (own, others)]
        return Contrast(posts[0], posts[1], plain[np.concatenate([own, others])])

    def _check_held_out(
        self, progress: Progress, active: list[int], stale: dict[int, int], plain: Tensor | None
    ) -> None:
        """Early stopping: keep a prompt's best rows on its cluster's held-out posts."""
        for k in active:
            prompt = progress.prompts[k]
            loss = self._held_out_loss(prompt, progress.labels == k, plain)
            if loss < prompt.best_loss:
                prompt.best_loss, prompt.best_rows, stale[k] = loss, prompt.rows.detach().clone(), 0
            else:
                stale[k] += 1

    @torch.inference_mode()
    def _held_out_loss(self, prompt: PromptState, own: npt.NDArray[np.bool_], plain: Tensor | None) -> float:
        """The objective on held-out posts; without any, a number that falls with each step: the last rows are kept."""
        members = np.flatnonzero(own & self._held)
        if not members.size:
            return -float(prompt.steps)
        if plain is None:
            return float(losses_under(self._lm, prompt.rows, [self._tokens[i] for i in members]).mean())
        others = np.random.default_rng(self._options.seed).permutation(np.flatnonzero(~own & self._held))
        contrast = self._contrast(members, others[:OTHERS_HELD_OUT], plain)
        return float(contrast_losses(self._lm, [prompt.rows], [contrast]))


def build_basis(
    model: LanguageModel,
    about_model: tuple[str, str],
    embedder: SentenceEmbedder,
    posts: list[str],
    options: BuildOptions,
    checkpoint: Path,
    engagement: Floats | None = None,
) -> tuple[Basis, Labels]:
    """Build a basis; `about_model` is the base model's name and revision. Also returns every post's cluster."""
    prompts, labels, words = Builder(model, embedder.embed, posts, options, checkpoint, engagement).run()
    half = prompts.half().float()  # as they are stored
    known = fit_head(
        model, embedder, half, posts, options.temperature, options.head, kept_lessons(checkpoint), options.seed
    )
    norms = half.norm(dim=2)
    basis = Basis(
        model=about_model[0],
        revision=about_model[1],
        prompts=half.cpu().numpy(),
        temperature=options.temperature,
        crowd_direction=np.zeros(known.text_size, dtype=np.float32),
        words=tuple(map(tuple, words)),
        norm_range=(float(norms.min()), float(norms.max())),
        built={
            "posts": len(posts),
            "engaged_posts": 0 if engagement is None else int(engagement.any(axis=1).sum()),
            "cluster_sizes": np.bincount(labels, minlength=options.prompts).tolist(),
            "rounds": list(options.rounds),
            "preferences": options.preferences,
            "softness": options.softness,
            "rate": options.rate,
            "seed": options.seed,
            **known.built,
        },
        **known.fields(),
    )
    return basis, labels
