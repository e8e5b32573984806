import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from slop.storage import PostRef, PostText
from slop.topics import encode
from slop.v1.post_pb2 import Post
from trainer.featurizer import _texts_of


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
