"""Settings of the generation service."""

from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from slop.settings import LearningSettings


class Settings(LearningSettings):
    """Where the engine is, how posts are drawn, and how long anything may take."""

    model_config = SettingsConfigDict(populate_by_name=True)

    generation_port: int = Field(8002, ge=0, le=65535, description="port of the HTTP API")
    shutdown_timeout_s: int = Field(10, ge=0, description="how long running requests may take to finish at shutdown")
    max_body_bytes: int = Field(512 * 1024, gt=0, description="largest request body; beyond it 413")
    body_timeout_s: float = Field(10.0, gt=0, description="how long a request's body may take to arrive")
    redis_connections: int = Field(32, gt=0, description="most connections to Redis")

    vllm_url: str = Field("http://127.0.0.1:8000/v1", description="base URL of the engine's OpenAI API")
    served_model_name: str | None = Field(
        None, description="the engine's name of the model; by default the first that it lists"
    )
    engine_connect_timeout_s: float = Field(2.0, gt=0, description="how long connecting to the engine may take")
    engine_timeout_s: float = Field(60.0, gt=0, description="how long one whole completion may take")
    engine_silent_s: float = Field(
        12.0,
        gt=0,
        description="an engine that was asked and has written nothing for so long hangs: generation is not ready",
    )
    engine_connections: int = Field(256, gt=0, description="most connections to the engine")
    max_concurrency: int = Field(64, gt=0, description="generate requests that may be at the engine at a time")
    max_waiting: int = Field(256, ge=0, description="generate requests that may wait for their turn")
    max_wait_s: float = Field(
        5.0, ge=0, description="how long a generate request waits for its turn before it is refused"
    )

    max_tokens: int = Field(60, gt=0, le=512, description="longest post, where the request doesn't say")
    temperature: float = Field(0.8, ge=0, le=2, description="temperature, where the request doesn't say")
    min_p: float = Field(
        0.05, ge=0, le=1, description="tokens less likely than this share of the likeliest one are left out"
    )
    control_share: float = Field(0.05, ge=0, le=1, description="share of readers who get plain posts, for comparison")

    composed_posts: bool = Field(
        True,
        validation_alias=AliasChoices("SLOP_COMPOSE", "SLOP_COMPOSED_POSTS"),  # the former name is still read
        description="whether readers who like a style and a subject get both in one post, where the basis' folder has "
        "prompts of styles and subjects",
    )

    rewrites: int = Field(
        2,
        ge=0,
        le=8,
        description="how often a post that nearly copies a known one, or is empty, is written again; not where posts "
        "are streamed, nor at temperature 0",
    )

    featurizer_url: str = Field(
        "http://127.0.0.1:8011",
        description="base URL of the featurizer, which computes features of texts that are ranked",
    )
    features_timeout_s: float = Field(20.0, gt=0, description="how long the features of one rank request may take")
    publish_queue_bytes: int = Field(
        16 * 1024**2,
        ge=1024**2,
        description="generated posts that wait for Kafka, with 1 KB of overhead each; more are dropped",
    )
