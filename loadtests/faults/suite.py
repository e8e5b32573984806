"""Causes one fault after the other, and checks after each that nothing is lost or learned twice."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from kafka.errors import KafkaError
from redis.exceptions import RedisError

from loadtests.faults.asking import Asking
from loadtests.faults.faults import PARTS, Fault
from loadtests.faults.lab import Lab, late_post
from loadtests.faults.load import Event, Load, Sent
from loadtests.faults.outcome import Row
from loadtests.faults.profiles import Difference, difference, differing
from loadtests.faults.watch import LOOK_S, Watch, missing_from, until

LATE_READERS: Final = 2
WARM: Final = "warm"
SHOWN: Final = 3


class Suite:
    """Causes faults in a lab; remembers how many signals each reader's profile must have."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._settings = lab, lab.settings
        self._expected: dict[str, int] = {}

    def warm_up(self) -> float:
        """Wait until every known post can be reacted to and all services are ready; returns how long that took.

        Raises:
            TimeoutError: not in time.
        """
        began = time.monotonic()
        likes = [_like(WARM, post) for post in self._lab.posts]
        sent = self._sent_now(likes)
        with self._watch() as watch:
            ready = until(lambda: self._learned(_counts(sent)) and watch.all_ready(), self._settings.start_s)
            if ready is None:
                raise TimeoutError(f"not ready: {watch.not_ready() or 'the first likes are not learned'}")
        return time.monotonic() - began

    def skipped(self, number: int, fault: Fault) -> Row | None:
        """The row of a fault that can't be done here."""
        why = fault.obstacle(self._lab)
        return Row(number, fault.name, skipped=why) if why else None

    def round(self, number: int, fault: Fault) -> Row:
        """Send events, cause the fault, wait until all services are ready and all is learned, and compare.

        A post becomes known late: in some rounds just before the fault, in others after it, for each part both.
        """
        lab, settings = self._lab, self._settings
        load = Load(lab.stack.url("collector"), lab.posts, settings.events_per_s, seed=number)
        readers = [f"r{number}-{reader}" for reader in range(settings.readers)]
        late = [] if fault.drained else [f"late{number}-{reader}" for reader in range(LATE_READERS)]
        with (
            self._watch() as watch,
            Asking(lab.stack.url("generation"), lab.posts, WARM, lab.engine is not None) as asked,
        ):
            load.start(readers)
            _parked(load, late[:1], number, lab.posts)
            time.sleep(settings.load_s)
            _parked(load, late[1:], number, lab.posts)
            before = bool(number // len(PARTS) % 2) ^ bool(number % 2)
            if late and before:
                lab.register_late(number)
            if fault.drained:
                load.finish(settings.recover_s)
                until(
                    lambda: self._learned(_counts(load.sent)) and self._caught_up(_counts(load.sent)),
                    settings.recover_s,
                )
            watch.forget()
            with fault.during(lab):
                unsaid = _noticed(watch, fault, settings.notice_s)
            said = watch.said()
            healed = time.monotonic()
            if fault.drained:
                load.start([f"{reader}-after" for reader in readers])
            if late and not before:
                lab.register_late(number)
            time.sleep(settings.load_s)
            load.finish(settings.recover_s)
            expected = _counts(load.sent)
            ready_s, learned_s = self._recovered(watch, expected, healed)
            unready = watch.not_ready()
        self._expected |= expected
        found = self._compared(expected)
        wrong = [*load.sent.wrong, *asked.wrong, *unsaid, *self._ended()]
        wrong += [f"not ready again: {unready}"] if ready_s is None else []
        wrong += [lab.mirror.error] if lab.mirror.error else []
        return Row(
            number,
            fault.name,
            accepted=load.sent.total,
            silent=load.sent.silent,
            expected=found.expected,
            missing=found.missing,
            twice=found.twice,
            compared=len(expected),
            differing=list(found.differing),
            said={name: sorted(checks) for name, checks in said.items()},
            ready_s=ready_s,
            learned_s=learned_s,
            wrong=_short(wrong),
        )

    def at_the_end(self, number: int) -> Row:
        """The row for all rounds together: whether everything that was learned is still there, and no more."""
        found = self._compared(self._expected)
        return Row(
            number,
            "all rounds, at the end",
            accepted=found.expected,
            expected=found.expected,
            missing=found.missing,
            twice=found.twice,
            compared=len(self._expected),
            differing=list(found.differing),
            ready_s=0.0,
            learned_s=0.0,
            wrong=_short(self._ended()),
        )

    def _recovered(self, watch: Watch, expected: Mapping[str, int], healed: float) -> tuple[float | None, float | None]:
        """Wait; returns how long after the fault all services were ready, and all was learned; None: not in time."""
        ready_s = learned_s = None
        while time.monotonic() - healed < self._settings.recover_s and (ready_s is None or learned_s is None):
            if ready_s is None and watch.all_ready():
                ready_s = time.monotonic() - healed
            if learned_s is None and self._learned(expected):
                learned_s = time.monotonic() - healed
            time.sleep(LOOK_S)
        return ready_s, learned_s

    def _watch(self) -> Watch:
        return Watch(list(self._lab.stack.services.values()), without="" if self._lab.engine else "engine")

    def _sent_now(self, events: Sequence[Event]) -> Sent:
        load = Load(self._lab.stack.url("collector"), self._lab.posts, self._settings.events_per_s, seed=0)
        load.send_now(events)
        return load.sent

    def _learned(self, expected: Mapping[str, int]) -> bool:
        """Whether at least as much was learned as is expected; not while Redis is away."""
        with suppress(RedisError):
            learned = self._lab.stack.store.learned(list(expected))
            return all(learned[reader] >= count for reader, count in expected.items())
        return False

    def _caught_up(self, expected: Mapping[str, int]) -> bool:
        learned = self._lab.calm.store.learned(list(expected))
        return all(learned[reader] >= count for reader, count in expected.items())

    def _compared(self, expected: Mapping[str, int]) -> Difference:
        """Compare profiles with those of the calm stack, once it has learned all; late reactions in any order."""
        until(lambda: self._caught_up(expected), self._settings.recover_s)
        there, calm = (stack.store.profiles(list(expected)) for stack in (self._lab.stack, self._lab.calm))
        counts = {reader: profile.interactions for reader, profile in there.items()}
        return difference(expected, counts, differing(there, calm, list(expected), self._lab.mirror.redelivered))

    def _ended(self) -> list[str]:
        """Which processes ended by themselves; they are started again."""
        stack, told = self._lab.stack, []
        for name in stack.ended():
            told.append(f"{name} ended by itself")
            with suppress(RuntimeError, KafkaError):
                stack.server(name).start()
        return told


def _noticed(watch: Watch, fault: Fault, notice_s: float) -> list[str]:
    """Let the fault last until the readiness checks report it; returns what they did not report in time."""
    time.sleep(fault.lasts_s)
    until(lambda: not missing_from(watch.said(), fault.expects), notice_s)
    return missing_from(watch.said(), fault.expects)


def _parked(load: Load, late: Sequence[str], number: int, posts: Sequence[str]) -> None:
    """Send reactions to a post that is not known yet, between reactions to known ones."""
    for reader in late:
        load.send_now([_like(reader, posts[0]), _like(reader, late_post(number)), _like(reader, posts[1])])


def _like(reader: str, post: str) -> Event:
    return {"event_id": f"{reader} {post}", "user_id": reader, "post_id": post, "type": "like"}


def _counts(sent: Sent) -> dict[str, int]:
    """How many signals each reader has to have learned."""
    return {reader: len(ids) for reader, ids in sent.accepted.items()}


def _short(wrong: Sequence[str]) -> list[str]:
    """Each different message once, at most SHOWN of them."""
    different = list(dict.fromkeys(wrong))
    more = len(different) - SHOWN
    return different[:SHOWN] + ([f"and {more} more"] if more > 0 else [])
