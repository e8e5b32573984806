"""One batch of signals into the profiles of its users, the same bytes however the signals were cut into batches."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import structlog

from slop.basis import Basis
from slop.profiles import InvalidProfile, Prior, Profile, update
from slop.storage import Profiles, StoredUser, User, Write
from trainer.novelty import Seen
from trainer.signals import Batch

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

NEUTRAL: Final = 0.5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lessons:
    """The signals of a batch that were learned.

    Attributes:
        received_ms: when each was received.
        arms: of each that says like or dislike, not exactly between, which arm wrote its post for its reader; empty
            for none.
        liked: which of the two it says.
        predicted: the probability of a like, as it was believed before.
    """

    received_ms: list[int] = field(default_factory=list)
    arms: list[str] = field(default_factory=list)
    liked: list[bool] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch's signals: those that were learned, and the others in counts."""

    lessons: Lessons
    applied_before: int = 0
    retried: int = 0
    other_basis: int = 0
    refused: int = 0

    @property
    def learned(self) -> int:
        """How many signals were learned."""
        return len(self.lessons.received_ms)


@dataclass(slots=True)
class _Reader:
    """A user of the batch: the profile before, what is new (rows of the batch), and what was seen after."""

    user: User
    profile: Profile
    seen: Seen
    rows: list[int] = field(default_factory=list)


class Learner:
    """Learns batches; every user's profile is read once, moved by the user's signals in order, and written once."""

    def __init__(self, profiles: Profiles, basis: Basis, prior: Prior, window_ms: int) -> None:
        self._profiles, self._prior, self._window_ms = profiles, prior, window_ms
        self._version, self._size = basis.version, basis.feature_count
        self._newborn = Profile.new(self._version, prior)

    def learn(self, values: Sequence[bytes | None]) -> Outcome:
        """Learn the signals of records, given as their values in the order of the topic.

        It may be repeated: what was learned already changes nothing.

        Raises:
            redis.exceptions.RedisError: Redis is away; some of the profiles may have been written.
        """
        batch = Batch.of(values, self._version, self._size)
        readers = self._readers(batch)
        applied_before, retried = _sift(readers, batch)
        active = sorted((reader for reader in readers.values() if reader.rows), key=lambda r: -len(r.rows))
        lessons = self._learned(active, batch) if active else Lessons()
        return Outcome(lessons, applied_before, retried, batch.other_basis, batch.refused)

    def _learned(self, active: list[_Reader], batch: Batch) -> Lessons:
        """Move and write the profiles of readers, those with the most signals first."""
        mean, variance, predicted = self._moved(active, batch)
        self._profiles.apply(_writes(active, batch, mean, variance))
        rows = [row for reader in active for row in reader.rows]
        told = [row for row in rows if batch.labels[row] != NEUTRAL]
        return Lessons(
            received_ms=[batch.signals[row].received_at_ms for row in rows],
            arms=[batch.signals[row].arm for row in told],
            liked=(batch.labels[told] > NEUTRAL).tolist(),
            predicted=predicted[told].tolist(),
        )

    def _readers(self, batch: Batch) -> dict[User, _Reader]:
        asked: dict[User, list[str]] = defaultdict(list)
        for signal in batch.signals:
            asked[User(signal.tenant, signal.user_id)].append(signal.event_id)
        stored = self._profiles.read(list(asked.items())) if asked else []
        return {
            user: self._reader(user, events, found) for (user, events), found in zip(asked.items(), stored, strict=True)
        }

    def _reader(self, user: User, events: list[str], stored: StoredUser) -> _Reader:
        profile = self._profile(stored.profile)
        return _Reader(user, profile, Seen.of(profile, self._window_ms, zip(events, stored.seen, strict=True)))

    def _profile(self, data: bytes | None) -> Profile:
        if data is None:
            return self._newborn
        try:
            return Profile.from_bytes(data, self._prior.mean.size)
        except InvalidProfile as error:
            log.error("a stored profile is broken; its user starts anew", error=str(error))
            return self._newborn

    def _moved(self, active: list[_Reader], batch: Batch) -> tuple[Floats, Floats, Doubles]:
        """Means and variances after all signals, a reader a row, and what was predicted of each signal of the batch."""
        predicted = np.full(len(batch.signals), np.nan)
        mean = np.stack([reader.profile.mean for reader in active])
        variance = np.stack([reader.profile.variance for reader in active])
        # Readers come with the most signals first, so those who take part in a round are the first so many.
        for turn in range(len(active[0].rows)):
            rows = [reader.rows[turn] for reader in active if len(reader.rows) > turn]
            part = slice(0, len(rows))
            mean[part], variance[part], predicted[rows] = update(
                mean[part], variance[part], batch.features[rows], batch.labels[rows], batch.weights[rows], self._prior
            )
        return mean, variance, predicted


def _sift(readers: dict[User, _Reader], batch: Batch) -> tuple[int, int]:
    """Give every reader the rows that are new; returns how many were applied before, and how many were retries."""
    applied_before = retried = 0
    for row, signal in enumerate(batch.signals):
        reader = readers[User(signal.tenant, signal.user_id)]
        if reader.seen.was_applied(signal):
            applied_before += 1
        elif reader.seen.was_retried(signal):
            retried += 1
        else:
            reader.seen.learn(signal)
            reader.rows.append(row)
    return applied_before, retried


def _writes(active: list[_Reader], batch: Batch, mean: Floats, variance: Floats) -> list[Write]:
    return [_write(reader, batch, mean[at], variance[at]) for at, reader in enumerate(active)]


def _write(reader: _Reader, batch: Batch, mean: Floats, variance: Floats) -> Write:
    seen = reader.seen
    learned = [batch.signals[row] for row in reader.rows]
    profile = reader.profile.moved(
        mean,
        variance,
        signals=len(learned),
        at_ms=seen.newest_ms,
        partition=seen.partition,
        offset=seen.offset,
    )
    return Write(reader.user, profile, tuple((signal.received_at_ms, signal.event_id) for signal in learned))
