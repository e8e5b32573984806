"""Options of the fault suite, from the command line, the environment or `.env`."""

import os
import shutil
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.local.settings import ROOT
from loadtests.settings import plain

TOOLBOX: Final = ROOT.parent / "shared" / "toolbox"
NO_TOXIPROXY: Final = (
    "toxiproxy-server is neither on the PATH nor in ../shared/toolbox: install toxiproxy, or say TOXIPROXY=folder"
)
NO_KAFKA: Final = "Tansu keeps its log in memory only: unpack Apache Kafka and say KAFKA_HOME=folder"


class FaultSettings(BaseSettings):
    """What is done to the stack, and how much is sent meanwhile."""

    model_config = SettingsConfigDict(
        env_prefix="SLOP_FAULTS_",
        env_ignore_empty=True,
        extra="ignore",
        cli_parse_args=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_prog_name="python -m loadtests.faults",
        populate_by_name=True,
    )

    rounds: int = Field(
        20, ge=0, le=1_000, validation_alias=plain("rounds"), description="how many kills, the parts in turn"
    )
    others: bool = Field(
        True,
        description="whether there are also faults that are no kill: Redis read-only and full, a volume lost, the "
        "network …",
    )
    engine: bool = Field(False, description="whether vLLM runs beside it, and is hung")
    out: Path | None = Field(None, validation_alias=plain("out"), description="also write the figures here, as JSON")
    docs: bool = Field(False, description="whether the table is written into docs/faults.md")

    readers: int = Field(16, ge=1, le=200, description="readers of each round alone, besides those of all rounds")
    events_per_s: float = Field(60.0, gt=0, le=10_000, description="events a second that all readers send together")
    load_s: float = Field(2.0, ge=0, description="how long events come before a fault, and again after it")
    down_s: float = Field(1.0, ge=0, description="how long a part that was killed is away at least")
    notice_s: float = Field(45.0, gt=0, description="how long a fault lasts at most until /readyz must tell of it")
    recover_s: float = Field(120.0, gt=0, description="how long after a fault all must be ready, and all learned")
    start_s: float = Field(300.0, gt=0, description="how long everything may take to start")


def toxiproxy() -> Path | None:
    """The toxiproxy-server to use: of the folder that `TOXIPROXY` names, of the PATH, else of the toolbox beside us."""
    chosen = os.environ.get("TOXIPROXY")
    folders = [Path(chosen)] if chosen else []
    on_path = shutil.which("toxiproxy-server")
    candidates = [folder / "toxiproxy-server" for folder in folders]
    candidates += [Path(on_path)] if on_path and not chosen else []
    candidates += [] if chosen else [TOOLBOX / "toxiproxy-server"]
    return next((path for path in candidates if os.access(path, os.X_OK)), None)
