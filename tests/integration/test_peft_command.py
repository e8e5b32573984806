"""The command line that exports a reader's soft prompt from a real Redis, and imports it back."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from peft import PromptTuningConfig
from redis import Redis
from safetensors.numpy import load_file

from slop.basis import Basis
from slop.redis.profiles import Profiles, User, Write
from tests.basis import basis_of, profile_of
from tests.signals import DAY_MS
from tests.tiny_model import random_prompts, save_tiny_model
from training.language_model import revision_of
from training.peft_adapter.__main__ import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def basis(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Basis:
    return replace(basis_of(random_prompts(4).numpy()), revision=revision_of(model))


@pytest.fixture(autouse=True)
def environment(
    basis: Basis, model: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """What the command reads, and an empty folder to work in."""
    basis.save(tmp_path / "basis")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLOP_REDIS_URL", redis_url)
    monkeypatch.setenv("SLOP_BASIS_DIR", str(tmp_path / "basis"))
    monkeypatch.setenv("SLOP_MODEL", str(model))
    return monkeypatch


def process(*words: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own, to its end."""
    line = [sys.executable, "-m", "training.peft_adapter", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def refusal(environment: pytest.MonkeyPatch, *words: str) -> str:
    """What the command ends with, in this process, which takes a tenth of the time."""
    environment.setattr(sys, "argv", ["peft_adapter", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return str(ended.value)


@pytest.fixture
def readers(redis_client: Redis, basis: Basis) -> None:
    """Ann likes the second prompt's posts best; Bob likes nothing."""
    profiles = Profiles(redis_client, basis.version, 7 * DAY_MS)
    for user, weights in {"ann": (0.1, 0.9, 0.2, -1), "bob": (-1, -1, -1, -1)}.items():
        write = Write(User("default", user), None, profile_of(basis, weights), b"")
        assert profiles.apply([write]) == [True]


@pytest.mark.usefixtures("readers")
def test_a_readers_soft_prompt_is_exported_and_imported_back(basis: Basis) -> None:
    exported = process("export", "--user", "ann", "--out", "adapter")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout.startswith("prompt 1 (football, goals, match")
    assert "ann" not in Path("adapter/README.md").read_text().split()
    assert PromptTuningConfig.from_pretrained("adapter").token_dim == 16
    imported = process("import", "adapter", "--out", "back/prompt.safetensors")
    assert imported.returncode == 0, imported.stderr
    assert load_file("back/prompt.safetensors")["prompt"].tobytes() == basis.prompts[1].tobytes()


def test_a_prompt_of_the_basis_needs_no_reader_and_no_redis(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("SLOP_REDIS_URL", "redis://127.0.0.1:1/0")
    environment.setattr(sys, "argv", ["peft_adapter", "export", "--prompt", "3", "--out", "adapter"])
    main()
    assert capsys.readouterr().out.startswith("prompt 3 (space, stars")
    assert Path("adapter/adapter_model.safetensors").is_file()


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--user", "bob"], "bob likes nothing more than others do"),
        (["--user", "eve"], "nothing was learned of eve"),
        (["--prompt", "4"], "has prompts 0 to 3"),
    ],
)
def test_what_can_not_be_exported_is_said_in_one_line(
    environment: pytest.MonkeyPatch, words: list[str], reason: str
) -> None:
    said = refusal(environment, "export", *words, "--out", "adapter")
    assert said.startswith("export: ")
    assert reason in said
    assert not Path("adapter").exists()


def test_a_redis_that_does_not_answer_is_said(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SLOP_REDIS_URL", "redis://127.0.0.1:1/0")
    assert "refused" in refusal(environment, "export", "--user", "ann", "--out", "adapter")


def test_a_folder_that_is_no_adapter_is_said(environment: pytest.MonkeyPatch) -> None:
    said = refusal(environment, "import", "basis", "--out", "prompt.safetensors")
    assert said == "import: no adapter_config.json in basis"


def test_a_model_that_the_basis_was_not_trained_on_is_refused(environment: pytest.MonkeyPatch, basis: Basis) -> None:
    other = Path("other")
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"other weights")
    said = refusal(environment, "export", "--prompt", "0", "--out", "adapter", "--model", "other")
    assert f"the basis is of test {basis.revision}, other is" in said
