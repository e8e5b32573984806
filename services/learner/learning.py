"""One batch of signals into the profiles of its users, the same bytes however the signals were cut into batches."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog
from redis.exceptions import WatchError

from learner.deduplication import SignalFate, SignalJudge
from slop.basis import Basis
from slop.profiles import InvalidProfile, Prior, Profile, learned
from slop.recent import InvalidRecent, Recent, RememberedDecision, Window
from slop.redis.profiles import Profiles, StoredUser, User, Write
from slop.signals import RejectedRecord, SignalBatch
from slop.undoing import Taken, taken_back

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

NEUTRAL: Final = 0.5
TRIES: Final = 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LearnedSignals:
    """The signals of a batch that were learned.

    Attributes:
        received_ms: when each was received, without those that were parked before and say nothing of freshness.
        arms: of each that says like or dislike, not exactly between, which arm wrote its post for its reader; empty
            for none.
        liked: which of the two it says.
        predicted: the probability of a like, as it was believed before.
        readers: whose it is.
    """

    received_ms: list[int] = field(default_factory=list)
    arms: list[str] = field(default_factory=list)
    liked: list[bool] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    readers: list[User] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch's records: for each fate (`learner.deduplication.SignalFate`) how many signals.

    Attributes:
        signals: what was learned.
        other_basis: signals of another basis, which are nobody's fault.
        rejected: the records that can't be learned, in order.
        unremembered: of those that were applied before, how many are of events that are not remembered.
    """

    signals: LearnedSignals
    learned: int = 0
    applied_before: int = 0
    retried: int = 0
    superseded: int = 0
    withdrawn: int = 0
    other_basis: int = 0
    rejected: tuple[RejectedRecord, ...] = ()
    unremembered: int = 0


class _Turn(NamedTuple):
    """What a reader's next signal, a row of the batch, does to the latent: it takes back, is learned, or both."""

    reader: "_Reader"
    row: int
    taken_back: RememberedDecision | None
    learns: bool


@dataclass(slots=True)
class _Reader:
    """A user of the batch.

    Attributes:
        user: who.
        follows: the stored bytes of the profile before.
        profile: before.
        known: of the user's signals; it moves on with them.
        rows: of the user's signals in the batch.
        at: row of the user in the matrices of means and variances.
        next: the place in `rows` of the signal that comes next.
        fates: of the signals until then, row by row.
        learned_anew: how many of those learned replaced none.
    """

    user: User
    follows: bytes | None
    profile: Profile
    known: SignalJudge
    rows: list[int]
    at: int
    next: int = 0
    fates: list[SignalFate] = field(default_factory=list)
    learned_anew: int = 0

    def turn(self, batch: SignalBatch) -> _Turn | None:
        """Go on to the next signal that does something to the latent; None: there is none."""
        while self.next < len(self.rows):
            row = self.rows[self.next]
            self.next += 1
            fate, decision = self.known.judge(batch.signals[row])
            self.fates.append(fate)
            learns = fate is SignalFate.LEARNED
            self.learned_anew += learns and decision is None
            if learns or decision:
                return _Turn(self, row, decision, learns)
        return None

    def learned_rows(self) -> list[int]:
        """The rows of the signals that were learned."""
        return [row for row, fate in zip(self.rows, self.fates, strict=True) if fate is SignalFate.LEARNED]

    def write(self, mean: Floats, variance: Floats) -> Write:
        """What is to be stored of the user, whose latent is this one now."""
        known = self.known
        profile = self.profile.moved(
            mean,
            variance,
            signals=self.learned_anew,
            at_ms=known.newest_ms,
            applied=known.sources(),
            changes=known.changes,
        )
        return Write(self.user, self.follows, profile, known.recent.to_bytes())


