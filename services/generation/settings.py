"""Settings of the generation service."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from generation.engine import host_and_port
from generation.upstreams import Upstream, usable_upstreams
from slop.arms import Arm, soft_or_control, usable_weights
from slop.experiments import ArmAssigner, load_experiments
from slop.recent import MOST_LIKED
from slop.settings import CandidatesSettings, FormerNames, LearningSettings, listed_urls

ENGINE_URLS: Final = r"^[\s,]*https?://\S+"


class Settings(CandidatesSettings, LearningSettings):
    """Where the engine is, how posts are drawn, and how long anything may take."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)  # there are keys among them

    generation_port: int = Field(8002, ge=0, le=65535, description="port of the HTTP API")
    generation_shutdown_s: Annotated[int, FormerNames.of("SLOP_SHUTDOWN_TIMEOUT_S")] = Field(
        10, ge=0, description="how long running requests may take to finish at shutdown"
    )
    generation_body_bytes: Annotated[int, FormerNames.of("SLOP_MAX_BODY_BYTES")] = Field(
        512 * 1024, gt=0, description="largest request body; beyond it 413"
    )
    generation_body_timeout_s: Annotated[float, FormerNames.of("SLOP_BODY_TIMEOUT_S")] = Field(
        10.0, gt=0, description="how long a request's body may take to arrive"
    )
    generation_redis_connections: Annotated[int, FormerNames.of("SLOP_REDIS_CONNECTIONS")] = Field(
        32, gt=0, description="most connections to Redis"
    )

    vllm_url: str = Field(
        "http://127.0.0.1:8000/v1",
        pattern=ENGINE_URLS,
        description="base URL of the engine's OpenAI API; of several engines, separated by commas or blanks",
    )
    engine_model_name: Annotated[str | None, FormerNames.of("SLOP_SERVED_MODEL_NAME")] = Field(
        None, description="the engine's name of the model; by default the first that it lists"
    )
    engine_connect_timeout_s: float = Field(2.0, gt=0, description="how long connecting to the engine may take")
    engine_timeout_s: float = Field(60.0, gt=0, description="how long one whole completion may take")
    engine_silent_s: float = Field(
        12.0,
        gt=0,
        description="an engine that was asked and has written nothing for so long hangs: generation is not ready",
    )
    engine_connections: int = Field(256, gt=0, description="most connections to each engine")
    generation_max_concurrency: Annotated[int, FormerNames.of("SLOP_MAX_CONCURRENCY")] = Field(
        64, gt=0, description="generate requests that may be at the engine at a time"
    )
    generation_max_waiting: Annotated[int, FormerNames.of("SLOP_MAX_WAITING")] = Field(
        256, ge=0, description="generate requests that may wait for their turn"
    )
    generation_max_wait_s: Annotated[float, FormerNames.of("SLOP_MAX_WAIT_S")] = Field(
        5.0, ge=0, description="how long a generate request waits for its turn before it is refused"
    )

    generation_deadline_s: float = Field(
        60.0,
        gt=0,
        description="how long a generate request may take from its arrival to its last token: waiting, Redis and "
        "rewrites included; beyond it 503",
    )
    generation_reader_requests: int = Field(
        8, ge=0, description="requests of one reader that may be in flight, waiting ones included; 0: any number"
    )
    generation_reader_tokens: int = Field(
        16_384,
        ge=0,
        description="tokens (`n` × candidates × `max_tokens`) that one reader's requests in flight may ask for "
        "together; 0: any number",
    )
    generation_key_requests: int = Field(
        0, ge=0, description="as of a reader, for one API key (`Authorization: Bearer`); 0: any number"
    )
    generation_key_tokens: int = Field(0, ge=0, description="as of a reader, for one API key; 0: any number")
    generation_address_requests: int = Field(
        0,
        ge=0,
        description="as of a reader, for one address that requests come from; 0, any number, is right where a "
        "product's backend calls for all of its readers",
    )
    generation_address_tokens: int = Field(0, ge=0, description="as of a reader, for one address; 0: any number")

    generation_max_tokens: Annotated[int, FormerNames.of("SLOP_MAX_TOKENS")] = Field(
        60, gt=0, le=512, description="longest post, where the request doesn't say"
    )
    generation_chat_max_tokens: int = Field(
        512,
        gt=0,
        description="longest answer of a chat completion, where the request doesn't say and the model has room for as "
        "much",
    )
    generation_temperature: Annotated[float, FormerNames.of("SLOP_TEMPERATURE")] = Field(
        0.8, ge=0, le=2, description="temperature, where the request doesn't say"
    )
    generation_min_p: Annotated[float, FormerNames.of("SLOP_MIN_P")] = Field(
        0.05, ge=0, le=1, description="tokens less likely than this share of the likeliest one are left out"
    )
    control_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of readers who get plain posts, for comparison; all others get soft prompts. Not read where "
        "SLOP_ARM_WEIGHTS is set",
    )
    arm_weights: dict[Arm, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="how many readers are in each of the arms soft, crowd, base, history and persona, outside of any "
        'experiment, as `{"soft": 0.8, "history": 0.15, "base": 0.05}`; only the ratios count',
    )
    arm_upstreams: dict[Arm, Upstream] = Field(
        default_factory=dict,
        description="other OpenAI-compatible servers that write for the arms base, history and persona, as "
        '`{"persona": {"url": "https://api.openai.com/v1", "model": "gpt-5", "key": "…"}}`; further members are '
        "`max_tokens_name`, `leave_out` and `more` (docs/operations.md)",
    )
    generation_history_posts: int = Field(
        6,
        ge=1,
        le=MOST_LIKED,
        description="how many of the posts that a reader liked last the arm history shows to the model",
    )
    experiments: Path | None = Field(
        None, description="an experiment's file, or a folder with several: which arms readers are in, and how long"
    )

    generation_exploration: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the posts that explore, for a reader of whom nothing is known yet; it falls with the "
        "profile's uncertainty",
    )
    generation_exploration_floor: float = Field(
        0.0, ge=0, le=1, description="least share of every reader's posts that explore what the reader may like"
    )

    generation_composed_posts: Annotated[bool, FormerNames.of("SLOP_COMPOSED_POSTS", "SLOP_COMPOSE")] = Field(
        True,
        description="whether readers who like a style and a subject get both in one post, where the basis' folder has "
        "prompts of styles and subjects",
    )

    generation_diversity: float = Field(
        0.3,
        ge=0,
        le=1,
        description="what counts when posts are chosen among candidates: 0, how much each is to the reader's taste, 1, "
        "how little it is like the others; maximal marginal relevance",
    )
    generation_choosing_timeout_s: float = Field(
        2.0,
        gt=0,
        description="how long the featurizer may take to read the candidates; after that the first ones are served",
    )

    generation_rewrites: Annotated[int, FormerNames.of("SLOP_REWRITES")] = Field(
        2,
        ge=0,
        le=8,
        description="how often a post that nearly copies a known one, or is empty, is written again; not at "
        "temperature 0",
    )
    generation_served_posts: int = Field(
        128,
        ge=0,
        le=4_096,
        description="how many of the posts that a reader was served last are not served again, 6 bytes each in Redis; "
        "0: none, and neither are those that the reader has seen kept from coming again",
    )
    generation_served_ttl_s: int = Field(
        14 * 24 * 3600, gt=0, description="how long after the last one these are remembered"
    )
    generation_stream_held_words: int = Field(
        4,
        ge=0,
        description="words of a streamed post that are held back until it is clear that it does not begin as a copy; "
        "0: streams are not checked",
    )

    featurizer_url: str = Field(
        "http://127.0.0.1:8011",
        description="base URL of the featurizer, which computes features of texts that are ranked",
    )
    generation_features_timeout_s: Annotated[float, FormerNames.of("SLOP_FEATURES_TIMEOUT_S")] = Field(
        20.0, gt=0, description="how long the features of one rank request may take"
    )
    generation_queue_bytes: Annotated[int, FormerNames.of("SLOP_PUBLISH_QUEUE_BYTES")] = Field(
        16 * 1024**2,
        ge=1024**2,
        description="generated posts that wait for Kafka, with 1 KB of overhead each; more are dropped",
    )

    @model_validator(mode="after")
    def _engines_are_told_apart(self) -> Self:
        if len(set(map(host_and_port, self.engine_urls))) < len(self.engine_urls):
            raise ValueError("two engines have the same host and port")
        return self

    @model_validator(mode="after")
    def _arms_are_usable(self) -> Self:
        usable_weights(self.weights)
        usable_upstreams(self.arm_upstreams, self.engine_urls)
        return self

    @property
    def engine_urls(self) -> tuple[str, ...]:
        """Base URLs of the engines' OpenAI APIs."""
        return listed_urls(self.vllm_url)

    @property
    def weights(self) -> Mapping[Arm, float]:
        """The weights of the arms outside of any experiment."""
        return self.arm_weights or soft_or_control(self.control_share)

    def arm_assigner(self) -> ArmAssigner:
        """Assigns readers to arms.

        Raises:
            slop.experiments.InvalidExperiment: an experiment can't be used.
        """
        return ArmAssigner(self.tenant, self.weights, load_experiments(self.experiments))
