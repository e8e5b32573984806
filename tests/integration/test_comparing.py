"""A basis against the live one, by a real log and the command that a rollout runs."""

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jobs.comparing import NotBetter, NotCompared, compared
from jobs.settings import JobsSettings
from slop.basis import Basis
from slop.kafka.log import whole_log
from slop.kafka.topics import SIGNALS
from slop.rollout.live import BasisRef
from slop.v1.signal_pb2 import Signal, Source
from tests.basis import random_basis
from tests.jobs import jobs_settings
from tests.learners import publish, wait_until
from tests.servers import KafkaServer

READERS, POSTS = 20, 30

pause = partial(time.sleep, 0.05)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[BasisRef, BasisRef]:
    """A live basis and a next one."""
    folders = [tmp_path_factory.mktemp(name) for name in ("live", "next")]
    for seed, folder in enumerate(folders):
        random_basis(seed=seed).save(folder)
    return BasisRef.of(folders[0]), BasisRef.of(folders[1])


def signals_of(basis: Basis, *, telling: bool) -> list[Signal]:
    """Reactions of readers, with features that tell of them or do not."""
    rng = np.random.default_rng(0)
    posts, readers = rng.normal(size=(POSTS, basis.text_size)), rng.normal(size=(READERS, basis.text_size))
    labels = 1 / (1 + np.exp(-2 * readers @ posts.T))
    features = posts if telling else rng.normal(size=posts.shape)
    return [
        Signal(
            event_id=f"{reader}-{post}",
            tenant="default",
            user_id=f"reader-{reader}",
            post_id=f"post-{post}",
            source=Source(partition=0, offset=reader * POSTS + post),
            basis=basis.version,
            features=features[post].tolist(),
            label=labels[reader, post],
            weight=1.0,
        )
        for reader in range(READERS)
        for post in np.random.default_rng(reader).permutation(POSTS).tolist()
    ]


@pytest.fixture
def settings(places: tuple[BasisRef, BasisRef], fresh_kafka: KafkaServer, tmp_path: Path) -> JobsSettings:
    """Of a log in which the next basis' features tell more."""
    live, following = (place.load() for place in places)
    signals = [*signals_of(live, telling=False), *signals_of(following, telling=True)]
    publish(fresh_kafka.bootstrap, signals)
    chosen = jobs_settings(tmp_path, "redis://127.0.0.1:9", kafka_bootstrap=fresh_kafka.bootstrap)
    wait_until(lambda: sum(1 for _ in whole_log(chosen, SIGNALS)) == len(signals))  # Tansu tells its ends late
    return chosen


def test_the_better_basis_may_take_the_live_ones_place_and_not_the_other_way_round(
    settings: JobsSettings, places: tuple[BasisRef, BasisRef]
) -> None:
    live, following = places
    assert f"of {READERS} held-out readers" in compared(live, following, settings, pause)
    with pytest.raises(NotBetter, match="gain -"):
        compared(following, live, settings, pause)


def test_a_log_that_cannot_be_read_is_named(places: tuple[BasisRef, BasisRef], tmp_path: Path) -> None:
    away = jobs_settings(tmp_path, "redis://127.0.0.1:9", kafka_bootstrap="127.0.0.1:9")
    with pytest.raises(NotCompared, match=r"no broker answers at 127\.0\.0\.1:9"):
        compared(*places, away, pause)
