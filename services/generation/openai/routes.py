"""The routes of OpenAI's API."""

import time
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from generation.callers import caller_of
from generation.engine_pool import EnginePool
from generation.events import EVENT_SCHEMA, EVENT_STREAM, event_stream
from generation.openai.chat import Chat, fingerprint_of
from generation.openai.chunks import ChatChunks
from generation.openai.contracts import ChatCompletion, ChatRequest, ErrorDocument, Model, ModelList
from generation.serving import BasisSwitch
from generation.tasks import while_connected
from kit.problems import Problem

_EXAMPLE: Final = """data: {"id":"chatcmpl-6d0a",…,"choices":[{"index":0,"delta":{"content":"Rain"},…}]}

data: {"id":"chatcmpl-6d0a",…,"choices":[{"index":0,"delta":{},…,"finish_reason":"stop","post_id":"gen-0b9c"}],…}

data: [DONE]

"""
_NOT_VALID: Final = "the body is not JSON, a parameter is not valid or not supported, or the chat is too long"
_AWAY: Final = "the engine, or what else is needed, does not answer, is overloaded, or takes too long; see Retry-After"


def _errors(meanings: dict[HTTPStatus, str]) -> dict[int | str, dict[str, Any]]:
    return {int(status): {"description": text, "model": ErrorDocument} for status, text in meanings.items()}


_CHAT: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.OK: {
        "description": "the answer; with `stream`, chunks as unnamed events, then `[DONE]`, or an error document",
        "content": {EVENT_STREAM: {"schema": EVENT_SCHEMA, "example": _EXAMPLE}},
    }
} | _errors(
    {
        HTTPStatus.BAD_REQUEST: _NOT_VALID,
        HTTPStatus.NOT_FOUND: "there is no such model",
        HTTPStatus.REQUEST_TIMEOUT: "the body did not arrive in time; see Retry-After",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is too large",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "the body was not sent as application/json",
        HTTPStatus.TOO_MANY_REQUESTS: "too much for one `user`, API key or address at a time; see Retry-After",
        HTTPStatus.BAD_GATEWAY: "the engine does not fit this service's basis, or its answer is not understood",
        HTTPStatus.SERVICE_UNAVAILABLE: _AWAY,
    }
)
_MODELS: Final = _errors(
    {
        HTTPStatus.BAD_GATEWAY: "the engine's answer is not understood",
        HTTPStatus.SERVICE_UNAVAILABLE: _AWAY,
    }
)


def openai_router(switch: BasisSwitch, engines: EnginePool, max_tokens: int) -> APIRouter:
    """The routes.

    Args:
        switch: the basis to answer under.
        engines: say which model there is.
        max_tokens: of an answer, where the request doesn't say.
    """
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    created = int(time.time())

    async def require_model(name: str) -> Model:
        """The model of this name.

        Raises:
            Problem: 404, there is none; or the engine does not say which there is.
        """
        if name != await engines.served_model() and name != await engines.served_model(anew=True):
            detail = f"there is no model `{name}`; GET /v1/models lists those that there are"
            raise Problem(HTTPStatus.NOT_FOUND, detail, param="model", code="model_not_found")
        return Model(id=name, created=created)

    @router.post("/chat/completions", response_model=ChatCompletion, responses=_CHAT)
    async def chat_completions(body: ChatRequest, http: Request) -> Response | ChatCompletion:
        """Answer a chat in the taste of the reader whom `user` names; plainly where there is none or no profile."""
        chat = Chat.of(body, max_tokens)
        await require_model(body.model)
        serving, asked = switch.serving, replace(chat.request, caller=caller_of(http))
        if body.stream:
            include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
            chunks = ChatChunks(chat, fingerprint_of(serving.version), include_usage=include_usage)
            return await event_stream(http, serving.writer.stream(asked), chunks)
        return chat.completion(await while_connected(http, serving.writer.write(asked)))

    @router.get("/models", responses=_MODELS)
    async def models() -> ModelList:
        """The models that chats can be answered by."""
        return ModelList(data=[Model(id=await engines.served_model(), created=created)])

    @router.get("/models/{model:path}", responses=_MODELS | _errors({HTTPStatus.NOT_FOUND: "there is no such model"}))
    async def model(model: str) -> Model:
        """One model."""
        return await require_model(model)

    return router
