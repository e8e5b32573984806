"""Settings that several services share, read from the environment with the prefix `SLOP_`."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:  # the images of the model and of vLLM contain no other module of this package
    from slop.basis import Basis
    from slop.latent import Prior

DEFAULT_BASIS = Path(__file__).parent / "bases" / "smollm2-135m-instruct"


class CommonSettings(BaseSettings):
    """What every service needs; a service's own settings inherit from it."""

    model_config = SettingsConfigDict(env_prefix="SLOP_", env_file=".env", env_ignore_empty=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address that HTTP servers listen on")
    tenant: str = Field("default", description="whose users and posts these are")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: str = Field("json", pattern="^(json|console)$", description="json for machines, console for people")

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="comma-separated host:port of the brokers")
    stalled_s: float = Field(
        30.0, gt=0, description="a process that has something to do and has done nothing for so long is not ready"
    )

    kafka_fetch_wait_ms: int = Field(
        100,
        ge=1,
        le=10_000,
        description="for how long brokers wait for records before they say that there are none; an idle consumer costs "
        "a fifth of the CPU at 500, but Tansu says no sooner that there are some",
    )
    kafka_session_timeout_ms: int = Field(
        6_000,
        description="how long a consumer may be silent before others get its partitions; Tansu's first join takes "
        "0.75 of it",
    )
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="where profiles and post features live")
    redis_persisted_after_s: float = Field(
        2.0,
        ge=0,
        description="a Redis older than 7.2 can't say what is on its disk: so long after a write, it is taken to be",
    )
    redis_timeout_s: float = Field(1.0, gt=0, description="how long one command may take, connecting included")

    basis_dir: Path = Field(DEFAULT_BASIS, description="folder with basis.json and basis.safetensors")
    follow_s: float = Field(1.0, gt=0, description="pause between two looks at which basis is live")


class EmbedderSettings(CommonSettings):
    """Settings of what computes or fits features of posts (see `slop.embedder`)."""

    embedder: str = Field(
        ...,
        description="folder or hub name of the sentence embedder, with onnx/model.onnx; the local run and the "
        "images name all-MiniLM-L6-v2",
    )
    embedder_threads: int = Field(1, ge=1, description="threads that embedding one text takes")


class LearningSettings(CommonSettings):
    """Settings of how a latent learns (see `slop.latent`)."""

    prior_variance: float = Field(
        1.0, gt=0, description="variance of every weight over the basis before the first signal"
    )
    bias_variance: float = Field(0.5, gt=0, description="variance of the reader's own bias before the first signal")
    forgetting: float = Field(
        0.955,
        gt=0,
        le=1,
        description="share of the weights over the prompts that each signal keeps: tastes change",
    )
    factor_forgetting: float = Field(
        0.998, gt=0, le=1, description="share of the weights over posts' factors that each signal keeps"
    )
    learner_group: str = Field(
        "", description="consumer group of the learner; empty, as it should be: the basis names it"
    )
    seen_window_s: int = Field(7 * 24 * 3600, description="how long events and decisions are remembered")
    seen_events: int = Field(512, ge=64, le=10_000, description="how many events of a reader are remembered at most")

    def prior_of(self, basis: "Basis") -> "Prior":
        """The prior of readers under a basis."""
        return basis.prior(self.prior_variance, self.bias_variance, self.forgetting, self.factor_forgetting)
