"""Posts under every prompt of a basis, also for other studies."""

from collections.abc import Iterable

from rich.console import Console

from client.texts import Sampling
from research.screen import progress_on
from research.stack import writer
from research.topics.arms import Pool, Pools
from research.topics.writing import cached_writer
from slop.basis import Basis


async def kept_pools(
    console: Console, basis: Basis, seeds: Iterable[int], posts: int, *, local: bool = False
) -> dict[int, Pool]:
    """So many posts under every prompt for each seed; those that the topics study has written are not written anew."""
    async with writer(console, basis, local=local) as engine:
        with progress_on(console) as progress:
            pools = Pools(cached_writer(engine, basis, progress), basis, Sampling())
            return {seed: await pools.soft(seed, posts) for seed in seeds}
