"""The ways to tell a model who the reader is: the chat and the bytes to store for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from client.chats import Chats, Message
from slop.basis import Basis, Template
from slop.profiles import Applied, Profile
from slop.settings import LearningSettings

COUNTS: Final = (10, 50, 200)
PLAIN: Final = "no personalization"
SOFT: Final = "soft prompt"
TURNS: Final = "turns"
TEXT: Final = "text"


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to say who the reader is; without posts it is the plain model or a soft prompt."""

    name: str
    posts: int = 0


ARMS: Final = (
    Arm(PLAIN),
    Arm(SOFT),
    *(Arm(f"{count} posts as {form}", count) for count in COUNTS for form in (TURNS, TEXT)),
)


def messages_of(arm: Arm, liked: Sequence[str], prompt: npt.NDArray[np.float32], template: Template) -> list[Message]:
    """The chat that asks for a post.

    Args:
        arm: which way.
        liked: the reader's posts; those of the arm are the first.
        prompt: (k, d), the reader's soft prompt.
        template: what surrounds them.
    """
    chats, shown = Chats(template), liked[: arm.posts]
    if arm.name == SOFT:
        return chats.soft(prompt)
    return chats.after(shown) if arm.name.endswith(TURNS) else chats.listed(shown)


@dataclass(frozen=True, slots=True)
class Round:
    """One repeat: a reader's liked posts and soft prompt, and the arms in the order that they are asked in."""

    liked: tuple[str, ...]
    prompt: int
    arms: tuple[Arm, ...]


def rounds(texts: Sequence[str], prompts: int, repeats: int, seed: int) -> Iterator[Round]:
    """Readers with as many posts as the largest arm takes, drawn from `texts`, none twice for one reader."""
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        liked = tuple(texts[i] for i in rng.choice(len(texts), max(COUNTS), replace=False))
        yield Round(liked, int(rng.integers(prompts)), tuple(ARMS[i] for i in rng.permutation(len(ARMS))))


class StoredBytes:
    """What a reader takes to store: a profile, whose size is the same for everybody, or the texts of the posts."""

    def __init__(self, profile: Profile) -> None:
        self._profile = len(profile.to_bytes())

    @classmethod
    def under(cls, basis: Basis, settings: LearningSettings) -> Self:
        """Of profiles over a basis, after as many interactions as the largest arm has posts."""
        new = Profile.new(basis.version, settings.prior_of(basis))
        at_ms, signals = 1_767_225_600_000, max(COUNTS)
        applied = (Applied(epoch=2**31, partition=0, offset=1_000_000),)
        return cls(new.moved(new.mean, new.variance, signals=signals, at_ms=at_ms, applied=applied))

    def of(self, arm: Arm, liked: Sequence[str]) -> int:
        """Bytes for one reader of an arm."""
        if arm.name == SOFT:
            return self._profile
        return sum(len(text.encode()) for text in liked[: arm.posts])
