"""Readers besides those that a study judges by: their reactions say which posts belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from client.catalogue import Post, by_label
from research.topics.people import Habits, Member, TasteKind, interaction_of, members_of
from slop.rewards import Rewards
from training.factors.reactions import Reactions

KINDS: Final = (TasteKind.TOPIC, TasteKind.STYLE, TasteKind.TWO)
FIRST_SEED: Final = 1_000_000


def other_readers(posts: Sequence[Post], habits: Habits, seed: int) -> list[Member]:
    """Readers of each kind in turn, each shown posts of their own: together they see the whole catalogue."""
    return [_member(number, posts, habits, seed) for number in range(habits.readers)]


def _member(number: int, posts: Sequence[Post], habits: Habits, seed: int) -> Member:
    own = FIRST_SEED * (1 + seed) + number
    shuffled = by_label(posts[place] for place in np.random.default_rng(own).permutation(len(posts)).tolist())
    return members_of(KINDS[number % len(KINDS)], shuffled, replace(habits, readers=1), own)[0]


def reactions_of(others: Sequence[Member], places: Mapping[str, int]) -> Reactions:
    """The reactions of other readers, with production's rewards.

    Args:
        others: readers.
        places: of N posts by id, from 0; among them all that were reacted to.
    """
    rewards = Rewards.of({})
    rewarded = [
        (reader, places[reaction.post.post_id], reward)
        for reader, member in enumerate(others)
        for reaction in member.reactions
        if (reward := rewards.reward_of(interaction_of(reaction), reaction.post.text)) is not None
    ]
    return Reactions(
        readers=np.array([reader for reader, _, _ in rewarded], dtype=np.intp),
        posts=np.array([place for _, place, _ in rewarded], dtype=np.intp),
        values=np.array([2 * reward.label - 1 for _, _, reward in rewarded], dtype=np.float64),
        weights=np.array([reward.weight for _, _, reward in rewarded], dtype=np.float64),
        keys=list(places),
        text_features=np.zeros((len(places), 0)),
    )
