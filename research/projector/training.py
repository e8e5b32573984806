"""Training a projector on simulated readers' posts."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from research.projector.network import Projector
from slop.basis import Basis
from training.basis.checkpoint import save_checkpoint
from training.basis.clusters import Labels
from training.basis.tuning import LEARNING_RATE, assigned, learning_rate
from training.language_model import LanguageModel

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

TRAINING, HELD_OUT = 0, 1  # which posts, and which stream of random numbers


@dataclass(frozen=True, slots=True)
class ProjectorOptions:
    """How a projector is trained.

    Attributes:
        steps: of the optimiser.
        mixtures: simulated readers in a step.
        posts: of each of them.
        tastes: how many clusters a reader has; drawn evenly.
        concentration: of the Dirichlet distribution of a reader's shares; 1 is even over all of them.
        rank: hidden units of the residual.
        rate: the learning rate's peak, which comes down as that of prompts does.
        held_out: share of posts that only choose the best step.
        check_every: steps between looks at held-out posts, and between checkpoints.
        checked: simulated readers for a look at held-out posts.
        seed: of everything random.
    """

    steps: int = 300
    mixtures: int = 16
    posts: int = 4
    tastes: tuple[int, ...] = (1, 2, 4)
    concentration: float = 1.0
    rank: int = 64
    rate: float = 1e-3
    held_out: float = 0.1
    check_every: int = 20
    checked: int = 64
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Mixtures:
    """Simulated readers: (M, K) shares of the prompts, and for each reader the indices of some posts."""

    shares: Floats
    posts: list[list[int]]


def drawn(members: Sequence[Labels], count: int, options: ProjectorOptions, rng: np.random.Generator) -> Mixtures:
    """Draw simulated readers.

    Args:
        members: for each of K clusters the indices of its posts; a cluster without posts is nobody's taste.
        count: how many readers.
        options: how many tastes and posts they have.
        rng: source of the draw.
    """
    usable = np.flatnonzero([own.size > 0 for own in members])
    shares, posts = np.zeros((count, len(members)), np.float32), []
    for row in shares:
        tastes = rng.choice(usable, min(int(rng.choice(options.tastes)), usable.size), replace=False)
        weights = rng.dirichlet(np.full(tastes.size, options.concentration))
        row[tastes] = weights
        posts.append([int(rng.choice(members[k])) for k in rng.choice(tastes, options.posts, p=weights)])
    return Mixtures(shares, posts)


def mixture_losses(model: LanguageModel, projector: Projector, tokens: Sequence[Tensor], readers: Mixtures) -> Tensor:
    """Loss a token of simulated readers' posts under their prompts: (B,) nats, in the order of the posts."""
    prompts = projector(torch.from_numpy(readers.shares).to(model.device))
    return model.losses(prompts, [[tokens[i] for i in posts] for posts in readers.posts])


class Training:
    """Trains a projector; `run` may be called again after an interruption."""

    def __init__(
        self, model: LanguageModel, basis: Basis, posts: Sequence[str], options: ProjectorOptions, checkpoint: Path
    ) -> None:
        self._lm, self._options, self._checkpoint = model, options, checkpoint
        self._of = [basis.text_version, json.dumps(asdict(options)), len(posts)]
        self._tokens = [model.post_tokens(text) for text in posts]
        self._held = np.random.default_rng(options.seed).random(len(posts)) < options.held_out
        self._projector = Projector(basis, options.rank, options.seed).to(model.device)
        self._optimizer = torch.optim.Adam(self._projector.parameters(), lr=options.rate)
        self._best = copied_state(self._projector)
        self._step, self._first_loss, self._best_loss = 0, math.inf, math.inf

    def run(self) -> Projector:
        """The projector as it was best on held-out posts."""
        labels = self._resume()
        if labels is None:
            labels = assigned(self._lm, self._projector.prompts, self._tokens)
            self._check(labels)
        members, steps = self._members(labels, ~self._held), self._options.steps
        with tqdm(total=steps, initial=self._step, desc="projector", unit="step") as bar:
            while self._step < steps:
                bar.set_postfix(loss=f"{self._train_step(members):.3f}", held_out=f"{self._best_loss:.3f}")
                bar.update()
                if self._step % self._options.check_every == 0 or self._step == steps:
                    self._check(labels)
        self._projector.load_state_dict(self._best)
        losses = {"held_out_loss_at_start": self._first_loss, "held_out_loss": self._best_loss}
        self._projector.about = {"options": asdict(self._options), **losses}
        return self._projector

    def _members(self, labels: Labels, chosen: npt.NDArray[np.bool_]) -> list[Labels]:
        return [np.flatnonzero((labels == k) & chosen) for k in range(self._projector.prompts.shape[0])]

    def _train_step(self, members: Sequence[Labels]) -> float:
        # Seeded by the step, so that a resumed training draws what an uninterrupted one draws.
        rng = np.random.default_rng([self._options.seed, TRAINING, self._step])
        readers = drawn(members, self._options.mixtures, self._options, rng)
        share = learning_rate(self._step, self._options.steps) / LEARNING_RATE
        self._optimizer.param_groups[0]["lr"] = self._options.rate * share
        self._optimizer.zero_grad()
        loss = mixture_losses(self._lm, self._projector, self._tokens, readers).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._step += 1
        return float(loss.detach())

    def _check(self, labels: Labels) -> None:
        """Keep the best on held-out posts, and a checkpoint."""
        loss = self._held_out_loss(labels)
        if self._step == 0:
            self._first_loss = loss
        if loss < self._best_loss:
            self._best_loss, self._best = loss, copied_state(self._projector)
        save_checkpoint({"of": self._of, "labels": torch.from_numpy(labels)} | self._state(), self._checkpoint)

    @torch.inference_mode()
    def _held_out_loss(self, labels: Labels) -> float:
        """The loss of the same simulated readers each time; without held-out posts it falls: the last step is kept."""
        if not self._held.any():
            return -float(self._step)
        rng = np.random.default_rng([self._options.seed, HELD_OUT])
        readers = drawn(self._members(labels, self._held), self._options.checked, self._options, rng)
        losses, size = [], self._options.mixtures
        for at in range(0, self._options.checked, size):
            some = Mixtures(readers.shares[at : at + size], readers.posts[at : at + size])
            losses.append(mixture_losses(self._lm, self._projector, self._tokens, some).double())
        return float(torch.cat(losses).mean())

    def _state(self) -> dict[str, Any]:
        return {
            "projector": self._projector.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "progress": [self._step, self._first_loss, self._best_loss],
        }

    def _resume(self) -> Labels | None:
        """Go on from a checkpoint of the same training, if there is one; returns the posts' prompts."""
        if not self._checkpoint.exists():
            return None
        state = torch.load(self._checkpoint, weights_only=True, map_location=self._lm.device)
        if state["of"] != self._of:
            return None
        self._projector.load_state_dict(state["projector"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        self._step, self._first_loss, self._best_loss = state["progress"]
        print(f"resumed from {self._checkpoint}: step {self._step}")
        labels: Labels = state["labels"].cpu().numpy()
        return labels


def copied_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters as they are now."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def train_projector(
    model: LanguageModel, basis: Basis, posts: Sequence[str], out: Path, options: ProjectorOptions, checkpoint: Path
) -> Projector:
    """Train a projector of a basis on a catalogue's posts and write it to a file.

    Its `about` has the options, and the loss on held-out posts before and after, in nats a token.
    """
    projector = Training(model, basis, posts, options, checkpoint).run()
    projector.save(out)
    checkpoint.unlink(missing_ok=True)
    return projector
