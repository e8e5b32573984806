"""Watches what the services' readiness checks report during a fault."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from loadtests.faults.services import Readiness, Service

LOOK_S: Final = 0.25
NO_ANSWER: Final = "no answer"


class Watch:
    """Asks every service again and again, each in a thread of its own, and remembers what was wrong."""

    def __init__(self, services: Sequence[Service], without: str = "") -> None:
        """`without` is a check that need not hold, where there is no engine."""
        self._without = without
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._said: dict[str, dict[str, str]] = {service.name: {} for service in services}
        self._now: dict[str, Readiness] = {service.name: Readiness() for service in services}
        self._threads = [threading.Thread(target=self._ask, args=(service,), daemon=True) for service in services]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def forget(self) -> None:
        """Drop what was reported so far."""
        with self._lock:
            for said in self._said.values():
                said.clear()

    def said(self) -> Mapping[str, Mapping[str, str]]:
        """For each service the checks that failed, with their latest messages; NO_ANSWER where it did not answer."""
        with self._lock:
            return {name: dict(said) for name, said in self._said.items() if said}

    def all_ready(self) -> bool:
        """Whether every service was ready when it was last asked."""
        with self._lock:
            return all(readiness.ready_without(self._without) for readiness in self._now.values())

    def not_ready(self) -> str:
        """Who is not ready now, and why, in words."""
        with self._lock:
            return "; ".join(
                f"{name}: {', '.join(f'{check} {said}' for check, said in now.failing.items()) or NO_ANSWER}"
                for name, now in self._now.items()
                if not now.ready_without(self._without)
            )

    def _ask(self, service: Service) -> None:
        while not self._stop.is_set():
            readiness = service.readiness()
            with self._lock:
                self._now[service.name] = readiness
                said = readiness.failing if readiness.answered else {NO_ANSWER: ""}
                self._said[service.name] |= {check: why for check, why in said.items() if check != self._without}
            self._stop.wait(LOOK_S)


def missing_from(said: Mapping[str, Mapping[str, str]], expected: Mapping[str, str]) -> list[str]:
    """The failures that were expected and not reported, in words.

    Args:
        said: as `Watch.said` has it.
        expected: services, each with the check that must have failed; NO_ANSWER for one that must be away.
    """
    return [
        f"{service} never said that {check} fails" if check != NO_ANSWER else f"{service} always answered"
        for service, check in expected.items()
        if check not in said.get(service, {})
    ]


def until(holds: Callable[[], bool], timeout_s: float) -> float | None:
    """Wait until something holds; returns how long that took, seconds, or None if it did not in time."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > timeout_s:
            return None
        time.sleep(LOOK_S)
    return time.monotonic() - began
