"""What one reader can do to others: however much is sent, it counts as one reader."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from slop.decisions import decision_of
from slop.interaction_types import INTERACTION_TYPES
from slop.rewards import Rewards
from slop.settings import LearningSettings
from slop.v1.interaction_pb2 import Interaction
from slop.v1.signal_pb2 import Signal, Source
from tests.basis import random_basis
from training.basis.engagement import engagement_of
from training.comparison import NotBetter, compared
from training.factors import Fit, FitOptions, reactions_of

BASIS = random_basis()
READERS, POSTS, EVENTS = 60, 40, 10_000
MOST_RANKS = 4
KINDS_OF_LIKING = ("like", "share", "save", "follow", "rate")

rng = np.random.default_rng(7)
TEXTS = rng.normal(size=(POSTS, BASIS.text_size)).astype(np.float32)
LIKED = 1 / (1 + np.exp(-1.5 * rng.normal(size=POSTS) - rng.normal(size=(READERS, 1))))


def signal(user: str, post: int, kind: str, at: int, *, decided: bool = True) -> Signal:
    """What the featurizer makes of an interaction, of a view of its own if it is a dwell."""
    value = 9_000.0 if kind == "dwell" else 1.0 if kind == "rate" else None
    interaction = Interaction(
        event_id=f"{user}-{at}",
        tenant="t",
        user_id=user,
        post_id=f"p{post}",
        type=INTERACTION_TYPES[kind].wire_name,
        value=value,
        received_at_ms=at,
    )
    reward, decision = Rewards.of({}).reward_of(interaction, "two words"), decision_of(interaction)
    assert reward is not None
    assert decision is not None
    return Signal(
        event_id=interaction.event_id,
        tenant="t",
        user_id=user,
        post_id=interaction.post_id,
        source=Source(partition=0, offset=at),
        received_at_ms=at,
        features=TEXTS[post].tolist(),
        label=reward.label,
        weight=reward.weight,
        decision=decision.key if decided else 0,
        decided_at_ms=decision.at_ms,
    )


def readers() -> Iterator[Signal]:
    """Each reader likes or skips half of all posts, the likelier the more the crowd likes them."""
    draws = np.random.default_rng(11)
    for reader in range(READERS):
        for at, post in enumerate(draws.permutation(POSTS)[: POSTS // 2].tolist()):
            kind = "like" if draws.random() < LIKED[reader, post] else "skip"
            yield signal(f"u{reader}", post, kind, at)


def crowd_ranks(signals: Iterator[Signal] | list[Signal]) -> dict[str, int]:
    """The rank of each post, 1 the best, by how much the crowd likes it."""
    factors = Fit(reactions_of(signals, BASIS.text_size), FitOptions(size=2)).run()
    order = np.argsort(-factors.known[:, -1], kind="stable").tolist()
    return {factors.posts[post]: rank for rank, post in enumerate(order, start=1)}


CROWD = list(readers())
RANKS = crowd_ranks(CROWD)
TARGET = next(post for post in range(POSTS) if RANKS[f"t/p{post}"] == 34)

SHARES: dict[str, Callable[[int], Signal]] = {
    "shares": lambda at: signal("bot", TARGET, "share", at),
    "shares from before there were decisions": lambda at: signal("bot", TARGET, "share", at, decided=False),
    "views": lambda at: signal("bot", TARGET, "dwell", at),
    "everything there is to say": lambda at: signal("bot", TARGET, KINDS_OF_LIKING[at % 5], at),
}


@pytest.mark.parametrize("name", SHARES)
def test_a_bot_with_ten_thousand_events_moves_a_post_by_a_few_crowd_ranks(name: str) -> None:
    moved = crowd_ranks([*CROWD, *map(SHARES[name], range(EVENTS))])
    assert RANKS[f"t/p{TARGET}"] == 34
    assert moved[f"t/p{TARGET}"] >= 34 - MOST_RANKS
    others = [post for post in RANKS if post != f"t/p{TARGET}"]
    assert max(abs(moved[post] - RANKS[post]) for post in others) <= MOST_RANKS


def test_a_reader_who_likes_and_unlikes_without_end_says_nothing() -> None:
    turns = [signal("bot", TARGET, "like", at) for at in range(EVENTS)]
    for turn in turns[1::2]:
        turn.withdraws, turn.weight = True, 0.0
    assert crowd_ranks([*CROWD, *turns]) == RANKS


def test_where_posts_lie_by_engagement_depends_on_readers_and_not_on_events() -> None:
    flood = [*CROWD, *map(SHARES["shares from before there were decisions"], range(EVENTS))]
    once = [*CROWD, SHARES["everything there is to say"](4)]
    places = [engagement_of(reactions_of(log, BASIS.text_size), seed=0) for log in (flood, once)]
    assert places[0] is not None
    assert places[1] is not None
    assert np.allclose(places[0] @ places[0].T, places[1] @ places[1].T, atol=1e-3)


def test_a_comparison_of_bases_counts_a_bot_as_one_reader() -> None:
    def verdict(signals: list[Signal]) -> str:
        given = reactions_of(signals, BASIS.text_size)
        texts = dict(zip(given.keys, given.text_features, strict=True))
        with pytest.raises(NotBetter) as refused:
            compared(BASIS, BASIS, given, texts, LearningSettings().prior_of)
        return str(refused.value)

    bot = [signal("bot", at % POSTS, "like" if at % POSTS % 3 else "skip", at) for at in range(EVENTS)]
    without, beside = (int(verdict(log).split()[3]) for log in (CROWD, [*CROWD, *bot]))
    assert beside == without + 1
