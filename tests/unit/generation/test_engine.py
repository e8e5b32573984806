import json

import httpx
import pytest

from generation.engine import problem_of


def refusal(status: int, message: str = "no", param: str | None = None) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "param": param, "code": status}})


@pytest.mark.parametrize(
    ("response", "status", "retry"),
    [
        (refusal(400, "maximum context length is 1024"), 422, False),
        (refusal(422), 422, False),
        (refusal(400, "hidden_size 8 does not match", "prompt_embeds"), 502, False),
        (refusal(401), 502, False),
        (refusal(404, "model not found"), 503, True),
        (refusal(429), 503, True),
        (refusal(500, "EngineDeadError"), 503, True),
        (httpx.Response(502, text="<html>bad gateway</html>"), 503, True),
        (httpx.Response(500, json={"error": "gone"}), 503, True),
        (httpx.Response(500, json=["odd"]), 503, True),
    ],
)
def test_a_refusal_of_the_engine_means_to_the_client(response: httpx.Response, status: int, retry: bool) -> None:
    answer = problem_of(response).response()
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == retry
    assert json.loads(bytes(answer.body))["detail"]


def test_the_reason_of_a_refusal_is_told_and_cut_short() -> None:
    assert "context length" in problem_of(refusal(400, "the context length is exceeded")).detail
    assert len(problem_of(refusal(400, "x" * 100_000)).detail) < 400
