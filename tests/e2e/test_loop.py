"""The whole loop, on the processes that `make up` starts, each on a free port."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from client.catalogue import LABELLED
from infra.local.up import LocalStack
from tests.api_docs import COLLECTOR, GENERATION, calls
from tests.waiting import eventually

LIKED, SKIPPED = "gardening", "football"


@pytest.fixture(scope="module")
def collector(stack: LocalStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.collector_url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def generation(stack: LocalStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.generation_url, timeout=60, trust_env=False) as client:
        yield client


def catalogue_posts(name: str, count: int) -> list[dict[str, str]]:
    classes = json.loads((LABELLED / "classes.json").read_text())
    lines = (LABELLED / "evaluation.jsonl").read_text().splitlines()
    return [post for post in map(json.loads, lines) if classes[post["post_id"]] == name][:count]


def send(collector: httpx.Client, user_id: str, posts: list[dict[str, str]], kind: str) -> list[str]:
    events = [
        {
            "event_id": f"{user_id}/{post['post_id']}",
            "user_id": user_id,
            "type": kind,
            "post_id": post["post_id"],
            "post": {"text": post["text"]},
        }
        for post in posts
    ]
    answer = collector.post("/v1/events", json={"events": events})
    assert answer.status_code == 202, answer.text
    return [result["status"] for result in answer.json()["results"]]


def learned(generation: httpx.Client, user_id: str, count: int) -> Any:
    answer = generation.get(f"/v1/users/{user_id}/profile")
    return answer.json() if answer.is_success and answer.json()["interactions"] >= count else None


def test_a_reader_unknown_to_all_gets_a_plain_post(generation: httpx.Client) -> None:
    answer = generation.post("/v1/generate", json={"user_id": "nobody"}).json()
    assert answer["posts"][0]["text"]
    assert (answer["personalization"]["applied"], answer["personalization"]["reason"]) == (False, "no_profile")


def test_interactions_turn_the_profile_the_ranking_and_the_posts(
    collector: httpx.Client, generation: httpx.Client
) -> None:
    liked, skipped = catalogue_posts(LIKED, 8), catalogue_posts(SKIPPED, 8)
    statuses = send(collector, "ann", liked[:6], "like") + send(collector, "ann", skipped[:6], "skip")
    assert set(statuses) == {"accepted"}
    profile = eventually(lambda: learned(generation, "ann", 12))
    assert profile["tastes"]
    answer = generation.post("/v1/generate", json={"user_id": "ann", "n": 2}).json()
    assert answer["personalization"]["applied"]
    assert answer["personalization"]["interactions"] == 12
    ranked = [{"text": post["text"]} for post in (*liked[6:], *skipped[6:])]
    scores = generation.post("/v1/rank", json={"user_id": "ann", "posts": ranked}).json()["scores"]
    assert sum(scores[:2]) > sum(scores[2:])


def test_the_same_event_again_changes_nothing(collector: httpx.Client, generation: httpx.Client) -> None:
    posts = catalogue_posts(LIKED, 3)
    send(collector, "bob", posts, "like")
    before = eventually(lambda: learned(generation, "bob", 3))
    send(collector, "bob", posts, "like")
    send(collector, "bob", catalogue_posts(SKIPPED, 1), "skip")
    after = eventually(lambda: learned(generation, "bob", 4))
    assert (before["interactions"], after["interactions"]) == (3, 4)


def test_a_generated_post_can_be_ranked_before_anybody_reacts_to_it(
    collector: httpx.Client, generation: httpx.Client
) -> None:
    send(collector, "cleo", catalogue_posts(LIKED, 2), "like")
    eventually(lambda: learned(generation, "cleo", 2))
    post = generation.post("/v1/generate", json={"user_id": "cleo"}).json()["posts"][0]
    asked = {"user_id": "cleo", "posts": [{"post_id": post["post_id"]}]}
    eventually(lambda: generation.post("/v1/rank", json=asked).json()["scores"][0] is not None)


def test_the_calls_of_the_document_are_answered(collector: httpx.Client, generation: httpx.Client) -> None:
    assert {call.send(collector).status_code for call in calls(COLLECTOR)} == {202}
    eventually(lambda: generation.get("/v1/users/ada/profile").is_success)
    documented = calls(GENERATION)
    refused = [call for call in documented if '"gpt-5"' in (call.body or "")]  # there is no such model
    assert {call.send(generation).status_code for call in refused} == {404}
    assert {call.send(generation).status_code for call in documented if call not in refused} == {200}


def test_an_unlike_undoes_the_like_whichever_comes_first(collector: httpx.Client, generation: httpx.Client) -> None:
    liked, other = catalogue_posts(LIKED, 2)
    for user, kinds in (("dan", ("like", "unlike")), ("eve", ("unlike", "like"))):
        for kind in kinds:
            clock = f"2026-01-31T12:00:0{1 if kind == 'like' else 2}Z"
            about = {"user_id": user, "type": kind, "post_id": liked["post_id"], "post": {"text": liked["text"]}}
            event = about | {"event_id": f"{user}/{kind}", "timestamp": clock}
            assert collector.post("/v1/events", json={"events": [event]}).status_code == 202
        send(collector, user, [other], "skip")
    asked = [{"text": liked["text"]}, {"text": other["text"]}]

    def scores(user: str) -> list[float]:
        answer: list[float] = generation.post("/v1/rank", json={"user_id": user, "posts": asked}).json()["scores"]
        return answer

    send(collector, "fay", [other], "skip")
    eventually(lambda: learned(generation, "dan", 2))
    for user in ("eve", "fay"):
        eventually(lambda user=user: learned(generation, user, 1))
    undone, too_late, never = (scores(user) for user in ("dan", "eve", "fay"))
    assert too_late == pytest.approx(never)
    assert undone == pytest.approx(never, abs=0.05)
