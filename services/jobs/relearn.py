"""Learning all readers anew under the live basis: from the log, or from a snapshot and the log after it.

It is a rollout (`jobs.rollout`) of the live basis to itself. A copy of the basis' folder is marked as another
relearning. That makes it another version, with keys, consumer groups and signals of its own. The running featurizer and
learner learn it from the log, while readers are still answered from the live one; texts of posts are read again from
their topic. When it has caught up, it becomes the live one, and what was learned before is deleted. If it is
interrupted, another call goes on where it was.
"""

import shutil
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final, cast

from redis import Redis

from jobs.catching_up import Say
from jobs.rollout import Rollout, RolloutRefused, only_rollout
from jobs.settings import JobsSettings
from jobs.snapshot_file import InvalidSnapshot, read_snapshot
from jobs.snapshots import restore_snapshot, snapshots
from slop.basis import RELEARNING_FILE, Basis
from slop.kafka.group_lag import GroupLag
from slop.kafka.outbox import Outbox
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import INTERACTIONS, SIGNALS, encode, key_of
from slop.redis.parked import published_again
from slop.redis.profiles import ProfileArchive
from slop.rollout.live import BasisRef, groups_of
from slop.v1.interaction_pb2 import Interaction

UNDER_WAY: Final = "slop:relearning"
"""The key of the name of the relearning that is being prepared and not live yet."""
NEWEST: Final = "newest"


def relearn(settings: JobsSettings, snapshot: str, say: Say) -> BasisRef:
    """Learn all readers anew, and switch to what was learned; returns what is live then.

    Args:
        settings: where everything is.
        snapshot: to begin with: a file, or NEWEST for the newest good one; empty: everything comes from the log.
        say: told of the progress.

    Raises:
        slop.basis.InvalidBasis: there is no usable basis.
        jobs.rollout.RolloutRefused: a rollout is under way, or there is no such snapshot.
        jobs.rollout.RolloutFailed: it was not followed, or did not catch up in time; begun again, it goes on.
        redis.exceptions.RedisError, kafka.errors.KafkaError, OSError: a server is away, or the disk is full.
    """
    with only_rollout(settings) as rollout:
        live = rollout.live()
        folder = _unfinished(settings, rollout.redis, live.load())
        if folder is None:
            chosen = _chosen(settings, live.load(), snapshot) if snapshot else None
            folder = _another_relearning(settings, live)
            _prepare(settings, rollout, Basis.load(folder), chosen, say)
            rollout.redis.set(UNDER_WAY, folder.name)
        else:
            say(f"going on with {folder.name}, which was begun before")
        ref = rollout.anew(BasisRef.of(folder), say)
        rollout.redis.delete(UNDER_WAY)
        return ref


def _unfinished(settings: JobsSettings, redis: Redis, live: Basis) -> Path | None:
    """The relearning of the live basis that was begun and is not live; a Redis that was emptied knows of none."""
    name = (cast("bytes | None", redis.get(UNDER_WAY)) or b"").decode()
    folder = settings.bases_dir / name
    begun = name.partition(".")[0] == live.content_version and name != live.version
    return folder if begun and folder.is_dir() else None


def _another_relearning(settings: JobsSettings, live: BasisRef) -> Path:
    """A copy of the live basis that is another relearning; its name is the time, so that no name comes twice."""
    basis, relearning = live.load(), f"{time.time_ns() // 1_000_000:x}"
    folder = settings.bases_dir / f"{basis.content_version}.{relearning}"
    shutil.copytree(live.folder, folder)
    (folder / RELEARNING_FILE).write_text(relearning + "\n")
    return folder


def _chosen(settings: JobsSettings, live: Basis, name: str) -> Path:
    """The file of the snapshot to begin with; it has been read to its end.

    Raises:
        jobs.rollout.RolloutRefused: there is none.
    """
    if name != NEWEST:
        candidates = [Path(name)]
    else:
        candidates = [one.path for one in snapshots(settings.snapshots_dir, live.content_version, every=True)]
    for path in candidates:
        try:
            header, users = read_snapshot(path)
            if header.basis.partition(".")[0] == live.content_version and sum(1 for _ in users) > 0:
                return path
        except (InvalidSnapshot, OSError) as error:
            if name != NEWEST:
                raise RolloutRefused(f"no snapshot to begin with: {error}") from error
    raise RolloutRefused(f"{name}: no whole snapshot of the basis {live.content_version} with profiles in it")


def _prepare(settings: JobsSettings, rollout: Rollout, basis: Basis, snapshot: Path | None, say: Say) -> None:
    """Have a new relearning begin with a snapshot and the log after it, or with nothing and the whole log."""
    groups = groups_of(basis, rollout.configured, settings)
    with closing(GroupLag(settings, groups.signals, SIGNALS)) as signals:
        signals.skip()  # the signals in the topic now are of other relearnings
    if snapshot is None:
        say(f"{basis.version} begins with the log")
        return
    header, _ = read_snapshot(snapshot)
    archive = ProfileArchive(rollout.redis, basis.version, 1_000 * settings.seen_window_s)
    stored, _ = restore_snapshot(snapshot, archive, basis.version, replace=True, each=rollout.keep)
    with closing(GroupLag(settings, groups.interactions, INTERACTIONS)) as interactions:
        interactions.begin_at(header.taken_at_ms - round(1_000 * settings.relearn_margin_s))
    _publish_parked(settings, map(Interaction.FromString, header.parked))
    say(f"{basis.version} begins with {stored:,} profiles of {snapshot.name} and the log after it")


def _publish_parked(settings: JobsSettings, parked: Iterable[Interaction]) -> None:
    """Publish interactions again that were parked when a snapshot was taken: Redis may have lost them since.

    In the log they stand before interactions that the profiles have applied, so from there they would be taken for
    replays. If one was published again already, because its post came, the learner knows its event id.
    """
    outbox = Outbox(settings)
    try:
        again = map(published_again, parked)
        outbox.publish([ProducerRecord(INTERACTIONS, key_of(one), encode(one)) for one in again])
    finally:
        outbox.close()