class Learner:
    """Learns batches; every user's profile is read once, moved by the user's signals in order, and written once."""

    def __init__(self, profiles: Profiles, basis: Basis, prior: Prior, window_ms: int, seen_events: int = 512) -> None:
        """A learner under a basis.

        Args:
            profiles: of the basis.
            basis: what signals are of.
            prior: what is believed of a new reader.
            window_ms: for how long events and decisions are remembered.
            seen_events: so many events at most are remembered of a reader.
        """
        self._profiles, self._prior, self._window = profiles, prior, Window(window_ms, seen_events)
        self._version, self._size = basis.version, basis.feature_count
        self._newborn = Profile.new(self._version, prior)

    def learn(self, values: Sequence[bytes | None]) -> BatchOutcome:
        """Learn the signals of records, given as their values in the order of the topic.

        It may be repeated, in whole or record by record: what was learned already changes nothing. Where somebody else
        has learned signals of a user meanwhile, the user is read again.

        Raises:
            redis.exceptions.RedisError: Redis is away, or somebody else goes on writing the same users (WatchError);
                some of the profiles may have been written.
        """
        batch = SignalBatch.of(values, self._version, self._size)
        rows: dict[User, list[int]] = defaultdict(list)
        for row, signal in enumerate(batch.signals):
            rows[User(signal.tenant, signal.user_id)].append(row)
        predicted = np.full(len(batch.signals), np.nan)
        done: list[_Reader] = []
        for _ in range(TRIES):
            if not rows:
                return _outcome(done, batch, predicted)
            readers = self._readers(rows)
            refused = self._learned(readers, batch, predicted)
            done += [reader for reader in readers if reader.user not in refused]
            rows = defaultdict(list, {reader.user: reader.rows for reader in readers if reader.user in refused})
        raise WatchError(f"{len(rows)} profiles were written by somebody else {TRIES} times")

    def _readers(self, rows: Mapping[User, list[int]]) -> list[_Reader]:
        stored = self._profiles.read(list(rows))
        return [
            self._reader(user, found, rows[user], at) for at, (user, found) in enumerate(zip(rows, stored, strict=True))
        ]

    def _reader(self, user: User, stored: StoredUser, rows: list[int], at: int) -> _Reader:
        profile = self._profile(stored.profile)
        known = SignalJudge.of(profile, self._recent(stored), self._window)
        return _Reader(user, stored.profile, profile, known, rows, at)

    def _profile(self, data: bytes | None) -> Profile:
        if data is None:
            return self._newborn
        try:
            return Profile.from_bytes(data, self._prior.mean.size)
        except InvalidProfile as error:
            log.error("a stored profile is broken; its user starts anew", error=str(error))
            return self._newborn

    def _recent(self, stored: StoredUser) -> Recent:
        """What is remembered; nothing where there is no profile that it goes with."""
        blocks = len(self._prior.sizes)
        try:
            return Recent.from_bytes(stored.recent if stored.profile is not None else None, blocks)
        except InvalidRecent as error:
            log.error("what is remembered of a user is broken; nothing is", error=str(error))
            return Recent(blocks)

    def _learned(self, readers: list[_Reader], batch: SignalBatch, predicted: Doubles) -> set[User]:
        """Move and write readers; returns those whom somebody else has written meanwhile.

        What was predicted of signals is written into `predicted`, by row of the batch.
        """
        mean = np.stack([reader.profile.mean for reader in readers])
        variance = np.stack([reader.profile.variance for reader in readers])
        going = readers
        while turns := [turn for reader in going if (turn := reader.turn(batch))]:
            self._round(turns, batch, mean, variance, predicted)
            going = [turn.reader for turn in turns]
        changed = [reader for reader in readers if reader.known.changes]
        written = self._profiles.apply([reader.write(mean[reader.at], variance[reader.at]) for reader in changed])
        return {reader.user for reader, is_written in zip(changed, written, strict=True) if not is_written}

    def _round(
        self, turns: Sequence[_Turn], batch: SignalBatch, mean: Floats, variance: Floats, predicted: Doubles
    ) -> None:
        """Take one turn of each of some readers, in place."""
        if undone := [turn for turn in turns if turn.taken_back]:
            at, rows = _places(undone)
            taken = _taken(undone, len(self._prior.sizes))
            mean[at], variance[at] = taken_back(mean[at], variance[at], batch.features[rows], taken, self._prior)
        if learning := [turn for turn in turns if turn.learns]:
            at, rows = _places(learning)
            signals = batch.features[rows], batch.labels[rows], batch.weights[rows]
            mean[at], variance[at], beliefs = learned(mean[at], variance[at], *signals, self._prior)
            predicted[rows] = beliefs.probability[:, -1]
            pairs = np.stack(beliefs, axis=2).astype(np.float32).reshape(len(rows), -1)
            for turn, believed in zip(learning, pairs.tolist(), strict=True):
                turn.reader.known.learned(batch.signals[turn.row], tuple(believed))


def _places(turns: Iterable[_Turn]) -> tuple[list[int], list[int]]:
    """The turns' rows in the matrices, and in the batch."""
    return [turn.reader.at for turn in turns], [turn.row for turn in turns]


def _taken(turns: Iterable[_Turn], blocks: int) -> Taken:
    """What the turns take back; the readers know it from now on."""
    pairs = [(turn.reader.known, turn.taken_back) for turn in turns if turn.taken_back]
    beliefs = np.array([decision.beliefs for _, decision in pairs], np.float32).reshape(-1, blocks, 2)
    return Taken(
        label=np.array([decision.label for _, decision in pairs], np.float32),
        weight=np.array([decision.weight for _, decision in pairs], np.float32),
        probability=beliefs[:, :, 0],
        spread=beliefs[:, :, 1],
        since=np.array([known.take_back(decision) for known, decision in pairs], np.int64),
    )


def _outcome(readers: Sequence[_Reader], batch: SignalBatch, predicted: Doubles) -> BatchOutcome:
    rows = [row for reader in readers for row in reader.learned_rows()]
    told = [row for row in rows if batch.labels[row] != NEUTRAL]
    signals = LearnedSignals(
        received_ms=[batch.signals[row].received_at_ms for row in rows if not batch.signals[row].redelivered],
        arms=[batch.signals[row].arm for row in told],
        liked=(batch.labels[told] > NEUTRAL).tolist(),
        predicted=predicted[told].tolist(),
        readers=[User(batch.signals[row].tenant, batch.signals[row].user_id) for row in told],
    )
    fates = Counter(fate for reader in readers for fate in reader.fates)
    counts = {fate.value: fates[fate] for fate in SignalFate}
    unremembered = sum(reader.known.unremembered for reader in readers)
    return BatchOutcome(
        signals, **counts, other_basis=batch.other_basis, rejected=batch.rejected, unremembered=unremembered
    )
