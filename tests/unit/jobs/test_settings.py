from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.local.settings import LocalSettings
from jobs.app import configuration
from jobs.settings import JobsSettings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SLOP_REDIS_URL", "SLOP_JOBS_REDIS_URL", "SLOP_RUN_DIR", "SLOP_JOBS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_celery_has_a_database_of_its_own_on_the_redis_of_the_profiles() -> None:
    settings = JobsSettings(redis_url="rediss://user:secret@cache.example:6380/0?ssl_cert_reqs=none")
    assert settings.broker_url == "rediss://user:secret@cache.example:6380/1?ssl_cert_reqs=none"


def test_celery_may_have_another_redis() -> None:
    assert JobsSettings(jobs_redis_url="redis://other/3").broker_url == "redis://other/3"


def test_no_job_is_given_to_a_second_worker_before_its_time_is_over() -> None:
    settings = JobsSettings(fit_basis_timeout_s=10_000, snapshot_timeout_s=20_000)
    assert configuration(settings)["broker_transport_options"]["visibility_timeout"] > 20_000


def test_queues_may_be_chosen() -> None:
    assert JobsSettings(worker_queues="heavy,light").queues == ["heavy", "light"]


@pytest.mark.parametrize("queues", ["", "haevy", "light,", "light;heavy"])
def test_a_queue_that_nobody_sends_to_is_refused(queues: str) -> None:
    with pytest.raises(ValidationError, match="worker_queues"):
        JobsSettings(worker_queues=queues)


def test_commands_look_where_the_stack_that_runs_was_told_to_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert JobsSettings().jobs_dir == Path(".run/jobs")
    monkeypatch.setenv("SLOP_RUN_DIR", str(tmp_path / "elsewhere"))
    assert JobsSettings().snapshots_dir == LocalSettings().run_dir / "jobs" / "snapshots"
    monkeypatch.setenv("SLOP_JOBS_DIR", str(tmp_path / "jobs"))
    assert JobsSettings().bases_dir == tmp_path / "jobs" / "bases"
