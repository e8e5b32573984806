"""Have readers ask vLLM alone for plain posts: how much it writes when nothing else runs on the machine.

    python loadtests/engine_alone.py < plan.json

It needs nothing but Python, so that it also runs in vLLM's container, the only place of compose that reaches vLLM. The
plan is JSON with the members of `Plan`. Every reader repeats what a reader of the load test did: pause, ask for posts
of the same lengths, wait for them. A reader with nothing left to repeat draws pauses and lengths from those of all. It
prints JSON: the tokens written, in how many seconds, and the median time of a request.
"""

import itertools
import json
import random
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

TIMEOUT_S = 120.0
MOST_TEXTS = 16  # of a request

Steps = tuple[list[float], list[list[int]]]
"""What a reader does: its pauses, in seconds, and the lengths of the texts of each of its requests, in tokens."""


@dataclass(frozen=True)
class Plan:
    """What is asked of the engine.

    Attributes:
        url: base URL of its OpenAI API.
        messages: of every request.
        temperature: of every request.
        min_p: of every request.
        warm_s: how long they read before anything is counted, seconds.
        seconds: for how long it is counted.
        readers: what each does.
    """

    url: str
    messages: list[dict[str, str]]
    temperature: float
    min_p: float
    warm_s: float
    seconds: float
    readers: list[Steps]

    def steps(self, number: int, rng: random.Random) -> Iterator[tuple[float, list[int]]]:
        """The pauses of a reader, each with the lengths of what is asked for then; without end."""
        pauses_s, lengths = self.readers[number]
        all_pauses_s = [pause_s for reader_pauses_s, _ in self.readers for pause_s in reader_pauses_s[1:]] or [1.0]
        all_lengths = [some for _, reader_lengths in self.readers for some in reader_lengths]
        for at in itertools.count():
            yield (
                pauses_s[at] if at < len(pauses_s) else rng.choice(all_pauses_s),
                lengths[at] if at < len(lengths) else rng.choice(all_lengths),
            )


def main() -> None:
    """Carry the plan of standard input out."""
    plan = Plan(**json.load(sys.stdin))
    model = str(_answer(urllib.request.Request(f"{plan.url}/models"))["data"][0]["id"])  # noqa: S310
    begin = time.monotonic() + plan.warm_s
    done: list[list[tuple[float, float, int]]] = []
    readers = [
        threading.Thread(target=_read, args=(plan, number, model, begin + plan.seconds, done))
        for number in range(len(plan.readers))
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    tokens = sum(_share(one, begin, begin + plan.seconds) for texts in done for one in texts)
    took_s = [max(ended for _, ended, _ in texts) - min(started for started, _, _ in texts) for texts in done]
    figures = {"tokens": tokens, "seconds": plan.seconds, "median_s": statistics.median(took_s) if took_s else None}
    sys.stdout.write(json.dumps(figures) + "\n")


def _read(plan: Plan, number: int, model: str, end: float, done: list[list[tuple[float, float, int]]]) -> None:
    with ThreadPoolExecutor(MOST_TEXTS) as pool:
        for pause_s, lengths in plan.steps(number, random.Random(number)):
            if time.monotonic() + pause_s >= end:
                return
            time.sleep(pause_s)
            texts = list(pool.map(partial(_written, plan, model), lengths))
            done.append(texts)


def _written(plan: Plan, model: str, length: int) -> tuple[float, float, int]:
    """Have one text written; returns when it began and ended, and how many tokens it has."""
    started = time.monotonic()
    tokens = int(_answer(_request(plan, model, length))["usage"]["completion_tokens"])
    return started, time.monotonic(), tokens


def _request(plan: Plan, model: str, length: int) -> urllib.request.Request:
    body = {
        "model": model,
        "messages": plan.messages,
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
    """Tokens of a request between two moments, if they were written at an even pace."""
    started, ended, tokens = one
    return tokens * max(0.0, min(ended, end) - max(started, begin)) / max(ended - started, 1e-9)


if __name__ == "__main__":
    main()
