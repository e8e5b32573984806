"""Which soft prompt each post of a request is written with, and what the engine is asked for."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from generation import metrics
from generation.contracts import GenerateRequest, Personalization, Reason
from generation.engine import Order
from generation.reader_state import ReaderState
from generation.settings import Settings
from slop.basis import Basis
from slop.composing import Choice, Composer, Pair, checked_pair, of_mixture
from slop.rollout.live import BasisRef
from slop.soft_prompts import Floats, checked, shares
from slop.style_subject import StyleSubjectBasis
from slop.tensor_wire import torch_base64


@dataclass(frozen=True, slots=True)
class Batch:
    """An order and the posts, by index, that its texts are for."""

    order: Order
    posts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PickedPrompts:
    """What to ask the engine for, and what the reader's profile did to it.

    Attributes:
        composed: how many of the posts have a style and a subject.
    """

    batches: tuple[Batch, ...]
    personalization: Personalization
    composed: int = 0


class PromptPicker:
    """Draws from a basis, and from a factored one that goes with it.

    Raises:
        UnsafeSoftPrompt: one has a prompt that must not reach the engine.
    """

    def __init__(
        self, basis: Basis, settings: Settings, rng: np.random.Generator, factored: StyleSubjectBasis | None = None
    ) -> None:
        self._basis, self._settings, self._rng = basis, settings, rng
        self._version = basis.version
        # What is sent is one of these and nothing else: checked once, encoded once, shared by all readers.
        prompts = _prompts(basis, factored)
        self._parts = {
            choice: [{"type": "prompt_embeds", "data": torch_base64(prompt)}] for choice, prompt in prompts.items()
        }
        self._row_norms = {choice: float(np.linalg.norm(prompt, axis=1).max()) for choice, prompt in prompts.items()}
        composer = Composer.of(factored)
        self._draw = of_mixture if composer is None else composer.draw

    def draw(self, request: GenerateRequest, state: ReaderState) -> PickedPrompts:
        """Draw a soft prompt for each post; posts with the same one are ordered together."""
        drawn = self._drawn(request, state)
        if drawn is None and state.reason == Reason.PERSONALIZED:
            state = replace(state, reason=Reason.NO_TASTE)
        choices: list[Choice] | list[None] = drawn or [None] * request.n
        posts_of: dict[Choice | None, list[int]] = defaultdict(list)
        for post, choice in enumerate(choices):
            posts_of[choice].append(post)
        batches = (Batch(self._order(request, choice, len(posts)), tuple(posts)) for choice, posts in posts_of.items())
        composed = sum(isinstance(choice, Pair) for choice in choices)
        return PickedPrompts(tuple(batches), state.personalization(self._version), composed)

    def _drawn(self, request: GenerateRequest, state: ReaderState) -> list[Choice] | None:
        if state.reason != Reason.PERSONALIZED or state.profile is None:
            return None
        share = shares(state.profile, self._basis.size, request.strength)
        return None if share is None else self._draw(share, request.n, self._rng)

    def _order(self, request: GenerateRequest, choice: Choice | None, n: int) -> Order:
        template, settings = self._basis.template, self._settings
        system: Any = template.plain_system if choice is None else self._parts[choice]
        if choice is not None:
            metrics.ROW_NORM.observe(self._row_norms[choice])
        return Order(
            messages=[
                {"role": "system", "content": system},
                {"role": "user", "content": request.prompt or template.request},
            ],
            n=n,
            max_tokens=request.max_tokens or settings.max_tokens,
            temperature=settings.temperature if request.temperature is None else request.temperature,
            min_p=settings.min_p,
        )


def factored_of(ref: BasisRef, basis: Basis, settings: Settings) -> StyleSubjectBasis | None:
    """The factored basis that lies beside a basis, if posts are to be composed."""
    return StyleSubjectBasis.beside(Path(ref.folder), basis) if settings.composed_posts else None


def _prompts(basis: Basis, factored: StyleSubjectBasis | None) -> dict[Choice, Floats]:
    """All that may reach the engine, each (rows, d), checked."""
    prompts: dict[Choice, Floats] = {k: checked(prompt, basis) for k, prompt in enumerate(basis.prompts)}
    if factored is not None:
        styles, subjects = factored.size
        pairs = (Pair(style, subject) for style in range(styles) for subject in range(subjects))
        prompts |= {pair: checked_pair(pair, factored) for pair in pairs}
    return prompts
