"""The teacher of a basis' head: posts, and their likelihoods by the language model under each prompt.

The posts are the catalogue's and as many for each prompt that the model writes under it. A post's likelihood under all
prompts takes seconds of a core. So it is computed only under a few candidates: a first head, which has learned under
which prompt each written post was written, picks them. The other prompts get a responsibility of 0.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from training.basis.checkpoint import save_checkpoint
from training.language_model import LanguageModel, copied

Doubles = npt.NDArray[np.float64]
Candidates = npt.NDArray[np.bool_]

MAX_TOKENS: Final = 60
TEMPERATURE: Final = 0.8
MIN_P: Final = 0.05
AT_ONCE: Final = {"cpu": 48, "cuda": 384}
SAVED_EVERY: Final = 10  # batches


@dataclass(frozen=True, slots=True)
class Written:
    """Posts that the model wrote under the prompts.

    Attributes:
        texts: N posts.
        prompts: (N,) index of the prompt that each was written under.
    """

    texts: list[str]
    prompts: npt.NDArray[np.intp]


class TeachingState:
    """State that a file keeps in case of an interruption: the posts that were written, and likelihoods so far."""

    def __init__(self, path: Path, of: str) -> None:
        """Read the file if there is one, and if it is of the same prompts and posts, which the digest `of` tells."""
        self._path, self._of = path, of
        self._state: dict[str, Any] = {"of": of}
        if path.exists():
            state = torch.load(path, weights_only=True)
            if state.get("of") == of:
                self._state = state
                print(f"resumed from {path}")

    @classmethod
    def at(cls, path: Path, prompts: Tensor, posts: Sequence[str], written: int, seed: int) -> Self:
        """The state for (K, k, d) prompts, posts, and `written` posts to write under each prompt."""
        digest = hashlib.sha256(json.dumps([list(posts), written, seed]).encode())
        digest.update(prompts.half().cpu().numpy().tobytes())
        return cls(path, digest.hexdigest())

    def get(self, name: str) -> Any:
        """What was kept under a name; None if nothing was."""
        return self._state.get(name)

    def keep(self, name: str, value: Any) -> None:
        """Keep something that `torch.load(weights_only=True)` reads."""
        self._state[name] = value
        save_checkpoint(self._state, self._path)


def written_under(model: LanguageModel, prompts: Tensor, each: int, seed: int, state: TeachingState) -> Written:
    """Posts written under (K, k, d) prompts, `each` under every one; empty ones are left out."""
    texts: list[str] = state.get("written") or []
    owners = np.tile(np.arange(len(prompts)), each)
    size = AT_ONCE[model.device.type]
    with torch.inference_mode():
        prefixes = list(model.prefix(prompts.to(model.device)))
    starts = range(len(texts), len(owners), size)
    for start in tqdm(starts, desc="writing posts under the prompts", unit="batch", disable=not starts):
        torch.manual_seed(seed + start)  # so that a resumed run writes what an uninterrupted one writes
        some = [prefixes[k] for k in owners[start : start + size]]
        texts = [*texts, *model.write(some, MAX_TOKENS, TEMPERATURE, MIN_P)]
        state.keep("written", texts)
    kept = [place for place, text in enumerate(texts) if text]
    return Written([texts[place] for place in kept], owners[kept])


def likelihoods(
    model: LanguageModel, prompts: Tensor, texts: Sequence[str], candidates: Candidates, state: TeachingState
) -> Doubles:
    """Log-likelihoods of whole posts under their candidate prompts.

    Args:
        model: the frozen model.
        prompts: (K, k, d).
        texts: N posts.
        candidates: (N, K), whether a post's likelihood under a prompt is to be computed.
        state: keeps those computed so far.

    Returns:
        (N, K) log p(post | P_k) in nats; -inf for prompts that are no candidates.
    """
    kept = state.get("logs")
    logs = torch.full(candidates.shape, torch.nan, dtype=torch.float64) if kept is None else kept
    tokens = [model.post_tokens(text) for text in texts]
    batches = [batch for batch in _batches(model, tokens, candidates) if bool(logs[batch[0]].isnan().all())]
    with torch.inference_mode():
        states, cache = model.read(model.prefix(prompts.to(model.device)), None)
        for number, batch in enumerate(
            tqdm(batches, desc="likelihoods of posts", unit="batch", disable=not batches), 1
        ):
            # By prompt, as `losses_after` takes posts.
            pairs = [(k, n) for k in range(len(prompts)) for n in batch if candidates[n, k]]
            chosen = sorted({k for k, _ in pairs})
            posts = [[tokens[n] for owner, n in pairs if owner == k] for k in chosen]
            losses = model.losses_after(states[chosen, -1:], copied(cache, torch.tensor(chosen)), posts)
            logs[batch] = -torch.inf
            at = torch.tensor(pairs)
            logs[at[:, 1], at[:, 0]] = -losses.double().sum(dim=1).cpu()
            if number % SAVED_EVERY == 0 or number == len(batches):
                state.keep("logs", logs)
    found: Doubles = logs.numpy()
    return found


def _batches(model: LanguageModel, tokens: Sequence[Tensor], candidates: Candidates) -> list[list[int]]:
    """Indices of posts in batches of like length, with at most AT_ONCE pairs of a post and a candidate in each."""
    most, batches, rows = AT_ONCE[model.device.type], list[list[int]](), 0
    for post in sorted(range(len(tokens)), key=lambda n: len(tokens[n])):
        asked = int(candidates[post].sum())
        if not batches or rows + asked > most:
            batches.append([])
            rows = 0
        batches[-1].append(post)
        rows += asked
    return batches
