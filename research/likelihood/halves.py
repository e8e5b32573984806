"""Chooses the prompt under which the first half of a post is likeliest, and measures the second half under it."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from research.likelihoods import HEAT_TOKENS, SURVIVORS
from training.language_model import LanguageModel

Doubles = npt.NDArray[np.float64]
Choice = npt.NDArray[np.intp]

TOKENS_AT_ONCE: Final = 1_024


def first_half(post: Tensor) -> Tensor:
    """The tokens that a prompt is chosen on, the shorter half of an odd number: (T // 2,)."""
    return post[: len(post) // 2]


@torch.inference_mode()
def nats(model: LanguageModel, prompt: Tensor, posts: Sequence[Tensor]) -> list[Doubles]:
    """Negative log-likelihood of every token of posts under one (k, d) prompt: (T,) of each post."""
    found = [np.empty(0)] * len(posts)
    for places in _batches([len(post) for post in posts]):
        losses = model.losses_by_token(prompt[None], [[posts[i] for i in places]]).double().cpu().numpy()
        for i, of_post in zip(places, losses, strict=True):
            found[i] = of_post[: len(posts[i])]
    return found


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of posts in batches of like length, of at most TOKENS_AT_ONCE tokens with the padding."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[i] > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def chosen(model: LanguageModel, prompts: Sequence[Tensor], posts: Sequence[Tensor]) -> Choice:
    """For each post the index of the prompt under which its first half is likeliest.

    Of more prompts than SURVIVORS, only the best after HEAT_TOKENS go on, as where features are computed.

    Args:
        model: the base model.
        prompts: K of them, (k, d) each; k may differ.
        posts: N token sequences of at least 2 tokens.

    Returns:
        (N,) places among the prompts.
    """
    halves = [first_half(post) for post in posts]
    running = np.ones((len(prompts), len(posts)), dtype=np.bool_)
    if len(prompts) > SURVIVORS:
        heat = _totals(model, prompts, [half[:HEAT_TOKENS] for half in halves], running)
        running = heat.argsort(axis=0).argsort(axis=0) < SURVIVORS
    best: Choice = _totals(model, prompts, halves, running).argmin(axis=0)
    return best


def _totals(
    model: LanguageModel, prompts: Sequence[Tensor], posts: Sequence[Tensor], running: npt.NDArray[np.bool_]
) -> Doubles:
    """(K, N) nats of whole posts, infinite where a prompt is not in the running."""
    totals = np.full(running.shape, np.inf)
    for prompt, of_prompt, runs in zip(prompts, totals, running, strict=True):
        places = np.flatnonzero(runs)
        of_prompt[places] = [tokens.sum() for tokens in nats(model, prompt, [posts[i] for i in places])]
    return totals


def second_halves(model: LanguageModel, prompts: Sequence[Tensor], posts: Sequence[Tensor], choice: Choice) -> Doubles:
    """Nats a token of every post's second half, given its first half and the prompt chosen for it: (N,)."""
    means = np.empty(len(posts))
    for k in np.unique(choice):
        places = np.flatnonzero(choice == k)
        found = nats(model, prompts[k], [posts[i] for i in places])
        means[places] = [tokens[len(tokens) // 2 :].mean() for tokens in found]
    return means
