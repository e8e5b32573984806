"""Factors fitted to a real log, by the command that a job runs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slop.basis import Basis
from slop.kafka.log import whole_log
from slop.kafka.topics import SIGNALS
from slop.settings import CommonSettings
from slop.style_subject import StyleSubjectBasis
from slop.v1.signal_pb2 import Signal, Source
from tests.basis import random_basis, spread_over, style_subject_for
from tests.learners import publish, wait_until
from tests.servers import KafkaServer

READERS, POSTS = 150, 20


def opinionated(basis: Basis) -> list[Signal]:
    """Ratings that follow two camps, which the posts' texts tell nothing of."""
    rng = np.random.default_rng(0)
    side, camp = rng.choice([-1, 1], POSTS), rng.choice([-1, 1], READERS)
    texts = rng.normal(size=(POSTS, basis.text_size))
    return [
        Signal(
            event_id=f"{reader}-{post}",
            tenant="default",
            user_id=f"reader-{reader}",
            post_id=f"post-{post}",
            source=Source(partition=0, offset=reader * POSTS + post),
            basis=basis.version,
            features=texts[post].tolist(),
            label=(1 + np.clip(0.7 * side[post] * camp[reader] + 0.2 * rng.normal(), -1, 1)) / 2,
            weight=6.0,
        )
        for reader in range(READERS)
        for post in rng.permutation(POSTS).tolist()
    ]


def fit(folder: Path, bootstrap: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"SLOP_KAFKA_BOOTSTRAP": bootstrap, "SLOP_BASIS_DIR": str(folder / "basis")}
    command = [sys.executable, "-m", "training.factors", "--size", "2", "--out", str(folder / "new")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def basis_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("factors")
    basis = random_basis()
    basis.save(folder / "basis")
    style_subject_for(basis, spread_over([(None, 0), (None, 1), (0, None), (1, None)])).save(folder / "basis")
    return folder


def test_a_log_of_two_camps_gives_a_basis_that_tells_them_apart(basis_folder: Path, fresh_kafka: KafkaServer) -> None:
    old = Basis.load(basis_folder / "basis")
    signals = opinionated(old)
    others = [Signal(basis="another", source=Source(partition=1, offset=offset)) for offset in range(5)]
    publish(fresh_kafka.bootstrap, [*signals, *others])
    settings = CommonSettings(kafka_bootstrap=fresh_kafka.bootstrap)
    wait_until(lambda: sum(1 for _ in whole_log(settings, SIGNALS)) == len(signals) + 5)  # Tansu tells its ends late

    done = fit(basis_folder, fresh_kafka.bootstrap)
    assert done.returncode == 0, done.stderr
    assert f"{len(signals)} reactions of {READERS} readers to {POSTS} posts" in done.stdout
    new = Basis.load(basis_folder / "new")
    assert new.factors is not None
    assert len(new.factors.posts) == POSTS
    assert (new.text_version, new.version != old.version) == (old.text_version, True)
    assert StyleSubjectBasis.beside(basis_folder / "new", new) is not None


def test_a_broker_that_is_away_is_named(basis_folder: Path) -> None:
    done = fit(basis_folder, "127.0.0.1:9")
    assert done.returncode == 1
    assert "no broker answers at 127.0.0.1:9" in done.stderr
