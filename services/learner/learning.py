"""The learner: applies batches of signals to the profiles of their readers.

A profile depends only on the reader's signals and their order: however they are cut into batches, its bytes are the
same.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog
from redis.exceptions import WatchError

from learner.deduplication import NEUTRAL, SignalFate, SignalJudge
from slop.basis import Basis
from slop.latent import Prior, learned
from slop.profiles import InvalidProfile, Profile
from slop.recent import InvalidRecent, Recent, RememberedDecision, Window
from slop.redis.profiles import Profiles, StoredUser, User, Write
from slop.signals import RejectedRecord, SignalBatch
from slop.undoing import RememberedSignals, undone

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

TRIES: Final = 20  # of writing a profile that another process writes too

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LearnedSignals:
    """The signals of a batch that were learned, for metrics.

    Attributes:
        received_ms: when the collector received each of them, in milliseconds since the Unix epoch, without those that
            were parked: they say nothing of freshness.
        arms: for each signal whose label is not NEUTRAL, as in the lists below, the arm that wrote its post for its
            reader; empty if none did.
        experiments: that had assigned these arms; empty if none did.
        liked: whether its label is above NEUTRAL.
        predicted: the probability of a like that was predicted before it was learned.
        readers: whose signal it is.
    """

    received_ms: list[int] = field(default_factory=list)
    arms: list[str] = field(default_factory=list)
    experiments: list[str] = field(default_factory=list)
    liked: list[bool] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    readers: list[User] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch of records.

    Attributes:
        signals: those that were learned.
        learned: how many signals had the fate of this name (`learner.deduplication.SignalFate`).
        applied_before: likewise.
        retried: likewise.
        superseded: likewise.
        withdrawn: likewise.
        other_basis: how many signals were of another basis. That is no fault.
        rejected: the records that can't be learned, in order.
        unremembered: how many of `applied_before` are signals of events that are not remembered.
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
    """What one signal does to its reader's latent.

    Attributes:
        reader: whose signal it is.
        row: of the signal in the batch.
        undone: the decision that it has undone, if any.
        learns: whether it is learned, after that.
    """

    reader: "_Reader"
    row: int
    undone: RememberedDecision | None
    learns: bool


@dataclass(slots=True)
class _Reader:
    """A reader who has signals in the batch.

    Attributes:
        user: whose profile it is.
        follows: the stored bytes of the profile before the batch; None if there was none.
        profile: before the batch.
        judge: of the reader's signals; its state changes with each of them.
        rows: the rows of the reader's signals in the batch.
        at: the reader's row in the matrices of means and variances.
        next: index in `rows` of the signal that comes next.
        fates: of the signals before it.
        learned_anew: how many of them were learned without replacing another.
    """

    user: User
    follows: bytes | None
    profile: Profile
    judge: SignalJudge
    rows: list[int]
    at: int
    next: int = 0
    fates: list[SignalFate] = field(default_factory=list)
    learned_anew: int = 0

    def turn(self, batch: SignalBatch) -> _Turn | None:
        """Go on to the next signal that changes the latent; None if there is none."""
        while self.next < len(self.rows):
            row = self.rows[self.next]
            self.next += 1
            fate, decision = self.judge.judge(batch.signals[row])
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
        """What is to be stored, given the (D,) float32 mean and variance after the batch."""
        judge = self.judge
        profile = self.profile.moved(
            mean,
            variance,
            signals=self.learned_anew,
            at_ms=judge.newest_ms,
            applied=judge.sources(),
            changes=judge.changes,
        )
        return Write(self.user, self.follows, profile, judge.recent.to_bytes())


class Learner:
    """Learns batches of signals under one basis.

    In each batch, the profile of every reader is read once, changed by the reader's signals in order, and written once.
    """

    def __init__(self, profiles: Profiles, basis: Basis, prior: Prior, window_ms: int, seen_events: int = 512) -> None:
        """A learner under a basis.

        Args:
            profiles: of the basis.
            basis: whose signals are learned.
            prior: of readers without a profile.
            window_ms: how long events and decisions are remembered, in milliseconds.
            seen_events: how many events of a reader are remembered at most.
        """
        self._profiles, self._prior, self._window = profiles, prior, Window(window_ms, seen_events)
        self._version, self._size = basis.version, basis.feature_count
        self._newborn = Profile.new(self._version, prior)

    def learn(self, values: Sequence[bytes | None]) -> BatchOutcome:
        """Learn the signals of records.

        It may be called again with the same records, or with some of them: what was learned already changes nothing.
        If another process has written a reader's profile meanwhile, that reader's signals are learned again from the
        profile that is stored now.

        Args:
            values: the records' values, in the order of the topic.

        Raises:
            redis.exceptions.RedisError: Redis is away. Some of the profiles may have been written.
            redis.exceptions.WatchError: other processes have written the same profiles TRIES times. As above.
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
            again = self._learned(readers, batch, predicted)
            done += [reader for reader in readers if reader.user not in again]
            rows = defaultdict(list, {reader.user: reader.rows for reader in readers if reader.user in again})
        raise WatchError(f"{len(rows)} profiles were written by somebody else {TRIES} times")

    def forget(self, values: Sequence[bytes | None]) -> None:
        """Delete the profiles of the readers whose signals these records are.

        Raises:
            redis.exceptions.RedisError: Redis is away; the call may be repeated.
        """
        signals = SignalBatch.of(values, self._version, self._size).signals
        self._profiles.delete({User(signal.tenant, signal.user_id) for signal in signals})

    def _readers(self, rows: Mapping[User, list[int]]) -> list[_Reader]:
        stored = self._profiles.read(list(rows))
        return [
            self._reader(user, found, rows[user], at) for at, (user, found) in enumerate(zip(rows, stored, strict=True))
        ]

    def _reader(self, user: User, stored: StoredUser, rows: list[int], at: int) -> _Reader:
        profile = self._profile(stored.profile)
        judge = SignalJudge.of(profile, self._recent(stored), self._window)
        return _Reader(user, stored.profile, profile, judge, rows, at)

    def _profile(self, data: bytes | None) -> Profile:
        if data is None:
            return self._newborn
        try:
            return Profile.from_bytes(data, self._prior.mean.size)
        except InvalidProfile as error:
            log.error("a stored profile is broken; its user starts anew", error=str(error))
            return self._newborn

    def _recent(self, stored: StoredUser) -> Recent:
        """What is remembered of a reader: nothing if there is no profile, or if the bytes are broken."""
        blocks = len(self._prior.sizes)
        try:
            return Recent.from_bytes(stored.recent if stored.profile is not None else None, blocks)
        except InvalidRecent as error:
            log.error("what is remembered of a user is broken; nothing is", error=str(error))
            return Recent(blocks)

    def _learned(self, readers: list[_Reader], batch: SignalBatch, predicted: Doubles) -> set[User]:
        """Learn the signals of readers and write their profiles.

        Args:
            readers: whose signals are learned.
            batch: N signals.
            predicted: (N,) float64, into which the predicted probability of each learned signal is written.

        Returns:
            the readers whose profiles another process has written meanwhile, and that were not written here.
        """
        mean = np.stack([reader.profile.mean for reader in readers])
        variance = np.stack([reader.profile.variance for reader in readers])
        going = readers
        while turns := [turn for reader in going if (turn := reader.turn(batch))]:
            self._round(turns, batch, mean, variance, predicted)
            going = [turn.reader for turn in turns]
        changed = [reader for reader in readers if reader.judge.changes]
        written = self._profiles.apply([reader.write(mean[reader.at], variance[reader.at]) for reader in changed])
        return {reader.user for reader, is_written in zip(changed, written, strict=True) if not is_written}

    def _round(
        self, turns: Sequence[_Turn], batch: SignalBatch, mean: Floats, variance: Floats, predicted: Doubles
    ) -> None:
        """Apply one signal of each of some readers; mean and variance, (readers, D), are changed in place."""
        if undoing := [turn for turn in turns if turn.undone]:
            at, rows = _rows(undoing)
            remembered = _remembered(undoing, len(self._prior.sizes))
            mean[at], variance[at] = undone(mean[at], variance[at], batch.features[rows], remembered, self._prior)
        if learning := [turn for turn in turns if turn.learns]:
            at, rows = _rows(learning)
            signals = batch.features[rows], batch.labels[rows], batch.weights[rows]
            mean[at], variance[at], beliefs = learned(mean[at], variance[at], *signals, self._prior)
            predicted[rows] = beliefs.probability[:, -1]
            pairs = np.stack(beliefs, axis=2).astype(np.float32).reshape(len(rows), -1)
            for turn, believed in zip(learning, pairs.tolist(), strict=True):
                turn.reader.judge.learned(batch.signals[turn.row], tuple(believed))


