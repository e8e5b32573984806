"""Load for a running stack, compose's or the local one, to be steered in the browser:

    locust -f loadtests/locustfile.py              readers, and among twenty of them one sender of batches
    locust -f loadtests/locustfile.py Ingestion    senders of batches alone

Run it from the repository's root and open http://localhost:8089. The host that the page asks for is not used: the
addresses are SLOP_COLLECTOR_URL and SLOP_GENERATION_URL, by default this machine's. `make loadtest` does the same
without a browser, for a minute.
"""

import logging
import sys
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtests.feed import NotRegistered, register
from loadtests.ingestion import Ingestion
from loadtests.reading import Reading
from loadtests.settings import WrongSettings, load_settings

__all__ = ["Ingestion", "Reading"]

log = logging.getLogger(__name__)

try:
    settings = load_settings()
except WrongSettings as error:
    sys.exit(str(error))


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def register_posts(environment: Environment, **_: Any) -> None:
    """Before users come, the posts that they will see are registered."""
    if isinstance(environment.runner, WorkerRunner):
        return
    try:
        log.info("%d posts registered", register(settings))
    except NotRegistered as error:
        log.error("%s", error)
        if environment.runner is not None:
            environment.runner.quit()
