"""Which soft prompt each post of a request is written with, and what the engine is asked for."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from generation import metrics
from generation.contracts import GenerateRequest, Personalization, Reason
from generation.engine import Order
from generation.readers import Standing
from generation.settings import Settings
from slop.basis import Basis
from slop.soft_prompts import allot, checked, shares
from slop.tensor_wire import torch_base64


@dataclass(frozen=True, slots=True)
class Batch:
    """An order and the posts, by index, that its texts are for."""

    order: Order
    posts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """What to ask the engine for, and what the reader's profile did to it."""

    batches: tuple[Batch, ...]
    personalization: Personalization


class Drawer:
    """Draws from a basis.

    Raises:
        UnsafeSoftPrompt: the basis has a prompt that must not reach the engine.
    """

    def __init__(self, basis: Basis, settings: Settings, rng: np.random.Generator) -> None:
        self._basis, self._settings, self._rng = basis, settings, rng
        self._version = basis.version
        # What is sent is one of these and nothing else: checked once, encoded once, shared by all readers.
        self._parts = [
            [{"type": "prompt_embeds", "data": torch_base64(checked(prompt, basis))}] for prompt in basis.prompts
        ]
        self._row_norms = np.linalg.norm(basis.prompts, axis=2).max(axis=1).tolist()

    def draw(self, request: GenerateRequest, standing: Standing) -> Drawing:
        """Draw a soft prompt for each post; posts with the same one are ordered together."""
        drawn = self._drawn(request, standing)
        if drawn is None and standing.reason == Reason.PERSONALIZED:
            standing = replace(standing, reason=Reason.NO_TASTE)
        posts_of = defaultdict(list)
        for post, prompt in enumerate(drawn or [None] * request.n):
            posts_of[prompt].append(post)
        batches = (Batch(self._order(request, prompt, len(posts)), tuple(posts)) for prompt, posts in posts_of.items())
        return Drawing(tuple(batches), standing.personalization(self._version))

    def _drawn(self, request: GenerateRequest, standing: Standing) -> list[int] | None:
        if standing.reason != Reason.PERSONALIZED or standing.profile is None:
            return None
        share = shares(standing.profile, self._basis.size, request.strength)
        return None if share is None else [int(k) for k in allot(share, request.n, self._rng)]

    def _order(self, request: GenerateRequest, prompt: int | None, n: int) -> Order:
        template, settings = self._basis.template, self._settings
        system: Any = template.plain_system if prompt is None else self._parts[prompt]
        if prompt is not None:
            metrics.ROW_NORM.observe(self._row_norms[prompt])
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
