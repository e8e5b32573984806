"""Building a basis as a job: it runs commands of `training`, each in a process of its own.

Prompts are built by `training.basis` and, where the settings ask for style × subject prompts, then by
`training.basis.style_subject`. Factors are fitted by `training.factors`.

A build has a work folder named by its job, with the checkpoint, the output and, in the end, the basis. The basis is
then moved to a folder named by its version, unless there is such a folder already: it holds the very same basis. An
interrupted build of prompts goes on from its checkpoint; factors take minutes and are fitted anew.
"""

import fcntl
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, Field

from jobs.limits import JobLimits
from jobs.redis_clients import connected
from jobs.settings import JobsSettings
from jobs.training_process import running
from slop.basis import Basis, InvalidBasis
from slop.exit_status import REFUSED
from slop.rollout.live import BasisRef, LiveBases
from slop.style_subject import ABOUT_FILE

POLL_S: Final = 1.0
LOG_TAIL: Final = 2_000

log = structlog.get_logger(__name__)


class BuildRefused(ValueError):  # noqa: N818
    """The build can't begin, or its basis is no better: to try again would not help. The message says why."""


class BuildFailed(RuntimeError):  # noqa: N818
    """The build ended without a basis; the message has the end of its output."""


class Options(BaseModel):
    """Options of a training command; one that is None is not given, so that the command's own default holds."""

    model_config = ConfigDict(extra="forbid")

    seed: int | None = Field(None, ge=0)

    def arguments(self) -> list[str]:
        """As arguments of the command line."""
        given = self.model_dump(exclude_none=True)
        pairs = ((name, value if isinstance(value, list) else [value]) for name, value in given.items())
        return [word for name, values in pairs for word in (f"--{name.replace('_', '-')}", *map(str, values))]


class BuildOptions(Options):
    """Options of `training.basis`."""

    prompts: int | None = Field(None, ge=2, le=512)
    rounds: list[int] | None = Field(None, min_length=1, max_length=16)
    most_posts: int | None = Field(None, ge=0, le=100_000)


class FactorsOptions(Options):
    """Options of `training.factors`."""

    size: int | None = Field(None, ge=1, le=64)


@dataclass(frozen=True, slots=True)
class Step:
    """A training command, and the file that is there once the command has done its work."""

    command: list[str]
    done: Path


