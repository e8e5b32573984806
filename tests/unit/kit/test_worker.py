import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from kit.worker import Stopped, health_server, in_thread, retry


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError("away")
        return "answer"


def test_an_action_is_repeated_until_it_succeeds() -> None:
    flaky = Flaky(2)
    assert retry(flaky, (ConnectionError,), threading.Event(), "ask") == "answer"
    assert flaky.calls == 3


def test_waits_grow() -> None:
    started = time.monotonic()
    retry(Flaky(3), (ConnectionError,), threading.Event(), "ask")
    assert time.monotonic() - started >= 0.1 + 0.2 + 0.4


def test_another_error_is_raised_at_once() -> None:
    flaky = Flaky(1)
    with pytest.raises(ConnectionError):
        retry(flaky, (ValueError,), threading.Event(), "ask")
    assert flaky.calls == 1


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    started = time.monotonic()
    with pytest.raises(Stopped, match="ask"):
        retry(Flaky(10**6), (ConnectionError,), stop, "ask")
    assert time.monotonic() - started < 2


def client_of(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)


def test_health_is_served_and_follows_the_dependency() -> None:
    away = threading.Event()

    def check() -> None:
        if away.is_set():
            raise ConnectionError("nobody there")

    with health_server("127.0.0.1", 0, {"store": in_thread(check)}) as port, client_of(port) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").json() == {"status": "ready", "checks": {"store": "ok"}}
        away.set()
        unready = client.get("/readyz")
        assert unready.status_code == 503
        assert "nobody there" in unready.json()["checks"]["store"]
        assert client.get("/healthz").status_code == 200
        assert "python_info" in client.get("/metrics").text
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)


def test_who_reads_the_metrics_is_told_what_is_ready_now() -> None:
    away = threading.Event()

    def check() -> None:
        if away.is_set():
            raise ConnectionError("nobody there")

    with health_server("127.0.0.1", 0, {"store": in_thread(check)}) as port, client_of(port) as client:
        assert {"slop_ready 1.0", 'slop_check_ok{check="store"} 1.0'} <= set(client.get("/metrics").text.splitlines())
        away.set()
        assert {"slop_ready 0.0", 'slop_check_ok{check="store"} 0.0'} <= set(client.get("/metrics").text.splitlines())


def test_a_check_that_hangs_is_not_ready_and_does_not_keep_the_answer() -> None:
    release = threading.Event()
    with health_server("127.0.0.1", 0, {"store": in_thread(lambda: release.wait(20))}) as port:
        with client_of(port) as client:
            started = time.monotonic()
            assert client.get("/readyz").status_code == 503
            assert time.monotonic() - started < 15
        release.set()


def test_a_taken_port_is_an_error_in_the_main_thread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = health_server("127.0.0.1", taken.getsockname()[1], {})
        with pytest.raises(OSError, match="in use"):
            server.__enter__()


STOPPABLE = """
from kit.worker import stop_on_signals
stop = stop_on_signals()
print("ready", flush=True)
print("stopped" if stop.wait(20) else "never", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_set_the_stop_flag(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STOPPABLE], stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == b"stopped\n"
        assert process.wait(timeout=10) == 0
