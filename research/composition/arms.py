"""The ways to ask for a post with a style and a topic, and what each sends to the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from client.chats import Chats, Message
from client.classes import load_classes
from research.composition.choice import Chosen
from slop.basis import Basis
from slop.soft_prompts import checked
from slop.style_subject import StyleSubjectBasis

PLAIN: Final = "plain"
TEXT: Final = "words and description"
MIXTURE: Final = "mixture"
CONCATENATED: Final = "concatenated"
STYLE_SUBJECT: Final = "style × subject"
ARMS: Final = (PLAIN, TEXT, MIXTURE, CONCATENATED, STYLE_SUBJECT)
WORDS: Final = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """What a post is to have."""

    style: str
    topic: str


@dataclass(frozen=True, slots=True)
class Request:
    """A chat that asks for so many posts."""

    messages: Sequence[Message]
    posts: int


def pairs_of(styles: Sequence[str], topics: Sequence[str], count: int, seed: int) -> list[Pair]:
    """Pairs that differ, in which every style and every topic occur about equally often; at most all of them.

    Args:
        styles: names.
        topics: names.
        count: of pairs.
        seed: which topics meet which styles.
    """
    rng = np.random.default_rng(seed)
    first, second = list(rng.permutation(styles)), list(rng.permutation(topics))
    stride = max(1, len(second) // len(first))
    laps = range(len(second))
    every = [Pair(str(s), str(second[(at * stride + lap) % len(second)])) for lap in laps for at, s in enumerate(first)]
    return every[:count]


class Asking:
    """Says how every arm asks for a pair."""

    def __init__(self, basis: Basis, style_subject: StyleSubjectBasis, chosen: Chosen) -> None:
        self.basis, self.style_subject, self._chosen = basis, style_subject, chosen
        self._chats = Chats(basis.template)

    def requests(self, arm: str, pair: Pair, posts: int) -> list[Request]:
        """What is sent for `posts` posts of a pair."""
        if arm == MIXTURE:
            half = posts // 2
            by_topic, by_style = self._chats.soft(self._prompt(pair.topic)), self._chats.soft(self._prompt(pair.style))
            return [Request(by_topic, posts - half), Request(by_style, half)]
        return [Request(self._messages(arm, pair), posts)]

    def _messages(self, arm: str, pair: Pair) -> list[Message]:
        if arm == CONCATENATED:
            return self._chats.soft(np.concatenate([self._prompt(pair.style), self._prompt(pair.topic)]))
        if arm == STYLE_SUBJECT:
            style, subject = self._chosen.styles[pair.style], self._chosen.subjects[pair.topic]
            return self._chats.soft(self.style_subject.prompt(style, subject))
        return self._chats.under(self.described(pair)) if arm == TEXT else self._chats.plain()

    def described(self, pair: Pair) -> str:
        """A system message with the words of the topic's prompt and the description that the style was written by."""
        words = self.basis.words[self._chosen.prompts[pair.topic]][:WORDS]
        plain = self.basis.template.plain_system.removesuffix(".")
        return f"{plain} about {', '.join(words)}. {load_classes()[pair.style].description}"

    def rows(self, arm: str) -> int:
        """Virtual tokens of an arm."""
        alone = int(self.basis.prompts.shape[1])
        return {MIXTURE: alone, CONCATENATED: 2 * alone, STYLE_SUBJECT: self.style_subject.rows}.get(arm, 0)

    def _prompt(self, name: str) -> npt.NDArray[np.float32]:
        return checked(self.basis.prompts[self._chosen.prompts[name]], self.basis)
