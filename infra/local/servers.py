"""Servers that a test or a load test starts, kills and starts again, on free loopback ports."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.local import kafka as local_kafka
from infra.local import redis as local_redis
from infra.local.ports import free_port
from infra.local.ready import kafka_answers, redis_answers

HOST: Final = "127.0.0.1"
POLL_S: Final = 0.05
END_S: Final = 20.0
LOG_CHARACTERS: Final = 4_000


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
        """Does not start it.

        Args:
            command: the command line.
            answers: whether it does what it is for.
            log: file that its output is appended to.
            env: what is in its environment besides this process' own.
            timeout_s: how long a start may take.
        """
        self.log = log
        self._command, self._answers, self._timeout_s = list(command), answers, timeout_s
        self._env = os.environ | dict(env or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers.

        Raises:
            RuntimeError: it never does; the message has the end of its log.
        """
        self.launch()
        deadline = time.monotonic() + self._timeout_s
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._command[0]} does not answer:\n{self.log.read_text()[-LOG_CHARACTERS:]}")
            time.sleep(POLL_S)

    def launch(self) -> None:
        """Start it unless it runs, without waiting for anything."""
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
            self.process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=END_S)
        self.process = None


class KafkaServer(Server):
    """A broker.

    Attributes:
        bootstrap: the address that clients take.
    """

    bootstrap: str


class ApacheKafka(KafkaServer):
    """An Apache Kafka; started again after a kill it has the data it had."""

    def __init__(self, home: Path, folder: Path, proxied: local_kafka.Proxied | None = None) -> None:
        """Formats its volume, `data` in `folder`; `proxied` says where clients come by a proxy.

        Raises:
            infra.models.packages.MissingBinary: `home` is no Apache Kafka, or there is no Java.
        """
        port, controller_port, data = free_port(), free_port(), folder / "data"
        self.bootstrap, self._data = f"{HOST}:{port}", data
        self._format: Callable[[], list[str]] = lambda: local_kafka.apache_command(
            home, port, controller_port, data, HOST, proxied
        )
        env = local_kafka.apache_environment(data)
        super().__init__(self._format(), lambda: kafka_answers(HOST, port), folder / "kafka.log", env)

    def replace_volume(self) -> None:
        """Have an empty volume from the next start on; it must not run. What was there stays beside it."""
        numbers = (self._data.with_name(f"{self._data.name}.{number}") for number in range(1, 1_000))
        self._data.rename(next(path for path in numbers if not path.exists()))
        self._format()


def redis_server(folder: Path, data: Path | None = None) -> tuple[Server, str]:
    """A Redis that is not started yet, and its URL; with its data in `data`, else in memory only."""
    port = free_port()
    command = local_redis.command(port, data=data)
    return Server(command, lambda: redis_answers(HOST, port), folder / "redis.log"), f"redis://{HOST}:{port}/0"


def tansu_server(folder: Path) -> KafkaServer:
    """A Tansu broker that is not started yet; it forgets everything when it ends."""
    port = free_port()
    server = KafkaServer(local_kafka.tansu_command(port), lambda: kafka_answers(HOST, port), folder / "tansu.log")
    server.bootstrap = f"{HOST}:{port}"
    return server


def apache_kafka_home() -> Path | None:
    """The unpacked Apache Kafka that `KAFKA_HOME` names, else the one in ../shared/kafka beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "kafka"
    for home in (os.environ.get("KAFKA_HOME"), beside):
        if home and (Path(home) / "bin" / "kafka-server-start.sh").is_file():
            return Path(home)
    return None