@dataclass(frozen=True, slots=True)
class Work:
    """The folder of a build."""

    folder: Path

    @property
    def basis(self) -> Path:
        """Where the training command saves the basis."""
        return self.folder / "basis"

    @property
    def log(self) -> Path:
        """What the training command printed in the last attempt."""
        return self.folder / "build.log"

    def command(self, module: str, paths: Mapping[str, object], options: Options) -> list[str]:
        """The command line of a training command: its module, options that name files and folders, and the others."""
        words = [str(word) for option in {"--out": self.basis, **paths}.items() for word in option]
        return [sys.executable, "-m", module, *words, *options.arguments()]

    def progress(self) -> str:
        """The last line of the log; progress bars are overwritten by carriage returns."""
        lines = re.split(r"[\r\n]+", self.tail().strip())
        return lines[-1].strip()

    def tail(self) -> str:
        """The end of the log."""
        with suppress(FileNotFoundError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace")
        return ""


def fit_basis(
    job: str, settings: JobsSettings, options: BuildOptions, limits: JobLimits, report: Callable[[str], None]
) -> Basis:
    """Build a basis, or go on with an interrupted build; the basis ends up in `settings.bases_dir`, by its version.

    Args:
        job: the same for every attempt at the same build.
        settings: where the model, the catalogue and the log are, and where bases go.
        options: of the build.
        limits: of its time.
        report: called with the newest line of progress whenever it changes.

    Raises:
        BuildRefused: the settings name no model, no embedder or no catalogue, or another build is under way.
        BuildFailed: a training command ended without a basis.
        jobs.limits.Interrupted: the worker stops; the checkpoint is kept.
        jobs.limits.TookTooLong: the time is over.
        redis.exceptions.RedisError: Redis, which knows which basis is live, is away.
    """
    _check(settings)
    work = _work(job, settings)
    paths: dict[str, object] = {
        "--model": settings.model,
        "--embedder": settings.embedder,
        "--model-name": settings.model_name,
        "--checkpoint": work.folder / "checkpoint.pt",
    }
    if settings.catalogue is not None:
        paths["--catalogue"] = settings.catalogue
    steps = [Step(work.command("training.basis", paths, options), work.basis / "basis.json")]
    if settings.fit_basis_style_subject:
        paths |= {"--checkpoint": work.folder / "style_subject.pt", "--mixture": work.basis}
        alike = options.model_copy(update={"prompts": None, "rounds": None})
        steps.append(Step(work.command("training.basis.style_subject", paths, alike), work.basis / ABOUT_FILE))
    if settings.fit_basis_log:
        for step in steps:
            step.command.append("--log")
        with suppress(InvalidBasis):  # this is the first basis of its model
            settings = _on_live_basis(settings)
    return _build(work, steps, settings, limits, report)


def fit_factors(
    job: str, settings: JobsSettings, options: FactorsOptions, limits: JobLimits, report: Callable[[str], None]
) -> Basis:
    """Fit factors of posts to the log; the live basis, with them, is then in `settings.bases_dir`.

    Args:
        job: the same for every attempt.
        settings: where Kafka, Redis and the configured basis are, and where bases go.
        options: of the fit.
        limits: of its time.
        report: called with the newest line of progress whenever it changes.

    Raises:
        BuildRefused: the new factors rank no better for readers who were held out, or another build is under way.
        BuildFailed: a training command ended without a basis.
        jobs.limits.Interrupted: the worker stops.
        jobs.limits.TookTooLong: the time is over.
        redis.exceptions.RedisError: Redis, which knows which basis is live, is away.
    """
    work = _work(job, settings)
    step = Step(work.command("training.factors", {}, options), work.basis / "basis.json")
    return _build(work, [step], _on_live_basis(settings), limits, report)


def _on_live_basis(settings: JobsSettings) -> JobsSettings:
    """The settings, with the live basis instead of the configured one: the log's signals are read under it."""
    with connected(settings.redis_url, settings) as redis:
        live = LiveBases(redis, BasisRef.of(settings.basis_dir)).read().live
    return settings.model_copy(update={"basis_dir": Path(live.folder)})


def _work(job: str, settings: JobsSettings) -> Work:
    work = Work(settings.bases_dir / ".building" / job)
    work.folder.mkdir(parents=True, exist_ok=True)
    return work


def _build(
    work: Work, steps: Sequence[Step], settings: JobsSettings, limits: JobLimits, report: Callable[[str], None]
) -> Basis:
    with _only_one(settings.bases_dir / ".lock") as lock:
        for step in steps:
            if not step.done.exists():
                _train(step.command, settings, work, lock, limits, report)
        return _publish(work, settings.bases_dir)


def _check(settings: JobsSettings) -> None:
    if not settings.model:
        raise BuildRefused("SLOP_MODEL names no base model")
    if not settings.embedder:
        raise BuildRefused("SLOP_EMBEDDER names no sentence embedder")
    for path in (Path(settings.model), settings.catalogue):
        if path is not None and not path.exists():
            raise BuildRefused(f"{path} is not there")


@contextmanager
def _only_one(path: Path) -> Iterator[int]:
    """Hold a file lock. A training command inherits it: it is held until this process and the command have ended."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BuildRefused("another basis is being built here") from error
        yield file.fileno()


def _train(
    command: list[str], settings: JobsSettings, work: Work, lock: int, limits: JobLimits, report: Callable[[str], None]
) -> None:
    log.info("building a basis", folder=str(work.folder), command=command)
    with work.log.open("wb") as output, running(command, settings, output, [lock]) as process:
        reported = ""
        while process.poll() is None:
            limits.pause(POLL_S)
            if (progress := work.progress()) != reported:
                report(reported := progress)
    if process.returncode == REFUSED:
        reason = work.progress()
        shutil.rmtree(work.folder)
        raise BuildRefused(reason)
    if process.returncode != 0:
        raise BuildFailed(f"{command[2]} ended with {process.returncode}: {work.tail()}")


def _publish(work: Work, bases: Path) -> Basis:
    """Move the basis to the folder of its version, unless the very same one is there, and remove the work folder."""
    basis = Basis.load(work.basis)
    target = bases / basis.version
    if not target.exists():
        work.basis.rename(target)
    shutil.rmtree(work.folder)
    return basis
