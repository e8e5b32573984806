"""What the generation service adds to vLLM: its own time, and tokens a second at 1, 8 and 32 requests.

    python -m loadtests.bench_generation

It asks a stack that runs and has nothing else to do, by OpenAI's chat completions, in turns: vLLM alone; the service
for nobody (plain); the same with a system text that makes the prompt as long as one with a soft prompt; the service for
readers with a profile (soft prompts); and the service for nobody with POSTS_AS_TEXT liked posts as text, others in
every request. Last it asks for posts of the feed that were written ahead, while requests keep vLLM
busy. `SLOP_VLLM_MAX_MODEL_LEN=4096` makes room for the liked posts, and a stack with
`SLOP_PREGENERATION_TOKENS_PER_S=1000` writes ahead sooner. First tokens include the words that streams hold back;
`SLOP_GENERATION_STREAM_HELD_WORDS=0` holds none.
"""

import asyncio
import itertools
import random
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from rich.console import Console
from rich.table import Table

from client.catalogue import by_label, load_catalogue
from client.chats import Chats
from client.errors import UserError
from loadtests.asking import TOKENS, Asking, Load, Side
from loadtests.settings import StackSettings
from slop.basis import Template

LEVELS: Final = {1: 6, 8: 4, 32: 4}
"""Requests at a time, and how many are made one after the other; of liked posts as text only one."""
ROUNDS: Final = 3
"""Of each level; the liked posts as text take part in the first alone, since reading them takes so long."""
PAIRS: Final = 40
"""How often each side is asked for a single token, in turns: the difference is the service's own time."""
READERS: Final = 8
REACTIONS: Final = 16
POSTS_AS_TEXT: Final = 50
FEED_POSTS: Final = 10
"""Posts of the feed that each reader asks for, one after the other."""
FEED_WAIT_S: Final = 600.0
TIMEOUT_S: Final = 300.0
ALONE: Final = "vLLM alone"
PLAIN: Final = "plain"
AS_LONG: Final = "plain, as long as soft prompts"
SOFT: Final = "soft prompts"
AS_TEXT: Final = "liked posts as text"
FILLER: Final = " now"
"""A word of one token."""
RESERVED: Final = 64
"""Tokens of the model's context that are left to what is not a liked post."""


def sides(settings: StackSettings, readers: Sequence[str], context: int) -> dict[str, Side]:
    """All sides by name; every call of one is its next request. `context` is the model's, in tokens."""
    chats = Chats(Template())
    service, engine = f"{settings.generation}/v1", settings.vllm_url
    plain, request = chats.plain(), chats.plain()[1:]
    names, histories = itertools.cycle(readers), liked_posts(context)
    return {
        ALONE: lambda: {"url": engine, "messages": plain},
        PLAIN: lambda: {"url": service, "messages": plain},
        SOFT: lambda: {"url": service, "messages": request, "user": next(names)},
        AS_TEXT: lambda: {"url": service, "messages": chats.listed(next(histories))},
    }


async def as_long(asking: Asking, by_name: Mapping[str, Side]) -> Side:
    """The plain side with a system text that makes its prompt as long as that of soft prompts, in tokens."""
    plain, soft = [(await asking.ask(by_name[name], tokens=1)).prompt_tokens for name in (PLAIN, SOFT)]
    asked = dict(by_name[PLAIN]())
    system, request = asked["messages"]
    system = system | {"content": system["content"] + FILLER * (soft - plain)}
    return lambda: asked | {"messages": [system, request]}


def liked_posts(context: int) -> Iterator[list[str]]:
    """POSTS_AS_TEXT posts of the catalogue, others each time; fewer where no more are sure to fit into the context."""
    texts = [post.text for post in load_catalogue().shown]
    rng = random.Random(1)
    while True:
        chosen, left = [], (context - RESERVED - TOKENS) * 3  # characters: a token has some four in English
        for text in rng.sample(texts, POSTS_AS_TEXT):
            left -= len(text) + 3
            if left < 0:
                break
            chosen.append(text)
        yield chosen


