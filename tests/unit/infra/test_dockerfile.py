"""What the images' stages copy is enough for what they run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
OURS = ("COPY --from=sources ", "COPY --from=protos ")
NOT_CODE = shutil.ignore_patterns("__pycache__", "bases")
# The environment that tests run in finds the packages of the checkout; an image has what was copied into it alone.
IMPORTED = """
import sys
sys.path = [sys.argv[2], *(path for path in sys.path[1:] if path != sys.argv[3])]
__import__(sys.argv[1])
"""


def copied_by(stage: str) -> list[tuple[list[str], str]]:
    """The (sources, target) of our own code that a stage and those that it begins from copy, from the checkout."""
    found = re.search(rf"^FROM (\S+) AS {stage}\n(.*?)(?=^FROM |\Z)", DOCKERFILE.read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        return []  # an image of a registry
    base, body = found.groups()
    words = [line.split()[2:] for line in body.replace("\\\n", " ").splitlines() if line.startswith(OURS)]
    own = [([re.sub("^/(sources|app)/", "", one) for one in sources], target) for *sources, target in words]
    return [*copied_by(base), *own]


def test_every_stage_copies_files_of_the_checkout_from_the_one_that_gives_them_the_same_modes_everywhere() -> None:
    copies = re.findall(r"^COPY (?!--from=)(.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert copies == [". /sources"]


@pytest.mark.parametrize("umask", ["002", "022", "077"])
def test_files_have_the_same_modes_whatever_the_umask_of_the_checkout_was(umask: str, tmp_path: Path) -> None:
    """Else the builder would take them for changed, and install all packages again."""
    [chmod] = re.findall(r"^RUN (chmod .*) /sources$", DOCKERFILE.read_text(), re.MULTILINE)
    script = f"umask {umask}; mkdir folder; touch folder/text run; chmod +x run; {chmod} ."
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"folder": 0o755, "text": 0o644, "run": 0o755}


def test_all_that_is_copied_is_there_and_reaches_the_builder() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in re.findall(r"/sources/(\S+)", DOCKERFILE.read_text()):
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in sent), source


@pytest.mark.parametrize(
    ("stage", "module"),
    [
        ("converter", "infra.models.model"),
        ("converter", "infra.models.embedder"),
        ("converter", "slop.embedder"),
        ("engine", "infra.engine.vllm"),
        ("collector", "collector.app"),
        ("learner", "learner.app"),
        ("generation", "generation.app"),
        ("beat", "jobs.beat"),
        ("featurizer", "featurizer.app"),
        ("worker", "jobs.worker"),
        ("worker", "training.basis"),
    ],
)
def test_a_stage_has_all_of_our_code_that_it_runs(stage: str, module: str, tmp_path: Path) -> None:
    for sources, target in copied_by(stage):
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, dirs_exist_ok=True, ignore=NOT_CODE)
            else:
                (tmp_path / target).mkdir(exist_ok=True)
                shutil.copy(ROOT / source, tmp_path / target)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, module, str(tmp_path), str(ROOT / "services")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("name", ["services", "featurizer"])
def test_the_images_on_the_way_of_every_event_have_no_torch(name: str) -> None:
    packages = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE)
    assert "numpy" in packages
    assert not {"torch", "transformers", "sentence-transformers", "scikit-learn", "triton"} & set(packages)


WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "sklearn", "scipy", "sentence_transformers"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import featurizer.app
"""


def test_the_featurizer_is_imported_without_what_its_image_has_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=ROOT / "services", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
