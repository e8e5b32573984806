"""Real servers for tests, on free loopback ports."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from native import kafka as native_kafka
from native import redis as native_redis
from native.ports import free_port
from native.ready import kafka_answers, redis_answers

HOST = "127.0.0.1"


class Server:
    """A process in its own group, which answers once `start` returns and is gone once `stop` or `kill` does."""

    def __init__(
        self,
        command: Sequence[str],
        answers: Callable[[], bool],
        log: Path,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.log = log
        self._command, self._answers, self._timeout_s = list(command), answers, timeout_s
        self._env = os.environ | dict(env or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers; raises RuntimeError with its log if it never does."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
        deadline = time.monotonic() + self._timeout_s
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._command[0]} does not answer:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it politely."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=20)
        self.process = None


class KafkaServer(Server):
    """A broker, with the address that clients take."""

    bootstrap: str


def redis_server(folder: Path, data: Path | None = None) -> tuple[Server, str]:
    """A Redis that is not started yet, and its URL."""
    port = free_port()
    command = native_redis.command(port, data=data)
    return Server(command, lambda: redis_answers(HOST, port), folder / "redis.log"), f"redis://{HOST}:{port}/0"


def tansu_server(folder: Path) -> KafkaServer:
    """A Tansu broker that is not started yet; it forgets everything when it ends."""
    port = free_port()
    server = KafkaServer(native_kafka.tansu_command(port), lambda: kafka_answers(HOST, port), folder / "tansu.log")
    server.bootstrap = f"{HOST}:{port}"
    return server


def apache_kafka_server(home: Path, folder: Path) -> KafkaServer:
    """An Apache Kafka that is not started yet; started again after a kill it has the data it had."""
    port = free_port()
    command = native_kafka.apache_command(home, port, free_port(), folder / "data")
    env = native_kafka.apache_environment(folder / "data")
    server = KafkaServer(command, lambda: kafka_answers(HOST, port), folder / "kafka.log", env)
    server.bootstrap = f"{HOST}:{port}"
    return server


def apache_kafka_home() -> Path | None:
    """The unpacked Apache Kafka that `KAFKA_HOME` names, else the one beside the checkout, else None."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "kafka"
    for home in (os.environ.get("KAFKA_HOME"), beside):
        if home and (Path(home) / "bin" / "kafka-server-start.sh").is_file():
            return Path(home)
    return None