async def with_profiles(collector: httpx.AsyncClient, generation: httpx.AsyncClient) -> list[str]:
    """New readers whose profiles have learned likes of one class each.

    Raises:
        UserError: they are not learned.
    """
    classes = by_label(load_catalogue().shown).values()
    liked = [[post.text for post in posts] for posts in classes if len(posts) >= REACTIONS]
    readers = [f"bench-{uuid.uuid4().hex[:8]}" for _ in range(READERS)]
    for number, reader in enumerate(readers):
        texts = liked[number % len(liked)][:REACTIONS]
        events = [
            {"event_id": f"{reader}/{at}", "user_id": reader, "type": "like", "post_id": f"{reader}-{at}"}
            | {"post": {"text": text}}
            for at, text in enumerate(texts)
        ]
        (await collector.post("/v1/events", json={"events": events})).raise_for_status()
    for reader in readers:
        for _ in range(300):
            found = await generation.get(f"/v1/users/{reader}/profile")
            if found.is_success and found.json()["interactions"] >= REACTIONS:
                break
            await asyncio.sleep(0.2)
        else:
            raise UserError(f"the likes of {reader} were not learned within a minute")
    return readers


def tell(line: str) -> None:
    """How it goes, on standard error."""
    print(line, file=sys.stderr, flush=True)


async def own_time(asking: Asking, by_name: Mapping[str, Side]) -> Table:
    """Milliseconds to a single token, of each side, and those over vLLM alone."""
    tell(f"a single token, {PAIRS} times each")
    took: dict[str, list[float]] = {name: [] for name in by_name}
    read: dict[str, int] = {}
    for turn in range(-3, PAIRS):  # the first fill the prefix cache
        for name in random.sample(list(by_name), len(by_name)):
            answer = await asking.ask(by_name[name], tokens=1)
            read[name] = answer.prompt_tokens
            if turn >= 0:
                took[name].append(answer.first_s)
    made = Table(title=f"a single token at rest, the median of {PAIRS}")
    for head in ("side", "tokens read", "ms", "over vLLM alone, ms", "to plain"):
        made.add_column(head, justify="left" if head == "side" else "right")
    medians = {name: 1_000 * statistics.median(some) for name, some in took.items()}
    first, plain = medians[ALONE], medians[PLAIN]
    for name, ms in medians.items():
        made.add_row(name, str(read[name]), f"{ms:.1f}", f"{ms - first:+.1f}", f"{ms / plain:.2f}")
    return made


async def throughput(
    asking: Asking, by_name: Mapping[str, Side], levels: Mapping[int, int], *, stream: bool = True
) -> Table:
    """Seconds to first and last tokens, tokens and requests a second of each side at each level, medians of rounds."""
    kind = "streams" if stream else "whole answers"
    made = Table(title=f"{kind}, {TOKENS} tokens a request, the median of {ROUNDS} rounds in turns")
    heads = ("requests", "side", "first token, s", "whole, s", "to plain", "tokens/s", "requests/s", "of vLLM alone")
    for head in heads:
        made.add_column(head, justify="left" if head == "side" else "right")
    for level, each in levels.items():
        loads: dict[str, list[Load]] = {name: [] for name in by_name}
        for turn in range(ROUNDS):
            tell(f"{kind}, {level} at a time, round {turn + 1} of {ROUNDS}")
            names = [name for name in by_name if turn == 0 or name != AS_TEXT]
            for name in random.sample(names, len(names)):
                times = 1 if name == AS_TEXT else each
                loads[name].append(await asking.load(by_name[name], level, times, stream=stream))
        for name, some in loads.items():
            made.add_row(str(level), name, *_figures(some, loads[PLAIN], loads[ALONE]))
    return made


def _figures(loads: Sequence[Load], plain: Sequence[Load], alone: Sequence[Load]) -> list[str]:
    """A row of `throughput`: ratios are of the loads of the same round."""
    whole_s = [load.whole_s / other.whole_s for load, other in zip(loads, plain, strict=False)]
    requests = [load.requests_per_s / other.requests_per_s for load, other in zip(loads, alone, strict=False)]
    return [
        f"{statistics.median(load.first_s for load in loads):.2f}",
        f"{statistics.median(load.whole_s for load in loads):.2f}",
        f"{statistics.median(whole_s):.2f}",
        f"{statistics.median(load.tokens_per_s for load in loads):.1f}",
        f"{statistics.median(load.requests_per_s for load in loads):.2f}",
        f"{statistics.median(requests):.2f}",
    ]


