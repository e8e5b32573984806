from http import HTTPStatus
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from generation.openai.errors import PATHS, OpenAIErrors, error_of
from kit.problems import Problem, install_problems


def client(raised: Exception | None = None) -> httpx.AsyncClient:
    app = FastAPI()
    install_problems(app)
    app.add_middleware(OpenAIErrors)

    async def answer() -> JSONResponse:
        if raised is not None:
            raise raised
        return JSONResponse({"data": []})

    app.get("/v1/models")(answer)
    app.get("/v1/rank")(answer)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


@pytest.mark.parametrize(
    ("status", "members", "kind", "code"),
    [
        (400, {}, "invalid_request_error", None),
        (401, {}, "authentication_error", None),
        (403, {}, "permission_error", None),
        (404, {"code": "model_not_found", "param": "model"}, "invalid_request_error", "model_not_found"),
        (429, {}, "rate_limit_error", "rate_limit_exceeded"),
        (502, {}, "server_error", None),
        (503, {"code": "engine_away"}, "server_error", "engine_away"),
    ],
)
def test_a_problem_in_the_shape_of_openai(status: int, members: dict[str, Any], kind: str, code: str | None) -> None:
    error = error_of(Problem(HTTPStatus(status), "it is so", **members)).error
    assert (error.message, error.type, error.code) == ("it is so", kind, code)
    assert error.param == members.get("param")


@pytest.mark.parametrize(
    ("at", "reason", "param"),
    [
        ("body/user", "too long", "user"),
        ("body/messages/1/content/list[TextPart]/0/type", "no", "messages[1].content[0].type"),
        ("body/stop/list[constrained-str]/2", "no", "stop[2]"),
        ("body", "Value error, stop: an empty text", "stop"),
        ("body", "not a dictionary", None),
        ("body/17", "JSON decode error", None),
    ],
)
def test_the_parameter_is_named_as_openai_names_it(at: str, reason: str, param: str | None) -> None:
    problem = Problem(HTTPStatus.BAD_REQUEST, "not valid", errors=[{"at": at, "error": reason}])
    error = error_of(problem).error
    assert error.param == param
    assert error.message.startswith("not valid: ")


async def test_problems_of_openais_paths_are_written_anew_and_others_are_not() -> None:
    problem = Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "too long", retry_after_s=3)
    async with client(problem) as http:
        openai, ours = await http.get("/v1/models"), await http.get("/v1/rank")
    assert (openai.status_code, openai.headers["content-type"]) == (400, "application/json")
    assert openai.headers["retry-after"] == "3"
    assert int(openai.headers["content-length"]) == len(openai.content)
    assert openai.json() == {
        "error": {"message": "too long", "type": "invalid_request_error", "param": None, "code": None}
    }
    assert (ours.status_code, ours.json()["detail"]) == (422, "too long")


async def test_an_answer_passes_as_it_is() -> None:
    async with client() as http:
        assert (await http.get("/v1/models")).json() == {"data": []}


async def test_an_error_that_nobody_handled_has_the_shape_too() -> None:
    async with client(RuntimeError("secret")) as http:
        response = await http.get("/v1/models")
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/a/b", "/v1/chat/completions", "/v1/chat/completions/x"])
def test_openais_paths(path: str) -> None:
    assert PATHS.match(path)


@pytest.mark.parametrize("path", ["/v1/modelsx", "/v1/generate", "/healthz", "/v1/users/v1/models"])
def test_other_paths(path: str) -> None:
    assert not PATHS.match(path)
