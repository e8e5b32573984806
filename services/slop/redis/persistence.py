"""What one run of a Redis has persisted, and writing to that run only.

A *run* is one process of the server, known by its `run_id`. A later run may have lost what was written to a former one.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from redis import ConnectionPool, Redis
from redis.exceptions import ResponseError

WAIT_MS: Final = 1  # of WAITAOF: the least; 0 waits for ever
RUN_ID: Final = re.compile(rb"run_id:(\w+)")


@dataclass(frozen=True, slots=True)
class RedisState:
    """What a Redis says of itself.

    Attributes:
        connection: the number of the connection that asks.
        run: of this Redis' process.
        is_durable: whether it has an append-only file.
        is_sound: whether the file is written without errors, and nothing of it is on its way to the disk.
        persisted: whether all that this connection has written is on disk; None: it was not asked, or can't tell.
    """

    connection: int
    run: str
    is_durable: bool
    is_sound: bool
    persisted: bool | None


class OtherRun(Exception):  # noqa: N818
    """Redis was started anew: what was to be written to the former run is not written."""


class RunBoundRedis:
    """A client that writes to one run of Redis, however often it connects."""

    def __init__(self, redis: Redis) -> None:
        """Connects to the server of `redis`; until `move` it writes to any run."""
        pool = redis.connection_pool
        settings = pool.connection_kwargs | {"redis_connect_func": self._on_connect}
        self._run, self.redis = "", Redis(connection_pool=ConnectionPool(pool.connection_class, **settings))

    def move(self, run: str) -> None:
        """Write to this run from now on."""
        if run != self._run:
            self._run = run
            self.redis.connection_pool.disconnect()

    def close(self) -> None:
        """Close the connections."""
        self.redis.connection_pool.disconnect()

    def _on_connect(self, connection: Any) -> None:
        connection.on_connect()
        connection.send_command("INFO", "server")
        found = RUN_ID.search(bytes(connection.read_response()))
        run = found[1].decode() if found else ""
        if self._run and run != self._run:
            connection.disconnect()
            raise OtherRun(f"Redis was started anew: {run}, not {self._run}")


class Persistence:
    """Asks Redis what it has persisted, over a connection of its own.

    WAITAOF tells whether this connection's last write is on disk. If it is, so are all that Redis did before it.
    """

    def __init__(self, redis: Redis) -> None:
        """Connects to the server of `redis` at the first call; every call may raise redis.exceptions.RedisError."""
        pool = redis.connection_pool
        one = ConnectionPool(pool.connection_class, max_connections=1, **pool.connection_kwargs)
        self._redis, self._knows_waitaof = Redis(connection_pool=one), True

    def look(self, *, persisted: bool) -> RedisState:
        """What Redis says now, and whether all is persisted if that is asked; it takes about a millisecond."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.client_id()
        pipe.info("server")
        pipe.info("persistence")
        if persisted and self._knows_waitaof:
            pipe.waitaof(1, 0, WAIT_MS)
        number, server, persistence, *waited = pipe.execute(raise_on_error=False)
        for answer in (number, server, persistence):
            if isinstance(answer, Exception):
                raise answer
        durable = bool(persistence["aof_enabled"])
        return RedisState(
            connection=number,
            run=str(server["run_id"]),
            is_durable=durable,
            is_sound=persistence["aof_last_write_status"] == "ok" and not persistence.get("aof_pending_bio_fsync"),
            persisted=self._persisted(waited) if durable else None,
        )

    def write(self, key: str) -> int:
        """Write something that the next `look` asks about; returns the number of the connection."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.client_id()
        pipe.hincrby(key, "asked", 1)
        return int(pipe.execute()[0])

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()
        self._redis.connection_pool.disconnect()

    def _persisted(self, waited: list[Any]) -> bool | None:
        if not waited:
            return None
        if not isinstance(waited[0], Exception):
            return bool(waited[0][0])
        if isinstance(waited[0], ResponseError) and "unknown command" in str(waited[0]).lower():
            self._knows_waitaof = False
            return None
        raise waited[0]