@asynccontextmanager
async def busy(asking: Asking, side: Side, level: int) -> AsyncIterator[None]:
    """`level` requests are at vLLM until the block ends."""

    async def on_and_on() -> None:
        while True:
            await asking.ask(side, tokens=4 * TOKENS)

    tasks = [asyncio.create_task(on_and_on()) for _ in range(level)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def feed(asking: Asking, side: Side, generation: httpx.AsyncClient, readers: Sequence[str]) -> str:
    """How long posts take that were written ahead, while vLLM is busy.

    Raises:
        UserError: too few are written ahead.
    """
    tell("waiting until posts are written ahead")
    for reader in readers:
        (await generation.get(f"/v1/users/{reader}/feed", params={"n": 1})).raise_for_status()
    await _until_written_ahead(generation, readers)
    tell("posts that were written ahead, while vLLM is busy")
    took: list[float] = []
    live = 0
    async with busy(asking, side, max(LEVELS)):
        await asyncio.sleep(5)
        for _, reader in itertools.product(range(FEED_POSTS), readers):
            begun = time.perf_counter()
            answer = (await generation.get(f"/v1/users/{reader}/feed", params={"n": 1})).raise_for_status().json()
            if all(post["pregenerated"] for post in answer["posts"]):
                took.append(1_000 * (time.perf_counter() - begun))
            else:
                live += 1
    p50, p95 = (statistics.quantiles(took, n=20)[at] for at in (9, 18))
    return (
        f"feed while {max(LEVELS)} requests keep vLLM busy: p50 {p50:.1f} ms, p95 {p95:.1f} ms of {len(took)} posts"
        f" written ahead; {live} were not"
    )


async def _until_written_ahead(generation: httpx.AsyncClient, readers: Sequence[str]) -> None:
    deadline = time.monotonic() + FEED_WAIT_S
    written = -1.0
    while time.monotonic() < deadline:
        await asyncio.sleep(15)
        text = (await generation.get("/metrics")).text
        now = sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("slop_generated_posts_total")
        )
        if now == written:  # nothing more is written: the queues are full
            return
        written = now
    raise UserError(f"after {FEED_WAIT_S:g} s posts are still being written ahead for {len(readers)} readers")


async def measure(settings: StackSettings, show: Callable[[Any], None]) -> None:
    """Measure and show all.

    Raises:
        UserError: the stack does not run, or an answer is an error.
    """
    limits, timeout = httpx.Limits(max_connections=256), httpx.Timeout(TIMEOUT_S)

    def client(url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=url, limits=limits, timeout=timeout, trust_env=False)

    async with client("") as anywhere, client(settings.collector) as collector, client(settings.generation) as here:
        try:
            engine = (await anywhere.get(f"{settings.vllm_url}/models")).raise_for_status().json()["data"][0]
            readers = await with_profiles(collector, here)
        except httpx.HTTPError as error:
            raise UserError(f"the stack does not answer: {error!r}; start it by `make up`") from error
        asking, by_name = Asking(anywhere, engine["id"]), sides(settings, readers, int(engine["max_model_len"]))
        show(
            f"{len(next(liked_posts(engine['max_model_len'])))} liked posts as text, context {engine['max_model_len']}"
        )
        by_name[AS_LONG] = await as_long(asking, by_name)
        show(await own_time(asking, by_name))
        show(await throughput(asking, by_name, LEVELS))
        short = {name: side for name, side in by_name.items() if name != AS_TEXT}
        show(await throughput(asking, short, {max(LEVELS): LEVELS[max(LEVELS)]}, stream=False))
        show(await feed(asking, by_name[PLAIN], here, readers))


def main() -> None:
    """Measure and print."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        asyncio.run(measure(StackSettings(), console.print))
    except UserError as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
