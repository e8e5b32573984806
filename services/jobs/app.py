"""The Celery application; `celery -A jobs.app` (inspect, call, purge, …) works with it.

Arguments and results of jobs are JSON. A job is acknowledged once it is done. A job that was taken and not acknowledged
within the visibility timeout is given to another worker, so the timeout is longer than any job may take.
"""

from typing import Any, Final

from celery import Celery
from celery.schedules import crontab

from jobs import tasks
from jobs.names import CENSUS, FIT_BASIS, FIT_FACTORS, HEAVY, LIGHT, PREGENERATE, SNAPSHOT_PROFILES
from jobs.settings import JobsSettings

RESULTS_KEPT_S: Final = 7 * 24 * 3600
SNAPSHOT_MINUTE: Final = 15
SNAPSHOT_LATEST_S: Final = 6 * 3600
MARGIN_S: Final = 600
BEAT_INTERVAL_S: Final = 5


def configuration(settings: JobsSettings) -> dict[str, Any]:
    """Celery's configuration."""
    longest_s = max(settings.fit_basis_timeout_s, settings.snapshot_timeout_s)
    transport = {
        "visibility_timeout": longest_s + MARGIN_S,
        "socket_timeout": settings.jobs_timeout_s,
        "socket_connect_timeout": settings.jobs_timeout_s,
    }
    return {
        "broker_url": settings.broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": transport,
        "result_backend": settings.broker_url,
        "result_expires": RESULTS_KEPT_S,
        "redis_socket_timeout": settings.jobs_timeout_s,
        "redis_socket_connect_timeout": settings.jobs_timeout_s,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_default_queue": LIGHT,
        "task_routes": {name: {"queue": HEAVY} for name in (FIT_BASIS, FIT_FACTORS)},
        "task_acks_late": True,
        "task_track_started": True,
        "worker_deduplicate_successful_tasks": True,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "beat_max_loop_interval": BEAT_INTERVAL_S,
        "beat_schedule": schedule(settings),
        "timezone": "UTC",
    }


def schedule(settings: JobsSettings) -> dict[str, Any]:
    """What beat sends and when; a job that still waits when the next one is due expires."""
    nightly = crontab(minute=str(SNAPSHOT_MINUTE), hour=str(settings.snapshot_hour))
    every_s, pregenerate_s = settings.census_every_s, settings.pregeneration_every_s
    return {
        "census": {"task": CENSUS, "schedule": every_s, "options": {"expires": every_s}},
        "pregeneration": {
            "task": PREGENERATE,
            "schedule": pregenerate_s,
            "options": {"expires": pregenerate_s},
        },
        "nightly snapshot": {"task": SNAPSHOT_PROFILES, "schedule": nightly, "options": {"expires": SNAPSHOT_LATEST_S}},
    }


def create_app(settings: JobsSettings) -> Celery:
    """An application with all jobs."""
    made = Celery("slop")
    made.conf.update(configuration(settings))
    made.task(tasks.census, name=CENSUS, ignore_result=True)
    made.task(tasks.pregenerate, name=PREGENERATE, ignore_result=True)
    made.task(tasks.snapshot_profiles, name=SNAPSHOT_PROFILES)
    made.task(tasks.build_basis, name=FIT_BASIS, bind=True)
    made.task(tasks.build_factors, name=FIT_FACTORS, bind=True)
    return made


app = create_app(JobsSettings())
