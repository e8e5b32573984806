import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slop.basis import Basis
from slop.embedder import Embedder
from slop.encoder import Encoder
from tests.basis import basis_of
from tests.tiny_embedder import save_tiny_embedder
from tests.tiny_model import WORDS, random_prompts, save_tiny_model
from training.basis import head
from training.language_model import revision_of

POSTS = [" ".join(WORDS[at : at + 4]) for at in range(len(WORDS) - 4)]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Of the command, for a tiny model, its basis, an embedder of another revision and a few posts."""
    save_tiny_model(tmp_path / "model")
    basis = replace(basis_of(random_prompts(2).numpy()), revision=revision_of(tmp_path / "model"))
    basis.save(tmp_path / "basis")
    save_tiny_embedder(tmp_path / "embedder", revision="another")
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in POSTS))
    options = {
        "model": "model",
        "basis": "basis",
        "embedder": "embedder",
        "catalogue": "posts.jsonl",
        "checkpoint": "work/head.pt",
        "out": "out",
    }
    return ["head", *(f"--{name}={tmp_path / value}" for name, value in options.items()), "--written=3"]


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", arguments)
    head.main()


def test_the_head_of_a_basis_is_fitted_to_another_embedder_and_its_prompts_stay_as_they_are(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run([*arguments, "--components=2"], monkeypatch)
    before, after = Basis.load(tmp_path / "basis"), Basis.load(tmp_path / "out")
    np.testing.assert_array_equal(after.prompts, before.prompts)
    assert (after.prompts_version, after.embedder.revision) == (before.prompts_version, "another")
    features = Encoder(after, Embedder.load(tmp_path / "embedder")).features_of(POSTS)
    assert features.shape == (len(POSTS), 2 + 1 + 2)
    assert np.isfinite(features).all()
    assert f"basis {after.version}" in capsys.readouterr().out
    assert not list((tmp_path / "work").iterdir())


def test_a_basis_of_another_model_is_refused_before_anything_is_computed(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(Basis.load(tmp_path / "basis"), revision="0123456789ab").save(tmp_path / "basis")
    with pytest.raises(SystemExit, match="0123456789ab"):
        run(arguments, monkeypatch)
    assert not (tmp_path / "out").exists()