def _rows(turns: Iterable[_Turn]) -> tuple[list[int], list[int]]:
    """The rows of the turns' readers in the matrices, and of their signals in the batch."""
    return [turn.reader.at for turn in turns], [turn.row for turn in turns]


def _remembered(turns: Iterable[_Turn], blocks: int) -> RememberedSignals:
    """What is remembered of the signals that the turns undo; the readers' judges then hold them for undone."""
    pairs = [(turn.reader.judge, turn.undone) for turn in turns if turn.undone]
    beliefs = np.array([decision.beliefs for _, decision in pairs], np.float32).reshape(-1, blocks, 2)
    return RememberedSignals(
        label=np.array([decision.label for _, decision in pairs], np.float32),
        weight=np.array([decision.weight for _, decision in pairs], np.float32),
        probability=beliefs[:, :, 0],
        spread=beliefs[:, :, 1],
        since=np.array([judge.undo(decision) for judge, decision in pairs], np.int64),
    )


def _outcome(readers: Sequence[_Reader], batch: SignalBatch, predicted: Doubles) -> BatchOutcome:
    rows = [row for reader in readers for row in reader.learned_rows()]
    told = [row for row in rows if batch.labels[row] != NEUTRAL]
    signals = LearnedSignals(
        received_ms=[batch.signals[row].received_at_ms for row in rows if not batch.signals[row].redelivered],
        arms=[batch.signals[row].arm for row in told],
        experiments=[batch.signals[row].experiment for row in told],
        liked=(batch.labels[told] > NEUTRAL).tolist(),
        predicted=predicted[told].tolist(),
        readers=[User(batch.signals[row].tenant, batch.signals[row].user_id) for row in told],
    )
    fates = Counter(fate for reader in readers for fate in reader.fates)
    counts = {fate.value: fates[fate] for fate in SignalFate}
    unremembered = sum(reader.judge.unremembered for reader in readers)
    return BatchOutcome(
        signals, **counts, other_basis=batch.other_basis, rejected=batch.rejected, unremembered=unremembered
    )
