"""Experiments: which arms readers are assigned to for a time, and by which weights.

An experiment is a small TOML file:

    name = "history-in-autumn"
    start = 2026-12-01T00:00:00Z
    end = 2026-12-15T00:00:00Z

    [arms]
    base = 1
    soft = 2
    history = 2

Outside of any experiment the weights of the settings hold. Within one, a reader's arm never changes: it depends on the
reader, the experiment's name and the weights, which may not change once it has begun (`slop.redis.experiments`).
"""

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, NamedTuple, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from slop.arms import CONTROL, Arm, arm_of, usable_weights

NAME: Final = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class InvalidExperiment(ValueError):  # noqa: N818
    """A file that is no experiment, experiments that overlap, or one that was changed after its start."""


class _File(BaseModel):
    """The content of a file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(pattern=NAME)]
    start: AwareDatetime
    end: AwareDatetime
    arms: dict[Arm, Annotated[float, Field(gt=0)]]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment.

    Attributes:
        name: which answers, posts and the lift name it by.
        weights: of its arms, all above 0. The control is one of them.
        start: when it begins; like `end` with a time zone.
        end: when it is over.
    """

    name: str
    weights: Mapping[Arm, float]
    start: datetime
    end: datetime

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            InvalidExperiment: it can't be read, or is no experiment.
        """
        try:
            content = _File.model_validate(tomllib.loads(path.read_text()))
            usable_weights(content.arms)
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidExperiment(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except (OSError, ValueError) as error:
            raise InvalidExperiment(f"{path}: {error}") from error
        if content.start >= content.end:
            raise InvalidExperiment(f"{path}: it ends before it starts")
        if CONTROL not in content.arms or len(content.arms) == 1:
            raise InvalidExperiment(f"{path}: it needs the arm {CONTROL}, and one to compare with it")
        return cls(content.name, content.arms, content.start, content.end)

    @property
    def digest(self) -> str:
        """Of all that readers' arms and the lift depend on. The end is no part of it, so it may be moved."""
        about = [self.name, sorted(self.weights.items()), self.start.astimezone(UTC).isoformat()]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def load_experiments(path: Path | None) -> tuple[Experiment, ...]:
    """The experiments in a file, or in all files `*.toml` of a folder, by their start; none without a path.

    Raises:
        InvalidExperiment: one of them can't be used, two have the same name, or two overlap.
    """
    if path is None:
        return ()
    if not path.exists():
        raise InvalidExperiment(f"{path}: there is no such file or folder")
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    experiments = sorted((Experiment.load(file) for file in files), key=lambda one: one.start)
    names = [one.name for one in experiments]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InvalidExperiment(f"{path}: several experiments are called {min(twice)}")
    for before, after in pairwise(experiments):
        if after.start < before.end:
            raise InvalidExperiment(f"{path}: {after.name} starts before {before.name} ends")
    return tuple(experiments)


class Assignment(NamedTuple):
    """The arm of a reader, and the experiment that assigned it; empty if none did."""

    arm: Arm
    experiment: str = ""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ArmAssigner:
    """Assigns the readers of a tenant to arms.

    Attributes:
        tenant: whose readers they are.
        weights: of the arms outside of any experiment.
        experiments: by their start; no two overlap.
        now: the time, with its zone.
    """

    tenant: str
    weights: Mapping[Arm, float]
    experiments: Sequence[Experiment] = ()
    now: Callable[[], datetime] = field(default=_now)

    def assign(self, user_id: str) -> Assignment:
        """The arm of a reader now."""
        now = self.now()
        running = next((one for one in self.experiments if one.start <= now < one.end), None)
        if running is None:
            return Assignment(arm_of(self.tenant, user_id, self.weights))
        return Assignment(arm_of(self.tenant, user_id, running.weights, running.name), running.name)

    @property
    def arms(self) -> frozenset[Arm]:
        """The arms that readers are or may come to be in."""
        return _arms(self.weights, *(one.weights for one in self.experiments))

    @property
    def arms_now(self) -> frozenset[Arm]:
        """The arms that readers are in now."""
        now = self.now()
        return _arms(*([one.weights for one in self.experiments if one.start <= now < one.end] or [self.weights]))


def _arms(*weights: Mapping[Arm, float]) -> frozenset[Arm]:
    return frozenset(arm for each in weights for arm, weight in each.items() if weight > 0)
