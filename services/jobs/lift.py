"""`python -m jobs lift`: the lift of every arm over the control, from the sums that the learner keeps in Redis."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from redis.exceptions import RedisError

from jobs.redis_clients import connected
from jobs.settings import JobsSettings
from slop.lift import ArmOfExperiment, LiftSums, lifts
from slop.redis.lift import read_lift

_TITLES = ("experiment", "arm", "readers", "reactions", "liked", "lift", "95% interval")


@dataclass(frozen=True, slots=True)
class LiftRow:
    """An arm of an experiment; the lift and its interval are None for the control.

    Attributes:
        experiment: empty outside of any.
        arm: the arm.
        readers: how many reacted, counted by day: who reacts on three days counts three times.
        reactions: that were counted, at most 20 a day of each reader.
        liked: the share of reactions that are likes; None without any reaction.
        lift: the arm's share less the control's, as `slop.lift` estimates it.
        low: lower end of its 95% interval.
        high: upper end of it.
    """

    experiment: str
    arm: str
    readers: int
    reactions: int
    liked: float | None
    lift: float | None
    low: float | None
    high: float | None


def rows(sums: Mapping[ArmOfExperiment, LiftSums]) -> Iterator[LiftRow]:
    """One for each arm, by experiment."""
    lift_of = dict(lifts(sums))
    for at in sorted(sums):
        counted = sums[at]
        reactions = counted.liked + counted.not_liked
        liked = counted.liked / reactions if reactions else None
        told = lift_of.get(at) or (None, None, None)
        yield LiftRow(*at, counted.readers, reactions, liked, *told)


def run(settings: JobsSettings, *, as_json: bool) -> None:
    """Print the lift as a table, or as JSON."""
    try:
        with connected(settings.redis_url, settings) as redis:
            told = list(rows(read_lift(redis, settings.tenant)))
    except RedisError as error:
        sys.exit(f"lift: {error}")
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in told]) + "\n")
    elif told:
        sys.stdout.write(table(told))
    else:
        sys.stdout.write("no reaction to a post of any arm was counted yet\n")


def table(told: list[LiftRow]) -> str:
    """Rows for people, under titles."""
    lines = [_TITLES, *map(_cells, told)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_TITLES))]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def _cells(row: LiftRow) -> tuple[str, ...]:
    liked = "" if row.liked is None else f"{row.liked:.1%}"
    lift = "control" if row.lift is None else f"{row.lift:+.1%}"
    interval = "" if row.low is None or row.high is None else f"{row.low:+.1%} to {row.high:+.1%}"
    return (row.experiment or "(none)", row.arm, str(row.readers), str(row.reactions), liked, lift, interval)
