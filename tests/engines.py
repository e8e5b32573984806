"""Engines of the tests' own, each a real server: one that can hang behind its API, as vLLM's can, and one by script."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from itertools import cycle
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from infra.local.ports import free_port
from infra.local.ready import http_answers
from tests.servers import HOST
from tests.waiting import eventually

TICK_S = 0.02


class HangingEngine:
    """An OpenAI API that writes a word every now and then.

    Attributes:
        hangs: while it is set, no completion gets on.
        starves: while it is set, those who ask for a single token get none, and others do.
        asked: `max_tokens` of every completion that was asked for.
        texts: how many texts each of them was to have.
        running: how many completions are being written.
    """

    def __init__(self) -> None:
        self.hangs, self.starves = threading.Event(), threading.Event()
        self.asked, self.texts = list[int](), list[int]()
        self._iterations = self.running = 0
        self.url = f"http://{HOST}:{free_port()}/v1"
        self.app = FastAPI()
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/chat/completions")(self.complete)
        self.app.get("/metrics")(self.metrics)

    async def models(self) -> dict[str, Any]:
        """What it serves, whether it hangs or not."""
        return {"data": [{"id": "slop"}]}

    async def metrics(self) -> Response:
        """What vLLM tells of its iterations; while it starves some, it goes on for others."""
        self._iterations += self.starves.is_set()
        return Response(f'vllm:iteration_tokens_total_count{{model_name="slop"}} {self._iterations}\n')

    async def complete(self, request: Request) -> Response:
        """A word for each token asked for, at once or as they come."""
        body = await request.json()
        self.asked.append(body["max_tokens"])
        self.texts.append(body["n"])
        if body["stream"]:
            return StreamingResponse(self._events(body["max_tokens"]), media_type="text/event-stream")
        words = list[str]()
        async with aclosing(self._words(body["max_tokens"])) as written:
            async for word in written:
                if await request.is_disconnected():
                    break
                words.append(word)
        choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(words)}}
        return JSONResponse({"choices": [choice | {"index": index} for index in range(body["n"])]})

    async def _words(self, count: int) -> AsyncIterator[str]:
        self.running += 1
        try:
            for number in range(count):
                await asyncio.sleep(TICK_S)
                while self.hangs.is_set() or (self.starves.is_set() and count == 1):
                    await asyncio.sleep(TICK_S)
                self._iterations += 1
                yield f"word{number}"
        finally:
            self.running -= 1

    async def _events(self, count: int) -> AsyncIterator[str]:
        async with aclosing(self._words(count)) as words:
            async for word in words:
                yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': word + ' '}}]})}\n\n"
        yield "data: [DONE]\n\n"


@contextmanager
def hanging_engine() -> Iterator[HangingEngine]:
    """One that runs, in a thread of this process."""
    engine = HangingEngine()
    with _running(engine.app, engine.url):
        try:
            yield engine
        finally:
            engine.hangs.clear()
            engine.starves.clear()


@contextmanager
def _running(app: FastAPI, url: str) -> Iterator[None]:
    """Serve an OpenAI API at its URL, in a thread of this process."""
    port = int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: http_answers(f"{url}/models"))
    try:
        yield
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)


class ScriptedEngine:
    """An OpenAI API that writes what a test says, at once.

    Attributes:
        text: what every answer is, written word by word; None where the model only thinks.
        drafts: what the next answers are instead, the first one first.
        candidates: what the texts of an answer that is not streamed are instead, in turn, if there are any.
        refusal: status and error document that are answered instead, where there is one.
        breaks: whether a stream ends in an error after its first word.
        bodies: of all chats that were asked for, but the probes.
        limit: how many tokens, which are words, the model reads and writes; 10 are the template's; 0: it does not say.
        knows_system: whether the chat template knows the role `system`.
        lacking: how many texts of an answer do not come.
    """

    def __init__(self) -> None:
        self.text: str | None = "Rain is new here."
        self.drafts, self.candidates, self.breaks = list[str](), list[str](), False
        self.limit, self.knows_system, self.lacking = 0, True, 0
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.bodies = list[dict[str, Any]]()
        self.url = f"http://{HOST}:{free_port()}/v1"
        self.app = FastAPI()
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/chat/completions")(self.complete)
        self.app.post("/tokenize")(self.tokenize)

    async def models(self) -> dict[str, Any]:
        """What it serves."""
        return {"data": [{"id": "slop"} | ({"max_model_len": self.limit} if self.limit else {})]}

    async def tokenize(self, request: Request) -> Response:
        """How many tokens a chat has."""
        if not self.limit:
            return JSONResponse({"detail": "Not Found"}, 404)
        messages = (await request.json())["messages"]
        count = 10 + sum(len(message["content"].split()) for message in messages)
        return JSONResponse({"count": count, "max_model_len": self.limit})

    async def complete(self, request: Request) -> Response:
        """The text, as often as it is asked for."""
        body = await request.json()
        if not self.knows_system and any(message["role"] == "system" for message in body["messages"]):
            return JSONResponse({"error": {"message": "System role not supported", "code": 400}}, 400)
        if body["max_tokens"] > 1:
            self.bodies.append(body)
            if self.refusal is not None:
                return JSONResponse(self.refusal[1], self.refusal[0])
        if body["stream"]:
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        words = self._next_words()
        logprobs = {"content": [_logprob(word) for word in words]} if body.get("logprobs") else None
        message = {"role": "assistant", "content": "".join(words) if words else None, "reasoning_content": "Hm."}
        choice = {"message": message, "logprobs": logprobs, "finish_reason": "stop"}
        choices = [choice | {"index": index} for index in range(body["n"] - self.lacking)]
        for text, one in zip(cycle(self.candidates), choices, strict=False):
            one["message"] = message | {"content": text}
        return JSONResponse({"choices": choices, "usage": _usage(body, len(words))})

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        words, texts = self._next_words(), body["n"] - self.lacking
        for index in range(texts):
            yield f"data: {json.dumps({'choices': [{'index': index, 'delta': {'reasoning_content': 'Hm.'}}]})}\n\n"
        for word in words:
            logprobs = {"content": [_logprob(word)]} if body.get("logprobs") else None
            for index in range(texts):
                choice = {"index": index, "delta": {"content": word}, "logprobs": logprobs, "finish_reason": None}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            if self.breaks:
                yield f"data: {json.dumps({'error': {'message': 'EngineDeadError', 'code': 500}})}\n\n"
                return
        for index in range(texts):
            yield f"data: {json.dumps({'choices': [{'index': index, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
        if body["stream_options"]["include_usage"]:
            yield f"data: {json.dumps({'choices': [], 'usage': _usage(body, len(words))})}\n\n"
        yield "data: [DONE]\n\n"

    def _next_words(self) -> list[str]:
        """The words of the next answer; none where the model only thinks."""
        text = self.drafts.pop(0) if self.drafts else self.text
        if text is None:
            return []
        first, *rest = text.split(" ")
        return [first, *(f" {word}" for word in rest)]


def _usage(body: dict[str, Any], words: int) -> dict[str, int]:
    return {"prompt_tokens": 9, "completion_tokens": words * body["n"], "total_tokens": 0}


def _logprob(word: str) -> dict[str, Any]:
    return {"token": word, "logprob": -0.5, "bytes": list(word.encode()), "top_logprobs": []}


@contextmanager
def scripted_engine() -> Iterator[ScriptedEngine]:
    """One that runs, in a thread of this process."""
    engine = ScriptedEngine()
    with _running(engine.app, engine.url):
        yield engine
