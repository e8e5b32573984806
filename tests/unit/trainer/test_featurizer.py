import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from slop.posts import PostRef, PostText
from slop.topics import encode
from slop.v1.post_pb2 import Post
from tests.basis import random_basis
from trainer.featurizer import _texts_of, instance_under
from trainer.settings import FeaturizerSettings


def test_a_featurizer_without_a_basis_says_what_to_do(tmp_path: Path) -> None:
    environment = os.environ | {"SLOP_MODEL": str(tmp_path), "SLOP_BASIS_DIR": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-m", "trainer.featurizer"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("featurizer: no usable basis in")


def test_a_copy_that_a_client_sends_does_not_hide_the_arm_of_a_post() -> None:
    written = Post(tenant="t", post_id="p", text="rain", arm="soft", for_user_id="ada")
    copy, other = Post(tenant="t", post_id="p", text="rain"), Post(tenant="t", post_id="p", text="sun")

    def texts(*posts: Post) -> PostText:
        records = [SimpleNamespace(partition=0, offset=offset, value=encode(post)) for offset, post in enumerate(posts)]
        return _texts_of(records)[PostRef("t", "p")]

    assert texts(written, copy) == texts(copy, written) == PostText("rain", "soft", "ada")
    assert texts(written, other) == PostText("sun")


def test_a_replica_that_keeps_its_name_has_one_for_each_basis() -> None:
    settings = FeaturizerSettings(_env_file=None, model="none", featurizer_instance="a")
    assert len({instance_under(random_basis(seed=seed), settings) for seed in (0, 1)}) == 2
    unnamed = FeaturizerSettings(_env_file=None, model="none")
    assert instance_under(random_basis(), unnamed) == ""
