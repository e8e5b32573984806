"""How arms' posts are liked, counted so that the lift and its interval are told by reader, not by reaction.

Of p, the share liked of n reactions of which a reader u has n_u and likes l_u, the variance is the sum of
(l_u - p n_u)^2 over readers by n^2 (Cochran 1977, chapter 6): reactions of a reader are alike. The sums of l_u^2,
l_u n_u and n_u^2 that it is made of only grow, so that they are counters, and replicas' add up. A reader counts anew
each day.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from slop.arms import Arm
from slop.redis.profiles import User

MOST_A_DAY: Final = 20  # reactions of a reader to an arm's posts that count
MOST_READERS: Final = 50_000  # that are remembered
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
    """A reader's counted reactions of a day to an arm's posts."""

    day: int
    reactions: int = 0
    liked: int = 0


class Lift:
    """Counts reactions; readers who were not heard of the longest are forgotten."""

    def __init__(self) -> None:
        self._tallies: OrderedDict[tuple[User, str], _Tally] = OrderedDict()

    def count(self, reactions: Iterable[tuple[User, str, bool]], now_ms: float) -> None:
        """Count reactions that were learned at `now_ms`: whose, to which arm's post (empty: none's), whether liked."""
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
