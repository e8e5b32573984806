"""`python -m infra.local.redis` runs Redis (or Valkey) in the foreground, on loopback.

With a durable Kafka every write is in an append-only file within a second; with Tansu everything is in memory only.
"""

import os
from pathlib import Path

from infra.local import binaries
from infra.local.settings import LocalSettings


def command(port: int, host: str = "127.0.0.1", data: Path | None = None) -> list[str]:
    """The command line of a server that keeps its data in the folder `data`, or in memory only.

    Raises:
        infra.models.packages.MissingBinary: no server is installed.
    """
    arguments = {
        "bind": host,
        "port": str(port),
        # A profile is never evicted: its reader would be back as one of whom nothing is known.
        "maxmemory-policy": "noeviction",
        "hash-max-ziplist-value": "1024",  # a profile's hash in one piece: 490 bytes instead of 776
        "save": "",
        "appendonly": "yes" if data else "no",
        "appendfsync": "everysec",
    }
    if data:
        data.mkdir(parents=True, exist_ok=True)
        arguments["dir"] = str(data)
    return [str(binaries.redis_server()), *(word for key, value in arguments.items() for word in (f"--{key}", value))]


def main() -> None:
    """Become the server."""
    settings = LocalSettings()
    host, port = settings.redis_address
    line = command(port, host, settings.run_dir / "redis" if settings.durable else None)
    os.execv(line[0], line)


if __name__ == "__main__":
    main()
