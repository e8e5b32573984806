"""Chooses the prompts that a reader of a class would get: those with the largest responsibilities for liked posts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from scipy.special import logsumexp

from research.metrics import Estimate, over_readers
from slop.basis import Basis
from slop.style_subject import StyleSubjectBasis
from slop.text_features import responsibilities
from training.language_model import LanguageModel, PromptScorer

Doubles = npt.NDArray[np.float64]
Liked = Mapping[str, Sequence[str]]
"""Posts of every class."""

TEMPERATURE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The prompts that each class' posts choose.

    Attributes:
        prompts: of the basis.
        styles: of the style × subject prompts.
        subjects: of the style × subject prompts.
        loss: of the posts under the basis as a whole, nats a token.
        style_subject_loss: the same under the style × subject prompts.
    """

    prompts: Mapping[str, int]
    styles: Mapping[str, int]
    subjects: Mapping[str, int]
    loss: Estimate
    style_subject_loss: Estimate

    @classmethod
    def by(
        cls, liked: Liked, model: LanguageModel, basis: Basis, style_subject: StyleSubjectBasis, progress: Progress
    ) -> Self:
        """Score every post under all prompts of the basis and under all pairs of style × subject prompts."""
        single = _scored(liked, PromptScorer(model, torch.from_numpy(basis.prompts)), "posts under the basis", progress)
        pairs = _scored(
            liked, PromptScorer(model, torch.from_numpy(style_subject.pairs())), "posts under pairs", progress
        )
        tokens = {name: [len(model.post_tokens(text)) for text in texts] for name, texts in liked.items()}
        shares = {name: _pair_shares(logs, style_subject.size) for name, logs in pairs.items()}
        return cls(
            strongest({name: responsibilities(logs, TEMPERATURE) for name, logs in single.items()}),
            strongest({name: share.sum(axis=2) for name, share in shares.items()}),
            strongest({name: share.sum(axis=1) for name, share in shares.items()}),
            mixture_loss(single, tokens),
            mixture_loss(pairs, tokens),
        )


def _scored(liked: Liked, score: Callable[[str], Doubles], about: str, progress: Progress) -> dict[str, Doubles]:
    """(n, K) log-likelihoods of every class' n posts."""
    task = progress.add_task(about, total=sum(map(len, liked.values())))
    found: dict[str, Doubles] = {}
    for name, texts in liked.items():
        rows = []
        for text in texts:
            rows.append(score(text))
            progress.advance(task)
        found[name] = np.stack(rows)
    return found


def _pair_shares(log_likelihoods: Doubles, size: tuple[int, int]) -> Doubles:
    """(n, S J) log-likelihoods as (n, S, J) responsibilities."""
    return responsibilities(log_likelihoods, TEMPERATURE).reshape(-1, *size)


def strongest(shares: Mapping[str, Doubles]) -> dict[str, int]:
    """For every class the prompt whose mean responsibility for its posts exceeds that for all posts the most.

    Args:
        shares: for every class the (n, K) responsibilities of its posts.
    """
    means = {name: share.mean(axis=0) for name, share in shares.items()}
    center = np.mean(list(means.values()), axis=0)
    return {name: int((mean - center).argmax()) for name, mean in means.items()}


def mixture_loss(log_likelihoods: Mapping[str, Doubles], tokens: Mapping[str, Sequence[int]]) -> Estimate:
    """The loss of posts under a basis as a whole: -log of the mean of p(post | prompt) over K prompts, nats a token.

    Args:
        log_likelihoods: for every class the (n, K) of its posts.
        tokens: how many its posts have.

    Returns:
        The mean over posts, with its interval.
    """
    losses = [
        (np.log(logs.shape[1]) - logsumexp(logs, axis=1)) / np.array(tokens[name])
        for name, logs in log_likelihoods.items()
    ]
    return over_readers(np.concatenate(losses).tolist())
