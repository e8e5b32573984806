"""Which soft prompt each post of a request is written under, and what the engine is asked for."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from generation import metrics
from generation.arm_messages import Manner, manner_of
from generation.completions import CompletionRequest
from generation.contracts import Personalization, Reason
from generation.profiles import uncertainty
from generation.reader_state import ReaderState
from generation.settings import Settings
from generation.writing_request import Role, Turn, WritingRequest
from slop.arms import Arm
from slop.basis import Basis
from slop.composing import Choice, Composer, Pair, checked_pair, of_mixture
from slop.exploring import explored, sampled_best
from slop.profiles import Profile
from slop.rollout.live import BasisRef
from slop.settings import MAX_CANDIDATES
from slop.soft_prompts import Floats, checked
from slop.style_subject import StyleSubjectBasis
from slop.tensor_wire import torch_base64

PROBE: Final = Manner(Reason.CONTROL)  # says nothing of any reader


@dataclass(frozen=True, slots=True)
class PostsOfPrompt:
    """The posts of an answer that are written under the same prompt.

    Attributes:
        request: what the engine is asked for.
        posts: for each text that comes, which post of the answer it is; indices from 0. Where there are candidates, the
            texts post, post + n, post + 2 n, and so on compete, with those of the prompt's other posts.
    """

    request: CompletionRequest
    posts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PickedPrompts:
    """What to ask the engine for, and what the reader's profile did to it.

    Attributes:
        by_prompt: all posts of the answer, by their prompts.
        composed: how many of the posts are composed, of a style and a subject.
        candidates: how many texts are written for each post.
        profile: by which posts are chosen if there are several; None if nothing is.
    """

    by_prompt: tuple[PostsOfPrompt, ...]
    personalization: Personalization
    composed: int = 0
    candidates: int = 1
    profile: Profile | None = None


class PromptPicker:
    """Picks among the prompts of a basis, and among the pairs of its style × subject prompts if there are any."""

    def __init__(
        self,
        basis: Basis,
        settings: Settings,
        rng: np.random.Generator,
        style_subject: StyleSubjectBasis | None = None,
    ) -> None:
        """Check and encode all prompts: what is sent to the engine is one of them, and nothing else.

        Raises:
            UnsafeSoftPrompt: one of the prompts must not reach the engine.
        """
        self._basis, self._settings, self._rng = basis, settings, rng
        self._version = basis.version
        prompts = _prompts(basis, style_subject)
        self._parts = {
            choice: [{"type": "prompt_embeds", "data": torch_base64(prompt)}] for choice, prompt in prompts.items()
        }
        self._rows = {choice: len(prompt) for choice, prompt in prompts.items()}
        self._row_norms = {choice: float(np.linalg.norm(prompt, axis=1).max()) for choice, prompt in prompts.items()}
        composer = Composer.of(style_subject)
        self._draw = of_mixture if composer is None else composer.draw

    def pick(self, request: WritingRequest, state: ReaderState) -> PickedPrompts:
        """Pick a soft prompt for each post; posts under the same one are asked for together."""
        manner = manner_of(state, self._basis, request.strength)
        state = replace(state, reason=manner.reason)
        drawn = None if manner.shares is None else self._draw(manner.shares, request.n, self._rng)
        candidates, profile = 1, None
        if drawn is not None and state.arm == Arm.SOFT and state.profile is not None:
            self._explore(drawn, state.profile)
            candidates, profile = self.candidates_of(request), state.profile
        choices: list[Choice] | list[None] = drawn or [None] * request.n
        posts_of: dict[Choice | None, list[int]] = defaultdict(list)
        for post, choice in enumerate(choices):
            posts_of[choice].append(post)
        by_prompt = [
            PostsOfPrompt(
                self._completion(request, manner, choice, candidates * len(posts)),
                tuple(post + request.n * number for number in range(candidates) for post in posts),
            )
            for choice, posts in posts_of.items()
        ]
        composed = sum(isinstance(choice, Pair) for choice in choices)
        told = state.personalization(self._version)
        return PickedPrompts(tuple(by_prompt), told, composed, candidates, profile if candidates > 1 else None)

    def _explore(self, drawn: list[Choice], profile: Profile) -> None:
        """Put prompts that the reader may like in the place of some that were drawn."""
        settings = self._settings
        unsure = uncertainty(profile, self._basis.size, settings.prior_variance)
        share = max(settings.generation_exploration_floor, settings.generation_exploration * unsure)
        posts = explored(share, len(drawn), self._rng)
        for post, prompt in zip(posts, sampled_best(profile, self._basis.size, len(posts), self._rng), strict=True):
            drawn[post] = int(prompt)
        metrics.EXPLORED.inc(len(posts))

    def max_tokens_of(self, request: WritingRequest) -> int:
        """How long each text of a request may be, in tokens."""
        return request.max_tokens or self._settings.generation_max_tokens

    def candidates_of(self, request: WritingRequest) -> int:
        """How many texts are written for each post of a request, if its reader's posts can be chosen."""
        if self._temperature_of(request) == 0:
            return 1  # the same text again and again
        asked = self._settings.generation_candidates if request.candidates is None else request.candidates
        return min(asked, max(1, MAX_CANDIDATES // request.n))

    def probe(self) -> CompletionRequest:
        """One token under the first prompt of the basis: the least that shows that the engine takes its prompts."""
        messages = self._messages(0, WritingRequest(user_id=None), PROBE)
        return CompletionRequest(messages, n=1, max_tokens=1, temperature=0.0, min_p=0.0)

    def _completion(self, request: WritingRequest, manner: Manner, choice: Choice | None, n: int) -> CompletionRequest:
        settings = self._settings
        if choice is not None:
            metrics.ROW_NORM.observe(self._row_norms[choice])
        return CompletionRequest(
            messages=self._messages(choice, request, manner),
            n=n,
            max_tokens=self.max_tokens_of(request),
            temperature=self._temperature_of(request),
            min_p=settings.generation_min_p,
            options=request.options,
            soft_tokens=0 if choice is None else self._rows[choice],
            shown=len(manner.before),
            reader=request.user_id,
            may_shorten=request.may_shorten,
        )

    def _temperature_of(self, request: WritingRequest) -> float:
        return self._settings.generation_temperature if request.temperature is None else request.temperature

    def _messages(self, choice: Choice | None, request: WritingRequest, manner: Manner) -> list[dict[str, Any]]:
        system = self._system(choice, request.system, manner.about)
        turns = request.turns or (Turn(Role.USER, self._basis.template.request),)
        chat = [{"role": str(turn.role), "content": turn.text} for turn in (*manner.before, *turns)]
        return [{"role": "system", "content": system}, *chat] if system else chat

    def _system(self, choice: Choice | None, text: str | None, about: str) -> str | list[dict[str, str]]:
        """The content of the system message: the caller's text and after it the soft prompt; empty if there is none."""
        if choice is None:
            system = self._basis.template.plain_system if text is None else text
            return "\n".join(part for part in (system, about) if part)
        return [{"type": "text", "text": text}, *self._parts[choice]] if text else self._parts[choice]


def style_subject_of(ref: BasisRef, basis: Basis, settings: Settings) -> StyleSubjectBasis | None:
    """The style × subject prompts in the folder of a basis, if there are any and posts are to be composed."""
    return StyleSubjectBasis.beside(Path(ref.folder), basis) if settings.generation_composed_posts else None


def _prompts(basis: Basis, style_subject: StyleSubjectBasis | None) -> dict[Choice, Floats]:
    """All prompts that may reach the engine, each (rows, d) float32, checked."""
    prompts: dict[Choice, Floats] = {k: checked(prompt, basis) for k, prompt in enumerate(basis.prompts)}
    if style_subject is not None:
        styles, subjects = style_subject.size
        pairs = (Pair(style, subject) for style in range(styles) for subject in range(subjects))
        prompts |= {pair: checked_pair(pair, style_subject) for pair in pairs}
    return prompts
