"""The readers of the study, their reactions, and profiles learned from these by production's update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

import numpy as np

from client.catalogue import Post
from client.classes import load_classes
from client.readers import Reaction, Reader, deal_feeds, deal_tastes, pace_of_reading
from slop.basis import Basis, Floats
from slop.latent import Prior, update
from slop.profiles import Profile
from slop.rewards import Rewards
from slop.settings import LearningSettings
from slop.v1.interaction_pb2 import Interaction

COUNTS: Final = (4, 8, 16, 32)
MAIN: Final = 16


class TasteKind(StrEnum):
    """What a reader's hidden tastes are."""

    TOPIC = "one topic"
    STYLE = "one style"
    TWO = "two tastes"
    BOTH = "a topic and a style"
    CHANGED = "a changed taste"


@dataclass(frozen=True, slots=True)
class Member:
    """A reader of the study with all reactions, in order.

    Attributes:
        kind: of the hidden tastes.
        before: reactions of the time when a changed taste was another one.
    """

    kind: str
    seed: int
    reader: Reader
    reactions: Sequence[Reaction]
    before: Sequence[Reaction] = ()

    @property
    def tastes(self) -> tuple[str, ...]:
        """The hidden tastes; of those that changed, the new one."""
        return self.reader.tastes

    def liked(self, count: int) -> list[str]:
        """Texts of the posts liked or lingered on among the first `count`, the latest last."""
        return [reaction.post.text for reaction in self.reactions[:count] if reaction.liked]


@dataclass(frozen=True, slots=True)
class Habits:
    """How readers of every kind behave.

    Attributes:
        readers: of each kind.
        noise: share of reactions that are the wrong way round.
        exposure: share of what is shown that is of the reader's own tastes.
    """

    readers: int
    noise: float
    exposure: float


def members_of(kind: TasteKind, posts: Mapping[str, Sequence[Post]], habits: Habits, seed: int) -> list[Member]:
    """Readers of one kind with everything they do; the same for a seed.

    Args:
        kind: of their tastes.
        posts: what can be shown, by class.
        habits: how they behave.
        seed: of every choice.
    """
    rng = np.random.default_rng([seed, list(TasteKind).index(kind)])
    tastes = _tastes(kind, sorted(posts), habits.readers, rng)
    if kind != TasteKind.CHANGED:
        return _members(kind, seed, tastes, posts, habits, rng)
    old = _members(kind, seed, [pair[:1] for pair in tastes], posts, habits, rng)
    new = _members(kind, seed, [pair[1:] for pair in tastes], posts, habits, rng)
    return [Member(kind, seed, n.reader, n.reactions, o.reactions[:MAIN]) for o, n in zip(old, new, strict=True)]


def members_with(
    kind: str, tastes: int, posts: Mapping[str, Sequence[Post]], habits: Habits, seed: int, length: int = max(COUNTS)
) -> list[Member]:
    """Readers with so many tastes of any class, and what they do with `length` posts; the same for a seed."""
    rng = np.random.default_rng([seed, tastes])
    dealt = list(deal_tastes(sorted(posts), [tastes] * habits.readers, rng))
    return _members(kind, seed, dealt, posts, habits, rng, length)


def _tastes(kind: TasteKind, labels: Sequence[str], count: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    classes = load_classes()
    topics, styles = ([x for x in labels if classes[x].kind == name] for name in ("topic", "style"))
    ones, twos = [1] * count, [2] * count
    if kind == TasteKind.TOPIC:
        return list(deal_tastes(topics, ones, rng))
    if kind == TasteKind.STYLE:
        return list(deal_tastes(styles, ones, rng))
    if kind == TasteKind.BOTH:
        pairs = zip(deal_tastes(topics, ones, rng), deal_tastes(styles, ones, rng), strict=True)
        return [topic + style for topic, style in pairs]
    return list(deal_tastes(labels, twos, rng))


def _members(
    kind: str,
    seed: int,
    tastes: Sequence[tuple[str, ...]],
    posts: Mapping[str, Sequence[Post]],
    habits: Habits,
    rng: np.random.Generator,
    length: int = max(COUNTS),
) -> list[Member]:
    readers = [Reader(f"{kind}-{seed}-{number}", hidden, pace_of_reading(rng)) for number, hidden in enumerate(tastes)]
    return [
        Member(kind, seed, reader, reactions)
        for reader, reactions in zip(readers, reactions_of(readers, posts, length, habits, rng), strict=True)
    ]


def reactions_of(
    readers: Sequence[Reader],
    posts: Mapping[str, Sequence[Post]],
    length: int,
    habits: Habits,
    rng: np.random.Generator,
) -> list[list[Reaction]]:
    """What readers do with the first `length` posts that they are shown."""
    feeds = deal_feeds(readers, posts, length, habits.exposure, rng)
    return [
        [reader.react(post, habits.noise, rng) for post in feed] for reader, feed in zip(readers, feeds, strict=True)
    ]


class Learner:
    """Learns reactions with the rewards, the prior and the update of production."""

    def __init__(self, basis: Basis, features: Mapping[str, Floats], prior: Prior | None = None) -> None:
        """`features` are the (T,) text features of the posts, by post id; the prior is the basis' by default."""
        self._basis, self._features = basis, features
        self._prior, self._rewards = prior or LearningSettings().prior_of(basis), Rewards.of({})

    def profiles(self, member: Member, counts: Sequence[int] = COUNTS) -> dict[int, Profile]:
        """A reader's profile after each of so many reactions, rising."""
        profile = self.learned(Profile.new(self._basis.version, self._prior), member.before)
        found = {}
        for start, stop in pairwise((0, *counts)):
            profile = self.learned(profile, member.reactions[start:stop])
            found[stop] = profile
        return found

    def learned(self, profile: Profile, reactions: Sequence[Reaction]) -> Profile:
        """The profile after some reactions more."""
        for reaction in reactions:
            reward = self._rewards.reward_of(interaction_of(reaction), reaction.post.text)
            if reward is None:
                continue
            features = self._basis.features(self._features[reaction.post.post_id])
            label, weight = (np.array([x], np.float32) for x in (reward.label, reward.weight))
            mean, variance, _ = update(
                profile.mean[None], profile.variance[None], features[None], label, weight, self._prior
            )
            profile = profile.moved(mean[0], variance[0], signals=1, at_ms=0)
        return profile


def interaction_of(reaction: Reaction) -> Interaction:
    """The interaction of a reaction, as the collector would publish it."""
    return Interaction(type=f"INTERACTION_TYPE_{reaction.signal.upper()}", value=reaction.milliseconds)
