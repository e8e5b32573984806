"""What a running stack must do, seen from outside through its published ports; each check says what it saw."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import httpx
from httpx_sse import EventSource

from client.catalogue import by_label, load_catalogue
from client.rest import Collector, Event
from loadtests.readings import QUERY_PATH
from loadtests.stack import CheckedStack, Failed, Skipped, expect, until

LIKED, SKIPPED = "gardening", "football"
SENT: Final = 6
SOON_S: Final = 5.0
IDS_TRIED: Final = 100
DASHBOARDS: Final = 4
REQUESTS_SERIES: Final = "slop_http_request_seconds_count"
TOKENS: Final = 40


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold.

    Attributes:
        name: what works where it holds.
        run: looks, and returns what was seen.
        advice: what to do where it does not hold.
    """

    name: str
    run: Callable[[CheckedStack], Awaitable[str]]
    advice: str


async def collector_is_ready(stack: CheckedStack) -> str:
    """The collector reaches Kafka."""
    return await _ready(stack, stack.settings.collector)


async def generation_is_ready(stack: CheckedStack) -> str:
    """Generation reaches the engine."""
    return await _ready(stack, stack.settings.generation)


async def _ready(stack: CheckedStack, url: str) -> str:
    response = await stack.http.get(f"{url}/readyz")
    checks = response.json()["checks"]
    bad = {name: outcome for name, outcome in checks.items() if outcome != "ok"}
    expect(response.is_success and not bad, f"{url}/readyz: {response.status_code} {bad}")
    return f"{url} reaches {', '.join(checks)}"


async def posts_are_registered(stack: CheckedStack) -> str:
    """Posts are taken, and their features become ready."""
    groups = by_label(load_catalogue().held_out)
    chosen = {label: groups[label][: SENT + 2] for label in (LIKED, SKIPPED)}
    texts = {post.post_id: post.text for posts in chosen.values() for post in posts}
    await Collector(stack.collector).send_posts(texts)

    async def ranked() -> bool:
        return None not in await stack.profiles.rank(_nobody(), list(texts))

    took_s = await until(ranked)
    stack.known = chosen
    return f"{len(texts)} posts, ready to be ranked after {took_s:.1f} s"


async def strangers_get_plain_posts(stack: CheckedStack) -> str:
    """A reader of whom nothing is known gets a plain post."""
    answer = await _written(stack, _nobody())
    about = answer["personalization"]
    seen = (about["applied"], about["reason"])
    expect(seen == (False, "no_profile"), f"personalization is {about}")
    return f"reason {about['reason']}"


async def likes_turn_the_profile(stack: CheckedStack) -> str:
    """Likes and skips are in the reader's profile within seconds."""
    stack.somebody = await _in_soft_arm(stack)
    liked, skipped = stack.posts(LIKED)[:SENT], stack.posts(SKIPPED)[:SENT]
    events = [Event(stack.reader, post.post_id, "like") for post in liked]
    await stack.send(events + [Event(stack.reader, post.post_id, "skip") for post in skipped])

    async def learned() -> bool:
        return await stack.interactions() >= 2 * SENT

    took_s = await until(learned)
    expect(took_s < SOON_S, f"it took {took_s:.1f} s, where {SOON_S:.0f} s are bearable")
    words = (await stack.profiles.profile(stack.reader)).tastes[0][1][:3]
    return f"{2 * SENT} interactions after {took_s:.2f} s; the strongest taste: {', '.join(words)}"


async def retries_are_learned_once(stack: CheckedStack) -> str:
    """An event that is sent twice is learned once."""
    before = await stack.interactions()
    event = Event(stack.reader, stack.posts(LIKED)[SENT].post_id, "like").as_json()
    last = Event(stack.reader, stack.posts(SKIPPED)[SENT].post_id, "skip")
    for events in ([event], [event]):
        await stack.send(events)
    await stack.send([last])  # a reader's events keep their order, so that the second of the two comes before it

    async def learned() -> bool:
        return await stack.interactions() >= before + 2

    await until(learned)
    after = await stack.interactions()
    expect(after == before + 2, f"{after - before} interactions were learned of 2 different ones")
    return "the same event_id, sent twice"


async def posts_are_personal(stack: CheckedStack) -> str:
    """The reader gets a personal post."""
    answer = await _written(stack, stack.reader)
    about = answer["personalization"]
    expect(about["applied"] and about["arm"] == "soft", f"personalization is {about}")
    text = " ".join(answer["posts"][0]["text"].split())
    return f'"{text[:60]}"'


async def ranking_follows_the_taste(stack: CheckedStack) -> str:
    """Posts of what the reader liked rank before posts of what was skipped."""
    ids = [posts[-1].post_id for posts in (stack.posts(LIKED), stack.posts(SKIPPED))]
    liked, skipped = await stack.profiles.rank(stack.reader, ids)
    expect(liked is not None and skipped is not None, "posts that were ready have no score any more")
    assert liked is not None  # noqa: S101
    assert skipped is not None  # noqa: S101
    expect(liked > skipped, f"a post about {LIKED} has {liked:.2f}, one about {SKIPPED} {skipped:.2f}")
    return f"{LIKED} {liked:.2f}, {SKIPPED} {skipped:.2f}"


