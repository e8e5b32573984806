"""Settings of the worker and of beat."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from slop.settings import CandidatesSettings, FormerNames, LearningSettings

RUN_DIR = Path(".run")


def _in_run_dir(chosen: dict[str, Any]) -> Path:
    """`jobs` in the folder that the fields before it name: of a run that `make up` started, the same as its own."""
    run_dir: Path = chosen.get("run_dir", RUN_DIR)
    return run_dir / "jobs"


class JobsSettings(CandidatesSettings, LearningSettings):
    """Read from the environment; `worker_port` is `SLOP_WORKER_PORT`, and so on."""

    jobs_redis_url: str = Field("", description="Celery's broker and results; empty: database 1 of redis_url's server")
    run_dir: Path = Field(
        RUN_DIR,
        description="folder of the local run: logs, the data of Redis and Apache Kafka, and the jobs' folder if "
        "SLOP_JOBS_DIR names no other",
    )
    jobs_dir: Path = Field(
        default_factory=_in_run_dir,
        description="folder that snapshots, new bases and beat's schedule go to; by default jobs in SLOP_RUN_DIR",
    )
    jobs_timeout_s: float = Field(5.0, gt=0, description="how long one round trip to Redis may take")
    worker_port: int = Field(8013, ge=0, le=65_535, description="port of the worker's /healthz, /readyz and /metrics")
    beat_port: int = Field(8014, ge=0, le=65_535, description="port of beat's /healthz and /readyz")
    worker_queues: str = Field(
        "light,heavy",
        pattern="^(light|heavy)(,(light|heavy))*$",
        description="queues that the worker takes jobs from; heavy only where a basis may be built",
    )
    worker_threads: int = Field(2, ge=1, le=32, description="jobs at the same time; one may be a build of an hour")

    census_every_s: float = Field(60.0, ge=1, description="pause between two counts of all profiles")
    snapshot_hour: int = Field(
        3, ge=0, le=23, description="hour of the nightly snapshot, UTC; it is taken at a quarter past"
    )
    snapshots_kept: int = Field(7, ge=1, description="how many snapshots of a basis are kept, the newest")
    snapshot_least_share: float = Field(
        0.5, ge=0, le=1, description="a snapshot with less than this share of the newest one's profiles is refused"
    )
    snapshot_timeout_s: float = Field(3_600.0, gt=0, description="how long a snapshot or a census may take")

    jobs_generation_url: str = Field(
        "http://127.0.0.1:8002", description="base URL of the generation service, which writes posts of the feed ahead"
    )
    pregeneration_posts: int = Field(
        12, ge=0, le=1_000, description="posts written ahead for each active reader; 0: none, the feed is written live"
    )
    pregeneration_active_s: float = Field(
        900.0, gt=0, description="how long after asking for posts of the feed a reader is active"
    )
    pregeneration_expiry_s: float = Field(
        24 * 3_600.0, gt=0, description="how long a queue that is not refilled is kept"
    )
    pregeneration_distance: float = Field(
        0.3,
        ge=0,
        le=1,
        description="posts are written anew for a reader whose shares of prompts have moved further than this since: "
        "half the sum of their differences",
    )
    pregeneration_tokens_per_s: float = Field(
        15.0,
        gt=0,
        description="tokens that may be spent on posts written ahead; by default an eighth of what two cores write",
    )
    pregeneration_post_tokens: int = Field(
        60, ge=1, le=512, description="longest post that is written ahead, in tokens"
    )
    pregeneration_every_s: float = Field(5.0, ge=0.5, description="pause between two looks for queues to fill")
    pregeneration_timeout_s: float = Field(60.0, gt=0, description="how long one look may fill queues")
    pregeneration_request_timeout_s: float = Field(
        120.0, gt=0, description="how long one request for posts ahead may take"
    )

    relearn_margin_s: float = Field(
        24 * 3_600.0,
        ge=0,
        description="how long before a snapshot's time relearning begins to read the log: longer than a reaction "
        "ever waits",
    )
    rollout_timeout_s: float = Field(
        24 * 3_600.0, gt=0, description="how long learning the log under a new basis may take"
    )
    rollout_follow_s: float = Field(120.0, gt=0, description="how long all processes may take to load a new basis")
    rollout_fresh_s: float = Field(
        5.0, gt=0, description="a new basis has caught up when no record older than this is left to learn"
    )
    rollout_linger_s: float = Field(30.0, ge=0, description="how long the former basis answers its last requests")

    model: str = Field(
        "",
        description="folder or hub name of the base model; a worker without one builds no basis; the local run "
        "and vLLM take SmolLM2-135M-Instruct then",
    )
    embedder: str = Field("", description="folder or hub name of the sentence embedder; as `model`")
    model_name: str = Field("SmolLM2-135M-Instruct", description="what a new basis calls its base model")
    catalogue: Path | None = Field(None, description="posts that a basis is built from; by default those that ship")
    fit_basis_log: bool = Field(
        True,
        description="whether a new basis is also built from posts and reactions in Kafka, not from the catalogue alone",
    )
    fit_basis_style_subject: Annotated[bool, FormerNames.of("SLOP_FIT_BASIS_FACTORED")] = Field(
        False,
        description="whether prompts of styles and subjects are built with it, for posts that have both; minutes "
        "on a GPU, hours on 2 cores",
    )
    fit_basis_timeout_s: float = Field(
        4 * 3_600.0, gt=0, description="how long building a basis may take; it takes about an hour on 2 cores"
    )

    @property
    def broker_url(self) -> str:
        """Where Celery's messages and results are."""
        return self.jobs_redis_url or urlsplit(self.redis_url)._replace(path="/1").geturl()

    @property
    def queues(self) -> list[str]:
        """The queues that the worker takes from."""
        return self.worker_queues.split(",")

    @property
    def snapshots_dir(self) -> Path:
        """Where snapshots of the profiles are."""
        return self.jobs_dir / "snapshots"

    @property
    def bases_dir(self) -> Path:
        """Where new bases are, each in a folder named by its version."""
        return self.jobs_dir / "bases"
