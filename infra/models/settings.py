"""Settings of the base model and of the sentence embedder, from the environment or `.env`."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_cache() -> Path:
    """`slop` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slop"


class ModelSettings(BaseSettings):
    """Which model and which embedder, and where what was converted is kept."""

    model_config = SettingsConfigDict(env_prefix="SLOP_", env_file=".env", env_ignore_empty=True, extra="ignore")

    model: str | None = Field(None, description="a model folder or a hub name instead of SmolLM2-135M-Instruct")
    embedder: str | None = Field(None, description="an embedder's folder or hub name instead of all-MiniLM-L6-v2")
    cache_dir: Path = Field(
        default_factory=default_cache,
        description="where the converted model and embedder are kept; `$XDG_CACHE_HOME/slop` where that is set",
    )
