"""The commands for people: do a job now, restore a snapshot, roll a basis out, go back, relearn."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from celery.exceptions import TimeoutError as NotDone
from kafka.errors import KafkaError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobs.app import app
from jobs.catching_up import RolloutFailed
from jobs.redis_clients import live_archive
from jobs.relearn import relearn as learn_anew
from jobs.rollout import RolloutRefused, cancel, folder_of, roll_back, roll_out
from jobs.settings import JobsSettings
from jobs.snapshot_file import InvalidSnapshot, read_snapshot
from jobs.snapshots import restore_snapshot
from jobs.tasks import PROGRESS
from slop.basis import InvalidBasis
from slop.kafka.topics import SIGNALS
from slop.rollout.live import BasisRef, groups_of

POLL_S: Final = 1.0


def run(job: str, options: dict[str, Any]) -> None:
    """Send a job, tell its progress, and print its result as JSON; the job goes on if this process ends."""
    try:
        result = app.tasks[job].apply_async(kwargs=options, ignore_result=False)
        _say(f"{job} {result.id}")
        _follow(result)
    except (OperationalError, RedisError) as error:
        sys.exit(f"run: {error}")
    if result.failed():
        sys.exit(f"{job} failed: {result.result}")
    sys.stdout.write(json.dumps(result.result) + "\n")


def _follow(result: Any) -> None:
    said = ""
    while not result.ready():
        try:
            result.get(timeout=POLL_S, propagate=False)
        except NotDone:
            if (state := _state(result)) != said:
                _say(said := state)


def restore(settings: JobsSettings, path: Path, replace: bool) -> None:
    """Store the profiles of a snapshot, and say what is left to do."""
    try:
        with live_archive(settings) as (archive, basis):
            configured = BasisRef.of(settings.basis_dir).version
            stored, total = restore_snapshot(path, archive, basis.version, replace)
        taken_at_ms = read_snapshot(path)[0].taken_at_ms
    except (InvalidBasis, InvalidSnapshot, RedisError, OSError) as error:
        sys.exit(f"restore: {error}")
    sys.stdout.write(json.dumps({"stored": stored, "in_file": total, "taken_at_ms": taken_at_ms}) + "\n")
    group = groups_of(basis, configured, settings).signals
    since = datetime.fromtimestamp(taken_at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "")
    _say(
        f"To learn again what came after it, set {group} back before the learner starts: "
        f"kafka-consumer-groups.sh --bootstrap-server … --group {group} --topic {SIGNALS.name} "
        f"--reset-offsets --to-datetime {since} --execute. What a profile has learned already is passed over. "
        "`python -m jobs relearn --snapshot` does all of it, with readers served meanwhile."
    )


def rollout(settings: JobsSettings, basis: str, *, anyway: bool) -> None:
    """Roll a basis out, tell the progress, and print what is live."""
    _rolled("rollout", lambda: roll_out(settings, folder_of(basis, settings), _say, anyway=anyway))


def cancel_rollout(settings: JobsSettings) -> None:
    """Stop following every basis but the live one, and print what is live."""
    _rolled("rollout", lambda: cancel(settings, _say))


def rollback(settings: JobsSettings) -> None:
    """Go back, tell the progress, and print what is live."""
    _rolled("rollback", lambda: roll_back(settings, _say))


def relearn(settings: JobsSettings, snapshot: str) -> None:
    """Learn all readers anew, tell the progress, and print what is live."""
    _rolled("relearn", lambda: learn_anew(settings, snapshot, _say))


def _rolled(command: str, roll: Callable[[], BasisRef]) -> None:
    try:
        live = roll()
    except (InvalidBasis, RolloutRefused, RolloutFailed, RedisError, KafkaError, OSError) as error:
        sys.exit(f"{command}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{command}: interrupted; begun again, it goes on from there")
    sys.stdout.write(json.dumps({"basis": live.version, "folder": live.folder}) + "\n")
    _say(f"So that it is live even after Redis has lost everything, set SLOP_BASIS_DIR={live.folder}")


def _state(result: Any) -> str:
    state = result.state
    return str(result.info["progress"]) if state == PROGRESS else str(state).lower()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
