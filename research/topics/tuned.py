"""The rival without SLOP: a soft prompt tuned for each reader by gradient, on the posts that the reader liked."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from research.topics.people import MAIN, Learner, Member
from slop.profiles import Profile
from training.basis.build import START_WORDS
from training.basis.tuning import PromptState, train_step
from training.language_model import LanguageModel

STEPS: Final = 24  # as many as each prompt of the basis is trained for


@dataclass(frozen=True, slots=True)
class Effort:
    """CPU microseconds to learn one interaction."""

    tuned: float
    ours: float

    @property
    def ratio(self) -> float:
        """The time of tuning by the time of SLOP's update."""
        return self.tuned / self.ours


def tuned_prompt(model: LanguageModel, liked: Sequence[str], rows: int) -> npt.NDArray[np.float32]:
    """(rows, d), trained on the likelihood of the liked posts, all of them in every step."""
    state = PromptState.begin(model.embed_words(START_WORDS, rows))
    posts = [model.post_tokens(text) for text in liked]
    for _ in range(STEPS if posts else 0):
        train_step(model, [state], [posts], STEPS)
    prompt: npt.NDArray[np.float32] = state.rows.detach().to(torch.float16).float().cpu().numpy()
    return prompt


def effort(model: LanguageModel, member: Member, learner: Learner, fresh: Profile, rows: int) -> Effort:
    """The costs of tuning and of SLOP's update for the same MAIN interactions, without computing posts' features."""
    start = time.process_time()
    tuned_prompt(model, member.liked(MAIN), rows)
    tuned = time.process_time() - start
    repeats = 50
    start = time.process_time()
    for _ in range(repeats):
        learner.learned(fresh, member.reactions[:MAIN])
    ours = (time.process_time() - start) / repeats
    return Effort(1e6 * tuned / MAIN, 1e6 * ours / MAIN)
