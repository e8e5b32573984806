"""A basis is built from what a real log has of people's posts and of readers' reactions."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slop.basis import Basis
from slop.kafka.log import whole_log
from slop.kafka.topics import SIGNALS
from slop.settings import LearningSettings
from slop.v1.post_pb2 import Post
from slop.v1.signal_pb2 import Signal, Source
from tests.basis import random_basis
from tests.learners import publish, wait_until
from tests.posts import people_posts, publish_posts
from tests.servers import tansu_server
from tests.tiny_embedder import save_tiny_embedder
from tests.tiny_model import save_tiny_model
from training.basis.from_log import Catalogue

BASIS = random_basis()
PEOPLE, READERS = people_posts("people", 40), 30
DELETED = PEOPLE[:5]
GENERATED = [
    Post(tenant="default", post_id=f"gen-{number}", text=f"Written {number}", for_user_id="ann", arm="soft")
    for number in range(30)
]
OWN = [(f"cat-{number}", f"A star {number} shines over the soil") for number in range(10)]


def reactions() -> list[Signal]:
    """Half of all readers like what has an even number, the others what has an odd one; generated ones too."""
    shown = [post.post_id for post in (*PEOPLE, *GENERATED)] + [post_id for post_id, _ in OWN]
    return [
        Signal(
            event_id=f"{reader}-{post_id}",
            tenant="default",
            user_id=f"reader-{reader}",
            post_id=post_id,
            source=Source(partition=0, offset=reader * len(shown) + place),
            basis=BASIS.version,
            features=[0.0] * BASIS.feature_count,
            label=float(int(post_id.split("-")[1]) % 2 == reader % 2),
            weight=1.0,
        )
        for reader in range(READERS)
        for place, post_id in enumerate(shown)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue's file, a basis and a model."""
    folder = tmp_path_factory.mktemp("catalogue")
    BASIS.save(folder / "live")
    save_tiny_model(folder / "model")
    save_tiny_embedder(folder / "embedder")
    rows = [json.dumps({"post_id": post_id, "text": text}) for post_id, text in OWN]
    (folder / "posts.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LearningSettings]:
    """A log with posts, some of which are deleted, and reactions."""
    server, signals = tansu_server(tmp_path_factory.mktemp("tansu")), reactions()
    server.start()
    publish_posts(server.bootstrap, [*PEOPLE, *GENERATED], DELETED)
    publish(server.bootstrap, signals)
    settings = LearningSettings(
        _env_file=None, kafka_bootstrap=server.bootstrap, basis_dir=folder / "live", tenant="default"
    )
    wait_until(lambda: sum(1 for _ in whole_log(settings, SIGNALS)) == len(signals))  # Tansu tells its ends late
    yield settings
    server.stop()


def test_a_build_reads_what_people_wrote_and_did_not_delete_and_who_liked_it(
    settings: LearningSettings, folder: Path
) -> None:
    catalogue = Catalogue.of_log(folder / "posts.jsonl", settings, most=100, seed=0)
    kept = [post.text for post in reversed(PEOPLE) if post not in DELETED]
    assert catalogue.posts == [text for _, text in OWN] + kept
    assert catalogue.engagement is not None
    odd = np.array([number % 2 for number in range(10)] + [number % 2 for number in range(39, 4, -1)])
    nearness = catalogue.engagement @ catalogue.engagement.T
    assert nearness[odd[:, None] == odd].min() > 0.9
    assert nearness[odd[:, None] != odd].max() < -0.9


def test_the_command_builds_a_basis_from_the_log(settings: LearningSettings, folder: Path) -> None:
    places = {"--model": "model", "--catalogue": "posts.jsonl", "--out": "new", "--checkpoint": "work/checkpoint.pt"}
    places |= {"--embedder": "embedder"}
    words = [word for option, name in places.items() for word in (option, str(folder / name))]
    command = [sys.executable, "-m", "training.basis", *words, "--log", "--prompts", "2", "--rounds", "1", "1"]
    command += ["--written", "2"]
    known = {"SLOP_KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "SLOP_BASIS_DIR": str(settings.basis_dir)}
    done = subprocess.run(command, env=os.environ | known, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "35 posts of the log beside 10 of the catalogue" in done.stdout
    assert "45 of 45 posts with enough reactions" in done.stdout
    built = Basis.load(folder / "new").built
    assert (built["posts"], built["engaged_posts"]) == (45, 45)
    assert not (folder / "work" / "checkpoint.posts.pt").exists()
