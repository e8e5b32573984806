"""Counting reactions for the lift (`slop.lift`): for Prometheus, and in Redis for good.

The sums of several replicas are added up, and so they are counters.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter
from redis import Redis
from redis.exceptions import RedisError

from slop.arms import CONTROL, Arm
from slop.lift import ArmOfExperiment, LiftSums
from slop.redis.lift import add_lift
from slop.redis.profiles import User

MOST_A_DAY: Final = 20  # reactions of a reader to an arm's posts that are counted, at most
MOST_READERS: Final = 50_000  # readers' tallies that are remembered, at most
DAY_MS: Final = 24 * 3600 * 1000

COUNTED: Final = Counter(
    "slop_learner_counted_reactions",
    f"Reactions to an arm's posts by what they say, of each reader {MOST_A_DAY} a day at most.",
    ["arm", "experiment", "observed"],
)
PAIRS: Final = Counter(
    "slop_learner_counted_pairs",
    "Pairs of a reader's counted reactions of a day, itself included: both liked, a liked one and any, any two.",
    ["arm", "experiment", "pair"],
)
_ARMS: Final = frozenset(map(str, Arm))

log = structlog.get_logger(__name__)


class Reaction(NamedTuple):
    """A learned reaction.

    Attributes:
        reader: whose it is.
        at: the arm that wrote the post for this reader, and its experiment; without an arm if none did.
        liked: whether it is a like.
    """

    reader: User
    at: ArmOfExperiment
    liked: bool


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


class LiftCounter:
    """Counts reactions. Beyond MOST_READERS tallies, the one whose last reaction is the oldest is forgotten."""

    def __init__(self) -> None:
        self._tallies: OrderedDict[tuple[User, ArmOfExperiment], _Tally] = OrderedDict()
        self._kept: dict[str, dict[ArmOfExperiment, LiftSums]] = {}

    def count(self, reactions: Iterable[Reaction], now_ms: float) -> None:
        """Count reactions. Those to posts of no arm, or of an arm of another release, say nothing of the lift.

        Args:
            reactions: that were learned.
            now_ms: the time, in milliseconds since the Unix epoch.
        """
        day = int(now_ms // DAY_MS)
        for reader, at, liked in reactions:
            if at.arm in _ARMS:
                self._count(reader, at, liked, day)

    def keep(self, redis: Redis) -> None:
        """Add to the sums in Redis what was counted since the last time; without Redis, it is kept until the next."""
        for tenant in list(self._kept):
            try:
                add_lift(redis, tenant, self._kept[tenant])
            except RedisError as error:
                log.warning("the lift's sums are not written yet", error=f"{type(error).__name__}: {error}")
                return
            del self._kept[tenant]

    def _count(self, reader: User, at: ArmOfExperiment, liked: bool, day: int) -> None:
        tally = self._tally(reader, at, day)
        if tally.reactions >= MOST_A_DAY:
            return
        n, likes = tally.reactions, tally.liked
        tally.reactions += 1
        tally.liked += liked
        more = LiftSums(
            readers=int(n == 0),
            liked=int(liked),
            not_liked=int(not liked),
            liked_pairs=tally.liked**2 - likes**2,
            liked_any_pairs=tally.liked * tally.reactions - likes * n,
            any_pairs=tally.reactions**2 - n**2,
        )
        _show(at, more)
        kept = self._kept.setdefault(reader.tenant, {})
        kept[at] = kept.get(at, LiftSums()) + more

    def _tally(self, reader: User, at: ArmOfExperiment, day: int) -> _Tally:
        tally = self._tallies.pop((reader, at), None)
        if tally is None or tally.day != day:
            tally = _Tally(day)
        self._tallies[reader, at] = tally
        if len(self._tallies) > MOST_READERS:
            self._tallies.popitem(last=False)
        return tally


def _show(at: ArmOfExperiment, more: LiftSums) -> None:
    """Count for Prometheus. With the first reaction in an experiment, the control has its series there too."""
    _series(at._replace(arm=CONTROL), LiftSums())
    _series(at, more)


def _series(at: ArmOfExperiment, more: LiftSums) -> None:
    experiment, arm = at
    COUNTED.labels(arm, experiment, "liked").inc(more.liked)
    COUNTED.labels(arm, experiment, "not_liked").inc(more.not_liked)
    PAIRS.labels(arm, experiment, "liked").inc(more.liked_pairs)
    PAIRS.labels(arm, experiment, "liked_any").inc(more.liked_any_pairs)
    PAIRS.labels(arm, experiment, "any").inc(more.any_pairs)


for _arm in (Arm.SOFT, CONTROL):
    _series(ArmOfExperiment("", _arm), LiftSums())
