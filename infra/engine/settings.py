"""Settings of vLLM as SLOP starts it."""

from urllib.parse import urlsplit

from pydantic import Field

from infra.models.settings import ModelSettings
from slop.settings import listed_urls


class EngineSettings(ModelSettings):
    """Where vLLM listens, and how it is started."""

    vllm_url: str = Field(
        "http://127.0.0.1:8000/v1",
        description="of vLLM; started here if it is on this machine; of several engines the first",
    )
    vllm_max_model_len: int = Field(1024, description="longest prompt and its answer together, tokens")
    vllm_args: str = Field("--enforce-eager", description="more arguments for vLLM, as in a shell")

    @property
    def engine_url(self) -> str:
        """The first URL of those that are listed."""
        return listed_urls(self.vllm_url)[0]

    @property
    def vllm_address(self) -> tuple[str, int]:
        """Host and port of vLLM."""
        return address(self.engine_url, 80)


def address(url: str, default_port: int) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or default_port
