"""Prints which of the addresses `host:port` in its arguments accept a TCP connection from here."""

import asyncio
import sys

TIMEOUT_S = 1.5
AT_ONCE = asyncio.Semaphore(200)


async def look(address: str) -> None:
    """Print an address that answers."""
    host, port = address.rsplit(":", 1)
    async with AT_ONCE:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, int(port))
        except OSError:  # TimeoutError is one
            return
    writer.close()
    print(address)


async def main() -> None:
    """Try all at once."""
    await asyncio.gather(*map(look, sys.argv[1:]))


asyncio.run(main())
