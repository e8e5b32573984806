"""Prompt tuning (Lester et al. 2021, arXiv 2104.08691): soft prompts trained on the likelihood of their posts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from training.language_model import LanguageModel

LEARNING_RATE: Final = 3e-2
WARMUP: Final = 8
POSTS_A_STEP: Final = 6


def learning_rate(step: int, total: int, peak: float = LEARNING_RATE) -> float:
    """The rate of the next step after `step` of `total`: linear warm-up over WARMUP steps, cosine decay to a tenth."""
    warm = min(1.0, (step + 1) / WARMUP)
    cosine = 0.55 + 0.45 * math.cos(math.pi * min(1.0, step / total))
    return peak * warm * cosine


@dataclass(slots=True)
class PromptState:
    """One soft prompt in training: (k, d) rows, its optimiser, steps done, and the best rows on held-out posts.

    `peak` is the highest learning rate.
    """

    rows: Tensor
    optimizer: torch.optim.Adam
    peak: float = LEARNING_RATE
    steps: int = 0
    best_loss: float = math.inf
    best_rows: Tensor | None = None

    @classmethod
    def begin(cls, rows: Tensor, peak: float = LEARNING_RATE) -> "PromptState":
        """Start from given rows."""
        parameter = rows.detach().clone().requires_grad_(True)
        return cls(parameter, torch.optim.Adam([parameter], lr=peak), peak)

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "rows": self.rows.detach(),
            "peak": self.peak,
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "best_loss": self.best_loss,
            "best_rows": self.best_rows,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "PromptState":
        """Continue from a checkpoint."""
        prompt = cls.begin(state["rows"], state["peak"])
        prompt.optimizer.load_state_dict(state["optimizer"])
        prompt.steps, prompt.best_loss, prompt.best_rows = state["steps"], state["best_loss"], state["best_rows"]
        return prompt

    def schedule(self, total: int) -> None:
        """Set this step's learning rate."""
        self.optimizer.param_groups[0]["lr"] = learning_rate(self.steps, total, self.peak)


def train_step(
    model: LanguageModel, prompts: Sequence[PromptState], batches: Sequence[Sequence[Tensor]], total: int
) -> float:
    """One Adam step of several prompts in one pass, each on its own posts. Returns the mean loss in nats a token."""
    losses = model.losses(torch.stack([prompt.rows for prompt in prompts]), batches)
    # A sum over prompts of means over their posts: every prompt gets the gradient that it would get alone.
    sizes = torch.tensor([len(batch) for batch in batches for _ in batch], device=losses.device)
    optimise(prompts, (losses / sizes).sum(), total)
    return float(losses.detach().mean())


def optimise(prompts: Sequence[PromptState], loss: Tensor, total: int) -> None:
    """One Adam step of every prompt on a scalar loss, at the learning rate of its own step among `total`."""
    for prompt in prompts:
        prompt.optimizer.zero_grad()
        prompt.schedule(total)
    loss.backward()  # type: ignore[no-untyped-call]
    for prompt in prompts:
        prompt.optimizer.step()
        prompt.steps += 1


@torch.inference_mode()
def losses_under(model: LanguageModel, rows: Tensor, posts: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """Mean loss a token of posts under one (k, d) prompt: (N,) nats."""
    losses = np.empty(len(posts))
    for chosen in model.batches_of(posts):
        losses[chosen] = model.losses(rows[None], [[posts[i] for i in chosen]]).double().cpu().numpy()
    return losses


def assigned(model: LanguageModel, prompts: Tensor, posts: Sequence[Tensor]) -> npt.NDArray[np.intp]:
    """(N,) for each post, given as tokens, the index of the prompt, of (K, k, d), under which it is likeliest."""
    every = [losses_under(model, rows, posts) for rows in tqdm(prompts, desc="posts' prompts", unit="prompt")]
    labels: npt.NDArray[np.intp] = np.stack(every).argmin(axis=0)
    return labels