async def bad_events_are_refused(stack: CheckedStack) -> str:
    """An event that is not valid gets a problem document that says what is wrong."""
    event = {"event_id": uuid4().hex, "user_id": _nobody(), "type": "rate", "post_id": "any", "value": 7}
    response = await stack.http.post(f"{stack.settings.collector}/v1/events", json={"events": [event]})
    seen = f"{response.status_code} {response.headers.get('Content-Type')}: {response.text[:200]}"
    expect(response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, seen)
    expect(response.headers.get("Content-Type") == "application/problem+json", seen)
    error = str(response.json()["results"][0]["error"])
    expect(error.startswith("invalid_value: "), seen)
    return f"422, {error}"


async def posts_are_streamed(stack: CheckedStack) -> str:
    """A streamed post comes in pieces, and then as a whole."""
    body = {"user_id": stack.somebody or _nobody(), "max_tokens": TOKENS, "stream": True}
    started, first_s, pieces, whole = time.monotonic(), 0.0, [], ""
    async with stack.http.stream("POST", f"{stack.settings.generation}/v1/generate", json=body) as response:
        expect(response.is_success, f"the answer is {response.status_code}")
        async for event in EventSource(response).aiter_sse():
            expect(event.event != "error", f"the stream ends with {event.data}")
            if event.event == "done":
                whole = event.json()["posts"][0]["text"]
            else:
                first_s = first_s or time.monotonic() - started
                pieces.append(event.json()["text"])
    expect(bool(pieces) and "".join(pieces).strip() == whole.strip(), f"{len(pieces)} pieces, and as a whole {whole!r}")
    return f"{len(pieces)} pieces, the first after {first_s:.2f} s"


async def metrics_are_served(stack: CheckedStack) -> str:
    """Both services tell Prometheus of the requests of this very run."""
    for url in (stack.settings.collector, stack.settings.generation):
        text = (await stack.http.get(f"{url}/metrics")).raise_for_status().text
        expect(f"\n{REQUESTS_SERIES}" in text, f"{url}/metrics has no {REQUESTS_SERIES}")
    return REQUESTS_SERIES


async def dashboards_are_there(stack: CheckedStack) -> str:
    """Grafana has the dashboards."""
    url = await _grafana(stack)
    found = (await stack.http.get(f"{url}/api/search", params={"type": "dash-db"})).raise_for_status().json()
    titles = [board["title"] for board in found]
    expect(len(titles) >= DASHBOARDS, f"{len(titles)} dashboards: {titles}")
    return ", ".join(titles)


async def the_datasource_answers(stack: CheckedStack) -> str:
    """Grafana's data source answers, and Prometheus reaches both services."""
    url = await _grafana(stack)
    response = await stack.http.get(f"{url}/{QUERY_PATH}", params={"query": "up"})
    series = response.raise_for_status().json()["data"]["result"]
    up = {one["metric"]["job"] for one in series if one["value"][1] == "1"}
    down = sorted({one["metric"]["job"] for one in series} - up)
    expect(up >= {"collector", "generation"}, f"Prometheus reaches {sorted(up)}, not {down}")
    return f"Prometheus reaches {', '.join(sorted(up))}" + (f"; not {', '.join(down)}" if down else "")


async def _grafana(stack: CheckedStack) -> str:
    url = stack.settings.grafana
    try:
        (await stack.http.get(f"{url}/api/health")).raise_for_status()
    except httpx.ConnectError as error:
        raise Skipped(f"no Grafana at {url}; compose has one, the local run has not") from error
    return url


async def _written(stack: CheckedStack, user_id: str) -> Any:
    body = {"user_id": user_id, "max_tokens": TOKENS}
    answer = await stack.generation.call("POST", "/v1/generate", body)
    expect(bool(answer["posts"][0]["text"].strip()), "the post is empty")
    return answer


async def _in_soft_arm(stack: CheckedStack) -> str:
    for _ in range(IDS_TRIED):
        user_id = _nobody()
        body = {"user_id": user_id, "posts": [{"post_id": stack.posts(LIKED)[0].post_id}]}
        answer = await stack.generation.call("POST", "/v1/rank", body)
        if answer["personalization"]["arm"] == "soft":
            return user_id
    raise Failed(f"none of {IDS_TRIED} readers is in the soft arm: is SLOP_CONTROL_SHARE near 1?")


def _nobody() -> str:
    return f"smoke-{uuid4().hex[:12]}"


LOGS: Final = "docker compose logs {0}, or .run/logs/{0}.log of the local run"
UP: Final = f"start the stack (docker compose up --wait, or make up); then {LOGS}"

CHECKS: Final = (
    Check("the collector is ready", collector_is_ready, UP.format("collector")),
    Check("generation is ready", generation_is_ready, UP.format("generation")),
    Check("posts are registered", posts_are_registered, LOGS.format("featurizer")),
    Check("a stranger gets a plain post", strangers_get_plain_posts, LOGS.format("generation")),
    Check("likes turn the profile within seconds", likes_turn_the_profile, LOGS.format("learner")),
    Check("an event that is sent twice is learned once", retries_are_learned_once, LOGS.format("learner")),
    Check("the reader gets a personal post", posts_are_personal, LOGS.format("generation")),
    Check("ranking follows the taste", ranking_follows_the_taste, LOGS.format("generation")),
    Check("a bad event is refused, and told why", bad_events_are_refused, LOGS.format("collector")),
    Check("a post is streamed", posts_are_streamed, LOGS.format("generation")),
    Check("metrics are served", metrics_are_served, LOGS.format("generation")),
    Check("Grafana has the dashboards", dashboards_are_there, LOGS.format("grafana")),
    Check("Grafana's data source answers", the_datasource_answers, LOGS.format("prometheus")),
)
