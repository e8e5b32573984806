"""Readers of plain posts at vLLM alone: what the engine writes when nothing else is asked of the machine.

    python loadtests/engine_alone.py < plan.json

Needs nothing but Python, so that it also runs in vLLM's own container, which no other can be reached from. The plan has
the members of `Plan`; every reader thinks, asks for posts, waits for them and thinks again, with the pauses and the
lengths that were seen of the readers of a load test. Prints how many tokens were written in how many seconds, as JSON.
"""

import json
import random
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Plan:
    """What is asked of the engine.

    Attributes:
        url: base URL of its OpenAI API.
        messages: of every request.
        posts: how many texts a request asks for.
        temperature: of every request.
        min_p: of every request.
        readers: how many there are at a time.
        warm_s: how long they read before anything is counted, seconds.
        seconds: for how long it is counted.
        pauses_s: what a reader's pause is drawn from, seconds.
        lengths: what the length of a request's texts is drawn from, tokens.
    """

    url: str
    messages: list[dict[str, str]]
    posts: int
    temperature: float
    min_p: float
    readers: int
    warm_s: float
    seconds: float
    pauses_s: list[float]
    lengths: list[int]


def main() -> None:
    """Carry the plan of standard input out."""
    plan = Plan(**json.load(sys.stdin))
    model = str(_answer(urllib.request.Request(f"{plan.url}/models"))["data"][0]["id"])  # noqa: S310
    begin = time.monotonic() + plan.warm_s
    done: list[tuple[float, float, int]] = []
    readers = [
        threading.Thread(target=_read, args=(plan, model, begin + plan.seconds, random.Random(seed), done))
        for seed in range(plan.readers)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    tokens = sum(_share(one, begin, begin + plan.seconds) for one in done)
    sys.stdout.write(json.dumps({"tokens": round(tokens, 1), "seconds": plan.seconds}) + "\n")


def _read(plan: Plan, model: str, end: float, rng: random.Random, done: list[tuple[float, float, int]]) -> None:
    pause_s = rng.choice(plan.pauses_s) * rng.random()  # the first one is under way already
    while time.monotonic() + pause_s < end:
        time.sleep(pause_s)
        started = time.monotonic()
        tokens = int(_answer(_request(plan, model, rng.choice(plan.lengths)))["usage"]["completion_tokens"])
        done.append((started, time.monotonic(), tokens))
        pause_s = rng.choice(plan.pauses_s)


def _request(plan: Plan, model: str, length: int) -> urllib.request.Request:
    body = {
        "model": model,
        "messages": plan.messages,
        "n": plan.posts,
        "temperature": plan.temperature,
        "min_p": plan.min_p,
        "max_tokens": length,
        "ignore_eos": True,
    }
    headers = {"Content-Type": "application/json"}
    return urllib.request.Request(f"{plan.url}/chat/completions", json.dumps(body).encode(), headers)  # noqa: S310


def _answer(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        return json.load(response)


def _share(one: tuple[float, float, int], begin: float, end: float) -> float:
    """Tokens of a request that were written between two moments, as if it had written evenly."""
    started, ended, tokens = one
    return tokens * max(0.0, min(ended, end) - max(started, begin)) / max(ended - started, 1e-9)


if __name__ == "__main__":
    main()
