"""Options of the likelihood study."""

from pathlib import Path

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings

from research.folders import RESULTS
from research.screen import options_of


class LikelihoodSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("likelihood")

    data: Path | None = Field(
        None, validation_alias=AliasChoices("data", "DATA"), description="folder with jokes.json and ratings.csv.gz"
    )
    posts: Path | None = Field(
        None, validation_alias=AliasChoices("posts", "POSTS"), description='file of {"post_id", "text"}, one a line'
    )
    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    folds: int = Field(5, ge=2, le=20, description="parts of the posts; each is measured under prompts of the others")
    prompts: int = Field(4, ge=2, le=64, description="that are trained in every fold")
    steps: int = Field(8, ge=1, le=100, description="of each prompt in each of the two rounds of training")
    tokens: int = Field(128, ge=8, le=1_024, description="of a post that are measured, both halves together")
    measured: int = Field(100, ge=20, description="posts of the folds that are measured at most, alike in every fold")
    catalogue: int = Field(60, ge=2, description="held-out posts of the catalogue")
    seed: int = Field(0, ge=0, description="of folds, clusters, training and the choice of the catalogue's posts")
