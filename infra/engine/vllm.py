"""`python -m infra.engine.vllm` runs vLLM's own OpenAI server in the foreground, on loopback."""

import os
import shlex
import sys
from pathlib import Path
from typing import Final

from infra.engine.settings import EngineSettings
from infra.models.model import BASE_MODEL

SERVED_NAME: Final = "slop"
FEW_CORES: Final = 4
# Tokens. What is reused of a prompt are whole blocks, of which vLLM's 128 on a CPU are longer than a request of a line.
BLOCK_SIZE: Final = 32
# Tokens that one step of the engine reads or writes; vLLM's are 2,048. Nobody is written anything while a step lasts,
# and on two busy cores reading 2,048 tokens takes longer than an engine may be silent.
STEP_TOKENS: Final = 512
CPU_INFO: Final = Path("/proc/cpuinfo")


def command(settings: EngineSettings, model_path: str, cpu_info: str = "") -> list[str]:
    """The command line; `vllm serve` looks for the distribution `vllm`, which a CPU machine has not."""
    host, port = settings.vllm_address
    arguments = {
        "--model": model_path,
        "--served-model-name": SERVED_NAME,
        "--host": host,
        "--port": str(port),
        "--max-model-len": str(settings.vllm_max_model_len),
        "--dtype": dtype(cpu_info),
        "--block-size": str(BLOCK_SIZE),
        "--max-num-batched-tokens": str(STEP_TOKENS),
    }
    words = [word for argument in arguments.items() for word in argument]
    flags = ["--enable-prompt-embeds", "--disable-uvicorn-access-log", *shlex.split(settings.vllm_args)]
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words, *flags]


def dtype(cpu_info: str) -> str:
    """What to compute in: an x86 CPU without bfloat16 matrix units (AMX) writes a quarter more tokens in float32."""
    flags = next((line.split() for line in cpu_info.splitlines() if line.startswith("flags")), ["amx_bf16"])
    return "auto" if "amx_bf16" in flags else "float32"


def environment(model_path: str, cores: set[int]) -> dict[str, str]:
    """What vLLM takes from the environment where the user does not say otherwise.

    Args:
        model_path: folder or hub name.
        cores: the CPU cores that this process may use.
    """
    chosen = {
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; vLLM would take nearly all of the memory
        "VLLM_CPU_OMP_THREADS_BIND": threads_bind(cores),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if Path(model_path).is_dir():
        chosen["HF_HUB_OFFLINE"] = "1"
    return chosen


def threads_bind(cores: set[int]) -> str:
    """Which cores compute. vLLM's `auto` leaves one out, which on two cores costs a third of the tokens."""
    return ",".join(map(str, sorted(cores))) if len(cores) <= FEW_CORES else "auto"


def main() -> None:
    """Become the server."""
    settings = EngineSettings()
    model_path = BASE_MODEL.prepare(settings)
    line = command(settings, model_path, CPU_INFO.read_text() if CPU_INFO.exists() else "")
    os.execve(line[0], line, environment(model_path, os.sched_getaffinity(0)) | os.environ)


if __name__ == "__main__":
    main()
