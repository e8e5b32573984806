"""Preference tuning of soft prompts: each prompt learns to prefer its cluster's posts to other clusters' posts.

It is direct preference optimisation with the plain model as the reference. Likelihood alone makes a prompt as vague as
the posts of its cluster are, while readers come for what tells these posts from others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from tqdm import tqdm

from training.basis.tuning import PromptState, losses_under, optimise
from training.language_model import LanguageModel

SHARPNESS: Final = 0.1  # beta in the paper


@dataclass(frozen=True, slots=True)
class Contrast:
    """Posts of a prompt's cluster and posts of other clusters.

    Attributes:
        own: token sequences of A posts.
        others: of B posts.
        plain: (A + B,) log p(post) under the plain model, in nats, own posts first.
    """

    own: Sequence[Tensor]
    others: Sequence[Tensor]
    plain: Tensor

    @property
    def posts(self) -> list[Tensor]:
        """Own posts, then others."""
        return [*self.own, *self.others]

    def loss(self, losses: Tensor) -> Tensor:
        """The objective of a prompt: the mean loss a token of its own posts, plus the preference loss.

        Args:
            losses: (A + B,) mean loss a token of the posts under the prompt, in nats.
        """
        lengths = torch.tensor([len(post) for post in self.posts], device=losses.device)
        gains = -losses * lengths - self.plain.to(losses.device)
        count = len(self.own)
        if not self.others:
            return losses.mean()
        return losses[:count].mean() + preference_loss(gains[:count], gains[count:])


def preference_loss(own: Tensor, others: Tensor) -> Tensor:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7), over all pairs of posts.

    Args:
        own: (A,) log p(post | prompt) - log p(post) of the preferred posts, in nats.
        others: (B,) of the rejected ones.

    Returns:
        The mean of -log sigmoid(beta (own - others)), a scalar.
    """
    return -logsigmoid(SHARPNESS * (own[:, None] - others[None])).mean()


def preference_step(
    model: LanguageModel, prompts: Sequence[PromptState], contrasts: Sequence[Contrast], total: int
) -> float:
    """One Adam step of several prompts in one pass, each on its own contrast. Returns the mean objective."""
    objectives = contrast_losses(model, [prompt.rows for prompt in prompts], contrasts)
    optimise(prompts, objectives.sum(), total)  # a sum: every prompt gets the gradient that it would get alone
    return float(objectives.detach().mean())


def contrast_losses(model: LanguageModel, prompts: Sequence[Tensor], contrasts: Sequence[Contrast]) -> Tensor:
    """`Contrast.loss` of P (k, d) prompts, each on its own contrast: (P,), differentiable in the prompts."""
    batches = [contrast.posts for contrast in contrasts]
    losses = model.losses(torch.stack(list(prompts)), batches)
    bounds = pairwise(accumulate(map(len, batches), initial=0))
    return torch.stack([c.loss(losses[start:end]) for c, (start, end) in zip(contrasts, bounds, strict=True)])


def plain_logs(model: LanguageModel, posts: Sequence[Tensor]) -> Tensor:
    """(N,) log p(post) of token sequences under the plain model, in nats; on the CPU."""
    size = model.posts_at_once
    starts = tqdm(range(0, len(posts), size), desc="plain model", unit="batch")
    losses = [losses_under(model, model.plain, posts[at : at + size]) for at in starts]
    return -torch.from_numpy(np.concatenate(losses) * [len(post) for post in posts]).float()
