"""Schemathesis: the collector keeps what its own OpenAPI document says, whatever it is sent."""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.collectors import collector_server, running

# Not the checks that valid data is accepted and wrong data refused: one answer is for many items, each by itself.
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def collector(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server, url = collector_server(tmp_path_factory.mktemp("collector"), kafka_bootstrap)
    with running(server):
        yield url


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("path", ["/v1/events", "/v1/posts"])
def test_every_answer_is_one_that_the_documentation_announces(collector: str, path: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_url(f"{collector}/openapi.json")[path]["POST"]

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=10, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    check()


@pytest.mark.parametrize("path", ["/v1/events", "/v1/posts"])
def test_the_example_of_the_documentation_is_accepted_whole(collector: str, path: str) -> None:
    document = httpx.get(f"{collector}/openapi.json").json()
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    [example] = document["components"]["schemas"][body.rsplit("/", 1)[1]]["examples"]
    response = httpx.post(f"{collector}{path}", json=example)
    assert response.status_code == 202
    assert {result["status"] for result in response.json()["results"]} == {"accepted"}
