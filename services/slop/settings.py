"""Settings that several services share, read from the environment with the prefix `SLOP_`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

if TYPE_CHECKING:  # the images of the model and of vLLM contain no other module of this package
    from slop.basis import Basis
    from slop.latent import Prior

MAX_CANDIDATES = 32
"""Most texts that are written for a request whose posts are chosen among them."""
DEFAULT_BASIS = Path(__file__).parent / "bases" / "smollm2-135m-instruct"


def listed_urls(setting: str) -> tuple[str, ...]:
    """The URLs that a setting lists, separated by commas or blanks, without slashes at their ends and each once."""
    return tuple(dict.fromkeys(url.rstrip("/") for url in setting.replace(",", " ").split()))


@dataclass(frozen=True, slots=True)
class FormerNames:
    """Annotates a setting that was renamed; its former names are read where the present one is not set.

    Attributes:
        variables: environment variables, the newest first.
    """

    variables: tuple[str, ...]

    @classmethod
    def of(cls, *variables: str) -> "FormerNames":
        """Of variables, the newest first."""
        return cls(variables)


@dataclass(frozen=True, slots=True)
class FormerlyNamed:
    """A setting that is set under a former name.

    Attributes:
        field: its name in the class.
        former: the variable that is set.
        present: the variable to set instead.
        value: as it is written there.
    """

    field: str
    former: str
    present: str
    value: str


def formerly_named(settings: type[BaseSettings], *sources: PydanticBaseSettingsSource) -> Iterator[FormerlyNamed]:
    """Every former name that is set, the one that counts first where a setting has several.

    Args:
        settings: the class whose settings are looked for.
        sources: where to look, the first that has a name wins; by default the environment, then the class' `.env`.
    """
    given = [
        source.env_vars
        for source in sources or (EnvSettingsSource(settings), DotEnvSettingsSource(settings))
        if isinstance(source, EnvSettingsSource)
    ]
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        for former in (one for names in field.metadata if isinstance(names, FormerNames) for one in names.variables):
            values = [value for variables in given if (value := variables.get(former.lower())) is not None]
            if values:
                yield FormerlyNamed(name, former, f"{prefix}{name}".upper(), values[0])


class _FormerNamesSource(PydanticBaseSettingsSource):
    """Settings by their former names, from where the present ones were looked for."""

    def __init__(self, settings: type[BaseSettings], *sources: PydanticBaseSettingsSource) -> None:
        super().__init__(settings)
        self._values: dict[str, Any] = {}
        for one in formerly_named(settings, *sources):
            self._values.setdefault(one.field, one.value)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


class CommonSettings(BaseSettings):
    """What every service needs; a service's own settings inherit from it."""

    model_config = SettingsConfigDict(env_prefix="SLOP_", env_file=".env", env_ignore_empty=True, extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where settings are looked for, the first that has one wins: former names come last."""
        former = _FormerNamesSource(settings_cls, env_settings, dotenv_settings)
        return init_settings, env_settings, dotenv_settings, file_secret_settings, former

    host: str = Field("127.0.0.1", description="address that HTTP servers listen on")
    http_keep_alive_s: int = Field(
        75,
        gt=0,
        description="how long the collector and generation keep an idle connection open: longer than the proxy before "
        "them does (60 s with nginx and with many load balancers)",
    )
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


class CandidatesSettings(CommonSettings):
    """How many texts are written for a post, for whoever writes it or pays for it."""

    generation_candidates: int = Field(
        1,
        ge=1,
        le=MAX_CANDIDATES,
        description="texts written for each post that is served to a reader with a profile in the arm soft, of which "
        "those most to the reader's taste are chosen; a post costs so many times the tokens. 1: nothing is chosen",
    )


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
