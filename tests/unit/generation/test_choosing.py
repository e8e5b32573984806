"""Which candidates are served, where the featurizer is not asked in vain and where it can't be."""

import asyncio
import socket

import numpy as np
import pytest

from generation.choosing import Chooser
from generation.completions import CompletedText, CompletionRequest
from generation.contracts import Personalization, Reason
from generation.copy_filter import CopyFilter
from generation.deadline import Deadline
from generation.features import FeaturizerClient
from generation.prompt_picking import PickedPrompts, PostsOfPrompt
from infra.local.ports import free_port
from slop.arms import Arm
from slop.copies import KnownPosts
from slop.text_features import EncodedText
from tests.basis import profile_of, random_basis
from tests.servers import HOST

BASIS = random_basis()
PROFILE = profile_of(BASIS, (1.0, 0.0, 0.0, 0.0))
COPIES = CopyFilter(KnownPosts.of(["The basil has forgiven me again."]), rewrites=0)
PERSONAL = Personalization(applied=True, reason=Reason.PERSONALIZED, interactions=1, basis=BASIS.version, arm=Arm.SOFT)


def under(*posts: int) -> PostsOfPrompt:
    return PostsOfPrompt(CompletionRequest([{"role": "user", "content": "x"}], len(posts), 60, 0.8, 0.05), posts)


PICKED = PickedPrompts((under(0, 2, 3, 5), under(1, 4)), PERSONAL, candidates=2, profile=PROFILE)
"""Three posts, two of them under one prompt, with two candidates each."""
TEXTS = {at: CompletedText(f"text {at} is new {'here ' * at}") for at in range(6)}


def encoded(score: float, *embedding: float) -> EncodedText:
    features = np.zeros(BASIS.feature_count, np.float32)
    features[0] = score
    return EncodedText(features, np.array(embedding, np.float32))


READ = {
    0: encoded(0.1, 1, 0),
    1: encoded(0.5, 1, 0),
    2: encoded(0.9, 1, 0),
    3: encoded(1.0, 1, 0),
    4: encoded(0.4, 0, 1),
    5: encoded(0.2, 0, 1),
}


def chooser(diversity: float = 0.0, url: str = "http://127.0.0.1:9") -> Chooser:
    return Chooser(BASIS, FeaturizerClient(url, 20), diversity, 5)


def test_each_prompt_keeps_its_posts_whose_best_candidates_are_selected() -> None:
    assert chooser()._selected(PICKED, PROFILE, READ) in ([3, 1, 2], [1, 3, 2])
    assert set(chooser(diversity=0.6)._selected(PICKED, PROFILE, READ)) == {1, 3, 5}


def test_scores_that_are_no_numbers_select_nothing() -> None:
    with pytest.raises(ValueError, match="usable"):
        chooser()._selected(PICKED, PROFILE, READ | {0: encoded(np.nan, 1, 0)})


async def test_without_a_featurizer_the_first_posts_are_served_and_what_is_refused_comes_last() -> None:
    alone = chooser(url=f"http://{HOST}:{free_port()}")
    assert await alone.chosen(PICKED, TEXTS, COPIES, Deadline(60)) == {at: TEXTS[at] for at in range(3)}
    refused = TEXTS | {0: CompletedText("The basil has forgiven me again."), 1: CompletedText(" ")}
    found = await alone.chosen(PICKED, refused, COPIES, Deadline(60))
    assert found == {0: TEXTS[2], 1: TEXTS[4], 2: TEXTS[3]}
    only_refused = dict.fromkeys(range(6), CompletedText(""))
    assert await alone.chosen(PICKED, only_refused, COPIES, Deadline(60)) == {at: only_refused[at] for at in range(3)}


async def test_a_featurizer_that_is_silent_is_waited_for_until_the_deadline_at_most() -> None:
    """Its client, and the chooser, would wait for an hour."""
    with socket.create_server((HOST, 0)) as silent:  # it takes connections and says nothing
        featurizer = FeaturizerClient(f"http://{HOST}:{silent.getsockname()[1]}", 3_600)
        async with asyncio.timeout(60):
            for left_s in (0, 0.2):
                found = await Chooser(BASIS, featurizer, 0.0, 3_600).chosen(PICKED, TEXTS, COPIES, Deadline(left_s))
                assert found == {at: TEXTS[at] for at in range(3)}
        await featurizer.close()


async def test_posts_without_candidates_are_the_texts_that_came() -> None:
    plain = PickedPrompts((under(0, 1),), PERSONAL)
    texts = {0: TEXTS[0], 1: TEXTS[0]}
    assert await chooser().chosen(plain, texts, COPIES, Deadline(60)) is texts
