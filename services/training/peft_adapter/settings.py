"""Settings of the adapter command."""

from pydantic import Field

from slop.settings import LearningSettings


class AdapterSettings(LearningSettings):
    """Where a reader's profile is; the folders are arguments of the command line."""

    model: str = Field("", description="folder or hub name of the base model, where `--model` does not say")
