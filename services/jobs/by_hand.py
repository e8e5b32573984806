"""What a person does by hand: have a job done now, restore a snapshot."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from celery.exceptions import TimeoutError as NotDone
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobs.app import app
from jobs.redis_clients import profile_archive
from jobs.settings import JobsSettings
from jobs.snapshot_file import InvalidSnapshot, read_snapshot
from jobs.snapshots import restore_snapshot
from jobs.tasks import PROGRESS
from slop.basis import Basis, InvalidBasis
from slop.topics import LEARNER_GROUP, SIGNALS

POLL_S: Final = 1.0


def run(job: str, options: dict[str, Any]) -> None:
    """Send a job, tell its progress, and print its result as JSON; it goes on if this process ends."""
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
        basis = Basis.load(settings.basis_dir).version
        with profile_archive(settings, basis) as archive:
            stored, total = restore_snapshot(path, archive, basis, replace)
        taken_at_ms = read_snapshot(path)[0].taken_at_ms
    except (InvalidBasis, InvalidSnapshot, RedisError, OSError) as error:
        sys.exit(f"restore: {error}")
    sys.stdout.write(json.dumps({"stored": stored, "in_file": total, "taken_at_ms": taken_at_ms}) + "\n")
    since = datetime.fromtimestamp(taken_at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "")
    _say(
        f"To learn again what came after it, set {LEARNER_GROUP} back before the learner starts: "
        f"kafka-consumer-groups.sh --bootstrap-server … --group {LEARNER_GROUP} --topic {SIGNALS.name} "
        f"--reset-offsets --to-datetime {since} --execute. What a profile has learned already is passed over."
    )


def _state(result: Any) -> str:
    state = result.state
    return str(result.info["progress"]) if state == PROGRESS else str(state).lower()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
