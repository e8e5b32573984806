"""What docs/api.md shows is what the services take and answer."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import numpy as np
import pytest
from redis import Redis

from slop.kafka.topics import INTERACTIONS
from slop.v1.interaction_pb2 import Interaction
from tests.api_docs import COLLECTOR, GENERATION, calls
from tests.basis import profile_of, random_basis
from tests.collectors import collector_server, read_all, running
from tests.generations import client_of, generation_server, put_features, put_profile

BASIS = random_basis()


@pytest.fixture(scope="module")
def collector(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, url = collector_server(tmp_path_factory.mktemp("collector"), kafka_bootstrap)
    with running(server):
        yield url


@pytest.fixture(scope="module")
def generation(redis_url: str, kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service without an engine."""
    folder = tmp_path_factory.mktemp("generation")
    server, url = generation_server(folder, BASIS, redis_url=redis_url, kafka_bootstrap=kafka_bootstrap)
    with running(server):
        yield url


def test_the_documents_calls_of_the_collector_are_accepted_whole(collector: str) -> None:
    documented = calls(COLLECTOR)
    assert {call.path for call in documented} == {"/v1/events", "/v1/posts"}
    for call in documented:
        with client_of(collector) as client:
            response = call.send(client)
        assert response.status_code == 202
        assert {result["status"] for result in response.json()["results"]} == {"accepted"}


def test_the_documents_calls_of_generation_are_understood(generation: str, redis_client: Redis) -> None:
    put_profile(redis_client, BASIS, "ada", profile_of(BASIS, (1.5, -1.0, 0.5, -0.2)))
    put_features(redis_client, BASIS, {"p1": np.eye(BASIS.text_size, dtype=np.float32)[0]})
    with client_of(generation) as client:
        answers = {call.path: call.send(client) for call in calls(GENERATION)}
    assert {path: answer.status_code for path, answer in answers.items()} == {
        "/v1/generate": 503,  # there is no engine here
        "/v1/chat/completions": 503,
        "/v1/models": 503,
        "/v1/models/slop": 503,
        "/v1/users/ada/feed?n=2": 503,
        "/v1/rank": 200,
        "/v1/users/ada/profile": 200,
    }
    first, second = answers["/v1/rank"].json()["scores"]
    assert isinstance(first, float)
    assert second is None


def test_every_call_of_the_services_is_documented(collector: str, generation: str) -> None:
    """Of those that are for products: health and metrics are not."""
    for service, url in ((COLLECTOR, collector), (GENERATION, generation)):
        paths = httpx.get(f"{url}/openapi.json", timeout=60).json()["paths"]
        served = {
            path.replace("{user_id}", "ada").replace("{model}", "slop") for path in paths if path.startswith("/v1/")
        }
        assert {call.path.partition("?")[0] for call in calls(service)} == served


def test_the_heartbeats_of_a_view_are_published_with_it(collector: str, kafka_bootstrap: str) -> None:
    user = f"user-{uuid4()}"
    beats = [
        {"event_id": f"{uuid4()}", "user_id": user, "type": "dwell", "post_id": "p", "value": value, "view_id": "v"}
        for value in (5e-324, 1_000.0, 2_000.0)
    ]
    with client_of(collector) as client:
        assert client.post("/v1/events", json={"events": beats}).status_code == 202
    published = [Interaction.FromString(record.value) for record in read_all(kafka_bootstrap, INTERACTIONS)]
    mine = [interaction for interaction in published if interaction.user_id == user]
    assert [(beat.value, beat.view_id) for beat in mine] == [(5e-324, "v"), (1_000.0, "v"), (2_000.0, "v")]
