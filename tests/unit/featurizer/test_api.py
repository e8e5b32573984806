"""Requests for features take turns, are bounded, and end when their callers have gone."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from featurizer.api import FeatureRequest, FeatureRequests
from featurizer.post_features import RequestedText
from featurizer.text_features import PIECE
from kit.problems import Problem
from slop.redis.posts import Floats
from tests.basis import random_basis

BASIS = random_basis()


class Computing:
    """A lane that notes what it computes, and waits until it may."""

    basis = BASIS

    def __init__(self) -> None:
        self.pieces: list[list[str]] = []
        self.may = threading.Event()
        self.may.set()

    def features_of(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
        assert self.may.wait(20)
        self.pieces.append([text for _, text in asked])
        return [np.full(3, len(text), np.float32) for _, text in asked]


def asked(name: str, count: int) -> list[RequestedText]:
    return [(None, f"{name}{number}") for number in range(count)]


async def here() -> bool:
    return False


async def test_five_hundred_texts_are_answered_in_order() -> None:
    lane, requests = Computing(), FeatureRequests(500, 1)
    texts = FeatureRequest(texts=["x" * (1 + number % 7) for number in range(500)]).asked()
    found = await requests.answer(lane.features_of, texts, here)
    assert [int(row[0]) for row in found if row is not None] == [1 + number % 7 for number in range(500)]
    assert max(map(len, lane.pieces)) == PIECE


async def test_requests_are_served_in_turn_piece_by_piece() -> None:
    lane, requests = Computing(), FeatureRequests(2_000, 1)
    lane.may.clear()
    big = asyncio.create_task(requests.answer(lane.features_of, asked("big", 20 * PIECE), here))
    await asyncio.sleep(0)
    small = asyncio.create_task(requests.answer(lane.features_of, asked("small", 1), here))
    await asyncio.sleep(0.05)
    lane.may.set()
    await asyncio.gather(small, big)
    assert lane.pieces.index(["small0"]) <= 2


async def test_beyond_the_bound_requests_are_refused_with_a_time_to_come_again() -> None:
    lane, requests = Computing(), FeatureRequests(500, 1)
    lane.may.clear()
    waiting = asyncio.create_task(requests.answer(lane.features_of, asked("a", 400), here))
    await asyncio.sleep(0)
    with pytest.raises(Problem) as refused:
        await requests.answer(lane.features_of, asked("b", 101), here)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 12)
    lane.may.set()
    await waiting
    assert len(await requests.answer(lane.features_of, asked("b", 500), here)) == 500


async def test_nothing_more_is_computed_for_a_caller_that_has_gone() -> None:
    lane, requests = Computing(), FeatureRequests(500, 1)

    async def has_gone() -> bool:
        return len(lane.pieces) == 2

    with pytest.raises(Problem, match="gone"):
        await requests.answer(lane.features_of, asked("a", 500), has_gone)
    assert len(lane.pieces) == 2
    assert len(await requests.answer(lane.features_of, asked("b", 500), here)) == 500


async def test_what_fails_frees_its_room() -> None:
    class Failing(Computing):
        def features_of(self, asked: Sequence[RequestedText]) -> list[Floats | None]:
            raise RuntimeError

    requests = FeatureRequests(500, 1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await requests.answer(Failing().features_of, asked("a", 500), here)


def test_there_are_as_many_posts_as_texts_or_none() -> None:
    with pytest.raises(ValueError, match="as many"):
        FeatureRequest(texts=["a", "b"], post_ids=["p"])
    [(post, _), (none, _)] = FeatureRequest(texts=["a", "b"], post_ids=["p", None], tenant="t").asked()
    assert (post and post.key, none) == ("t/p", None)
