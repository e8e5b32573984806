"""Likelihoods of many posts under many prompts at once, for studies."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress

from training.language_model import MAX_POST_TOKENS, LanguageModel

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

HEAT_TOKENS: Final = 8
SURVIVORS: Final = 8
ROWS_AT_ONCE: Final = {"cpu": 48, "cuda": 192}


def by_token(
    model: LanguageModel, prompts: npt.NDArray[np.float32], texts: Sequence[str], progress: Progress
) -> Floats:
    """Log-likelihood of each post's tokens under each prompt: (N, K, MAX_POST_TOKENS) nats, 0 behind a post's end."""
    found = np.zeros((len(texts), len(prompts), MAX_POST_TOKENS), np.float32)
    task = progress.add_task("likelihoods of tokens", total=len(texts))
    with torch.inference_mode():
        states, cache = model.read(model.prefix(torch.from_numpy(prompts).to(model.device)), None)
        size = max(1, ROWS_AT_ONCE[model.device.type] // len(prompts))
        for start in range(0, len(texts), size):
            posts = [model.post_tokens(text) for text in texts[start : start + size]]
            losses = model.losses_after(states[:, -1:], cache, [posts] * len(prompts))
            part = -losses.view(len(prompts), len(posts), -1).transpose(0, 1).cpu().numpy()
            found[start : start + len(posts), :, : part.shape[2]] = part
            progress.advance(task, len(posts))
    return found


def raced(tokens: Floats, survivors: int, most: int = MAX_POST_TOKENS) -> Doubles:
    """(N, K) log-likelihoods as `research.encoders.race.Race` has them, of a post's first `most` tokens."""
    first, total = (tokens[:, :, :end].sum(axis=2, dtype=np.float64) for end in (min(HEAT_TOKENS, most), most))
    ahead = np.zeros(first.shape, dtype=bool)
    np.put_along_axis(ahead, np.argsort(-first, axis=1)[:, :survivors], values=True, axis=1)
    leader = np.where(ahead, total, -np.inf).argmax(axis=1)[:, None]
    gain = np.take_along_axis(total - first, leader, axis=1)
    return np.where(ahead, total, first + gain)
