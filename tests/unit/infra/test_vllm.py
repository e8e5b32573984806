"""How vLLM is started."""

from pathlib import Path

from infra.engine import vllm
from infra.local.settings import LocalSettings


def _after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_vllm_listens_where_its_url_says_and_takes_soft_prompts() -> None:
    settings = LocalSettings(_env_file=None, vllm_url="http://127.0.0.1:7001/v1")
    words = vllm.command(settings, "some/model")
    assert (_after(words, "--host"), _after(words, "--port")) == ("127.0.0.1", "7001")
    assert _after(words, "--model") == "some/model"
    assert "--enable-prompt-embeds" in words


def test_what_the_cpu_is_fast_in_is_computed_in() -> None:
    assert vllm.dtype("processor: 0\nflags\t\t: fpu avx512f avx512_bf16\nbugs:") == "float32"
    assert vllm.dtype("flags\t\t: fpu avx512f amx_bf16 amx_tile\n") == "auto"
    assert vllm.dtype("Features : asimd bf16\n") == "auto"


def test_more_arguments_are_split_as_a_shell_does() -> None:
    settings = LocalSettings(_env_file=None, vllm_args="--dtype float32 --seed '7'")
    assert vllm.command(settings, "m")[-4:] == ["--dtype", "float32", "--seed", "7"]


def test_all_of_a_few_cores_compute_and_vllm_chooses_among_many() -> None:
    assert vllm.threads_bind({3, 1}) == "1,3"
    assert vllm.threads_bind(set(range(32))) == "auto"


def test_the_hub_is_asked_only_for_a_model_that_is_not_here(tmp_path: Path) -> None:
    assert vllm.environment(str(tmp_path), {0})["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in vllm.environment("owner/name", {0})
