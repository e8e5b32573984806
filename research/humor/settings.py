"""Options of the study."""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings

from research.folders import RESULTS
from research.screen import options_of
from training.factors import FitOptions


class HumorSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("humor")

    data: Path = Field(
        validation_alias=AliasChoices("data", "DATA"), description="folder with jokes.json and ratings.csv.gz"
    )
    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    readers: int = Field(500, ge=20, validation_alias=AliasChoices("readers", "READERS"), description="new readers")
    language_readers: int = Field(16, ge=0, description="of them, those whom a language model is told of in words")
    device: str = Field("", description="what the language models run on, for the results; empty: this machine's cores")
    tuned_readers: int = Field(6, ge=0, description="of them, those for whom an adapter is trained")
    earlier: Path | None = Field(None, description="humor.json of an earlier run, whose dear rows are kept")
    size: int = Field(FitOptions().size, ge=1, le=64, description="factors that readers differ in")
    seed: int = Field(0, ge=0, description="of the choice of readers, of everyone's order and of the unseen jokes")
    save_basis: Path | None = Field(None, description="also write the basis with factors of the known jokes here")
