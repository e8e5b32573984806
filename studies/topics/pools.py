"""Posts under every prompt of a basis, for other studies than this one too."""

from collections.abc import Iterable

from rich.progress import Progress

from native.up import Stack
from slop.basis import Basis
from studies.rest import Sampling
from studies.stack import engine_of
from studies.topics.arms import Pool, Pools
from studies.topics.orders import KEPT_TEXTS, TIMEOUT_S, Desk


async def kept_pools(
    running: Stack, basis: Basis, seeds: Iterable[int], posts: int, progress: Progress
) -> dict[int, Pool]:
    """So many posts under every prompt for each seed; those that the topics study has written are not written anew."""
    async with engine_of(running, basis.template, timeout_s=TIMEOUT_S) as engine:
        pools = Pools(Desk(engine, KEPT_TEXTS / f"{basis.text_version}.jsonl", progress), basis, Sampling())
        return {seed: await pools.soft(seed, posts) for seed in seeds}
