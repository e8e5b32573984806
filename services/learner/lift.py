"""Counters from which Prometheus computes the lift and its interval, which takes readers as the unit.

The reactions of one reader are alike, so they are no independent samples. If reader u has n_u reactions to an arm's
posts, l_u of them likes, then p = sum(l_u) / n with n = sum(n_u) is the liked share, a ratio estimate. Its variance is
sum((l_u - p n_u)^2) / n^2 = (sum(l_u^2) - 2 p sum(l_u n_u) + p^2 sum(n_u^2)) / n^2 (Cochran 1977, "Sampling
techniques", chapter 6). The three sums only grow and are additive over replicas, and so they are counters. Each day of
a reader counts as another reader.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from slop.arms import Arm
from slop.redis.profiles import User

MOST_A_DAY: Final = 20  # reactions of a reader to an arm's posts are counted
MOST_READERS: Final = 50_000  # pairs of reader and arm are remembered
DAY_MS: Final = 24 * 3600 * 1000

COUNTED: Final = Counter(
    "slop_learner_counted_reactions",
    f"Reactions to an arm's posts by what they say, of each reader {MOST_A_DAY} a day at most.",
    ["arm", "observed"],
)
PAIRS: Final = Counter(
    "slop_learner_counted_pairs",
    "Pairs of a reader's counted reactions of a day, itself included: both liked, a liked one and any, any two.",
    ["arm", "pair"],
)
for _arm in Arm:
    for _observed in ("liked", "not_liked"):
        COUNTED.labels(_arm, _observed)
    for _pair in ("liked", "liked_any", "any"):
        PAIRS.labels(_arm, _pair)


@dataclass(slots=True)
class _Tally:
    """The counted reactions of a reader to an arm's posts.

    Attributes:
        day: since the Unix epoch, UTC.
        reactions: n_u of that day.
        liked: l_u of that day.
    """

    day: int
    reactions: int = 0
    liked: int = 0


class Lift:
    """Counts reactions. Of too many readers those are forgotten whose last reaction is the oldest."""

    def __init__(self) -> None:
        self._tallies: OrderedDict[tuple[User, str], _Tally] = OrderedDict()

    def count(self, reactions: Iterable[tuple[User, str, bool]], now_ms: float) -> None:
        """Count reactions.

        Args:
            reactions: for each the reader, the arm that wrote its post for this reader (empty if none did), and whether
                it is a like.
            now_ms: the time, in milliseconds since the Unix epoch.
        """
        day = int(now_ms // DAY_MS)
        for user, arm, liked in reactions:
            if arm:
                self._count(self._tally(user, arm, day), arm, liked)

    def _tally(self, user: User, arm: str, day: int) -> _Tally:
        tally = self._tallies.pop((user, arm), None)
        if tally is None or tally.day != day:
            tally = _Tally(day)
        self._tallies[user, arm] = tally
        if len(self._tallies) > MOST_READERS:
            self._tallies.popitem(last=False)
        return tally

    def _count(self, tally: _Tally, arm: str, liked: bool) -> None:
        if tally.reactions >= MOST_A_DAY:
            return
        before = tally.reactions, tally.liked
        tally.reactions += 1
        tally.liked += liked
        COUNTED.labels(arm, "liked" if liked else "not_liked").inc()
        PAIRS.labels(arm, "liked").inc(tally.liked**2 - before[1] ** 2)
        PAIRS.labels(arm, "liked_any").inc(tally.liked * tally.reactions - before[0] * before[1])
        PAIRS.labels(arm, "any").inc(tally.reactions**2 - before[0] ** 2)
