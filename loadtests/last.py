"""How long until all reactions are learned: the latest readers react once more, and their profiles are watched.

A reader's interactions are learned in order: a profile that has learned the last one has learned all.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import httpx

from client.rest import LINGERED_MS, Event
from loadtests.settings import LoadSettings

READERS: Final = 20
PATIENCE_S: Final = 60.0
POLL_S: Final = 0.1
TIMEOUT_S: Final = 30.0


def learned_within(settings: LoadSettings, users: Mapping[str, str]) -> float | None:
    """Seconds until a last reaction of each of the latest READERS readers is in their profiles.

    Args:
        settings: where the services are.
        users: readers with a post that each knows, those who reacted latest last.

    Returns:
        None where nobody reacted, or it took longer than PATIENCE_S, or a service does not answer.
    """
    late = dict(list(users.items())[-READERS:])
    if not late:
        return None
    started, started_ms = time.monotonic(), time.time() * 1_000 - 1
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            body = {"events": [Event(user, post, "dwell", LINGERED_MS).as_json() for user, post in late.items()]}
            client.post(f"{settings.collector}/v1/events", json=body).raise_for_status()
            while late and time.monotonic() - started < PATIENCE_S:
                late = {user: post for user, post in late.items() if _updated_ms(client, settings, user) < started_ms}
                time.sleep(POLL_S if late else 0)
    except (httpx.HTTPError, ValueError, LookupError):
        return None
    return None if late else time.monotonic() - started


def _updated_ms(client: httpx.Client, settings: LoadSettings, user_id: str) -> float:
    """When the newest reaction in a profile was received, Unix milliseconds; 0 where there is no profile yet."""
    response = client.get(f"{settings.generation}/v1/users/{user_id}/profile")
    if response.status_code == httpx.codes.NOT_FOUND:
        return 0.0
    return 1_000 * datetime.fromisoformat(response.raise_for_status().json()["updated_at"]).timestamp()
