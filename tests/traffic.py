"""Readers of both arms on a running stack, so that everything there is to measure happens."""

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from client.catalogue import LABELLED
from infra.local.up import LocalStack
from slop.arms import Arm, arm_of, soft_or_control

CONTROL_SHARE = 0.05  # generation's default
TOKENS = 5  # of a post: what is measured is measured of a short one too
PAUSE_S = 4.0  # rates are of a minute, and the engine and what is watched share the cores


@contextmanager
def traffic(stack: LocalStack) -> Iterator[None]:
    """Readers at work for as long as the block lasts; raises what went wrong for them when it ends."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(_read_on, stack, stop)
        try:
            yield
        finally:
            stop.set()
            work.result(timeout=120)


def _read_on(stack: LocalStack, stop: threading.Event) -> None:
    lines = (LABELLED / "evaluation.jsonl").read_text().splitlines()
    catalogue = itertools.cycle(map(json.loads, lines))
    written: dict[str, list[str]] = {}
    with (
        httpx.Client(base_url=stack.collector_url, timeout=120, trust_env=False) as collector,
        httpx.Client(base_url=stack.generation_url, timeout=120, trust_env=False) as generation,
    ):
        for turn in itertools.count():
            for reader in (_reader(Arm.SOFT), _reader(Arm.BASE)):
                _react(collector, reader, turn, next(catalogue), written.get(reader, []))
                written[reader] = _ask(generation, reader)
            if turn:  # not before there are reactions: a post of the feed that is written live takes long
                for reader in (_reader(Arm.SOFT), f"visitor-{turn}"):
                    _scroll(generation, reader)
            if stop.wait(PAUSE_S):
                return


def _reader(arm: Arm) -> str:
    """The first reader of an arm."""
    readers, weights = (f"reader-{number}" for number in itertools.count()), soft_or_control(CONTROL_SHARE)
    return next(reader for reader in readers if arm_of("default", reader, weights) == arm)


def _react(collector: httpx.Client, reader: str, turn: int, post: dict[str, str], written: list[str]) -> None:
    """Like or skip a post of the catalogue and what was written for the reader before, and send one broken event."""
    kind = "like" if turn % 2 else "skip"
    reactions: list[dict[str, Any]] = [{"post_id": post["post_id"], "post": {"text": post["text"]}}]
    reactions += [{"post_id": post_id} for post_id in written]
    events = [
        {"event_id": f"{reader}/{turn}/{place}", "user_id": reader, "type": kind, **reaction}
        for place, reaction in enumerate(reactions)
    ]
    answer = collector.post("/v1/events", json={"events": [*events, {"user_id": reader}]})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text


def _ask(generation: httpx.Client, reader: str) -> list[str]:
    """Ask for posts at once and streamed, and for their rank; returns the ids of the former."""
    asked = {"user_id": reader, "max_tokens": TOKENS}
    generation.post("/v1/generate", json=asked | {"stream": True}).raise_for_status()
    answer = generation.post("/v1/generate", json=asked | {"n": 2}).raise_for_status().json()
    ranked = [{"text": post["text"]} for post in answer["posts"] if post["text"]]
    if ranked:
        _rank(generation, reader, ranked)
    return [post["post_id"] for post in answer["posts"] if post["text"]]


def _scroll(generation: httpx.Client, reader: str) -> None:
    """Ask for the next post of the feed; who has not asked before waits for it, if it can be written."""
    answer = generation.get(f"/v1/users/{reader}/feed", params={"n": 1})
    assert answer.status_code in {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE}, answer.text


def _rank(generation: httpx.Client, reader: str, posts: list[dict[str, str]]) -> None:
    """Ask for the rank of new texts; a featurizer that is busy with reactions may ask to come again later."""
    answer = generation.post("/v1/rank", json={"user_id": reader, "posts": posts})
    if not (answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in answer.headers):
        answer.raise_for_status()
