"""Where the system under test listens, and how it is loaded; from the environment or `.env`."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from learner.settings import LearnerSettings
from slop.settings import listed_urls

HERE: Final = "127.0.0.1"

Scenario = Literal["readers", "ingestion", "mixed"]
Url = Annotated[str, Field(pattern="^https?://"), AfterValidator(lambda url: url.rstrip("/"))]

FirstUrl = Annotated[str, Field(pattern="https?://"), AfterValidator(lambda urls: listed_urls(urls)[0])]


class WrongSettings(Exception):  # noqa: N818
    """The settings can't be used; the message tells a person why and what to do."""


def plain(name: str) -> Any:
    """The alias of a setting that has no prefix in the environment, as `READERS` has none."""
    return AliasChoices(name, name.upper())


class StackSettings(BaseSettings):
    """The published ports of a running stack, compose's or the local one."""

    model_config = SettingsConfigDict(env_prefix="SLOP_", env_file=".env", env_ignore_empty=True, extra="ignore")

    collector_port: int = Field(8001, description="of the collector on this machine")
    generation_port: int = Field(8002, description="of generation on this machine")
    featurizer_port: int = Field(8011, description="of the featurizer's metrics on this machine, as the learner's")
    learner_port: int = Field(8012, description="of the learner's metrics on this machine; compose does not publish it")
    grafana_port: int = Field(3000, description="port of Grafana on this machine")

    vllm_url: FirstUrl = Field(
        "http://127.0.0.1:8000/v1",
        description="of vLLM on this machine, of several engines the first; compose does not publish it",
    )

    collector_url: Url | None = Field(None, description="base URL of a collector elsewhere")
    generation_url: Url | None = Field(None, description="base URL of a generation service elsewhere")
    grafana_url: Url | None = Field(None, description="base URL of a Grafana elsewhere")
    load_allow_remote: bool = Field(False, description="whether the URLs may name other machines than this one")

    smoke_timeout_s: float = Field(60.0, gt=0, description="how long a check of the smoke command may take")

    @property
    def collector(self) -> str:
        """Base URL of the collector."""
        return self.collector_url or _here(self.collector_port)

    @property
    def generation(self) -> str:
        """Base URL of generation."""
        return self.generation_url or _here(self.generation_port)

    @property
    def featurizer(self) -> str:
        """Base URL of the featurizer's metrics."""
        return _here(self.featurizer_port)

    @property
    def learner(self) -> str:
        """Base URL of the learner's metrics."""
        return _here(self.learner_port)

    @property
    def grafana(self) -> str:
        """Base URL of Grafana."""
        return self.grafana_url or _here(self.grafana_port)

    @model_validator(mode="after")
    def _only_here(self) -> Self:
        urls = [url for url in (self.collector, self.generation, self.grafana) if not is_loopback(url)]
        if urls and not self.load_allow_remote:
            raise ValueError(
                f"{', '.join(urls)} is not on this machine, and a load test can bring down what others use; "
                "if it is yours to load, set SLOP_LOAD_ALLOW_REMOTE=true"
            )
        return self


class LoadSettings(StackSettings):
    """How readers and senders behave."""

    load_readers: int = Field(5_000_000, ge=1, description="different readers that may come")
    load_skew: float = Field(
        0.8, ge=0, lt=1, description="the k-th most active reader comes in proportion to k**-skew; 0: all equally often"
    )
    load_speed: float = Field(1.0, gt=0, description="how much faster than people the readers read and scroll")
    load_catalogue: int = Field(44, ge=22, description="posts of the catalogue that are in every reader's feed")
    load_posts: int = Field(2, ge=1, le=16, description="posts that a page asks generation for")
    load_tokens: int | None = Field(None, ge=1, le=512, description="longest generated post; by default generation's")
    load_timeout_s: float = Field(60.0, gt=0, description="how long an answer may take before it is a failure")

    load_engine_alone: bool = Field(
        True, description="whether the engine alone is measured too, for as long again, with readers who do the same"
    )
    load_batch: int = Field(200, ge=1, le=1_000, description="events in a request of the ingestion scenario")
    load_events_per_s: float = Field(
        200.0, ge=0, description="events a second that one sender of the ingestion scenario aims at; 0: no limit"
    )


class RunSettings(LoadSettings):
    """`make loadtest`: how long, how many, what."""

    readers: int = Field(20, ge=1, le=10_000, validation_alias=plain("readers"), description="readers at a time")
    seconds: int = Field(60, ge=5, le=3_600, validation_alias=plain("seconds"), description="how long they stay")
    scenario: Scenario = Field("readers", validation_alias=plain("scenario"), description="who comes")
    out: Path | None = Field(None, validation_alias=plain("out"), description="also write the figures here, as JSON")


class BenchSettings(LearnerSettings):
    """`make bench`: the learner's settings, and how much to measure."""

    bench_events: int = Field(20_000, ge=1_000, description="signals in the topic")
    bench_users: int = Field(2_000, ge=1, description="whose signals they are, each equally likely")
    bench_profiles: int = Field(1_000_000, ge=1_000, description="readers whose profiles are stored, by bench_profiles")
    bench_lookups: int = Field(20_000, ge=100, description="profiles that are read, by bench_profiles")
    bench_repetitions: int = Field(5, ge=1, description="how often each way is measured, in turns")


def load_settings() -> LoadSettings:
    """The settings for locust.

    Raises:
        WrongSettings: they can't be used.
    """
    try:
        return LoadSettings()
    except ValidationError as error:
        raise WrongSettings(in_words(error)) from error


def in_words(error: ValidationError) -> str:
    """What is wrong with settings, a line each."""
    return "\n".join(_line("/".join(map(str, one["loc"])), one["msg"]) for one in error.errors())


def _line(name: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine by a loopback address."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _here(port: int) -> str:
    return f"http://{HERE}:{port}"
