"""An engine that can hang behind its API, as vLLM's can: a real server, which goes on answering `models`."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
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
    """

    def __init__(self) -> None:
        self.hangs, self.starves, self.asked = threading.Event(), threading.Event(), list[int]()
        self._iterations = 0
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
        if body["stream"]:
            return StreamingResponse(self._events(body["max_tokens"]), media_type="text/event-stream")
        words = [word async for word in self._words(body["max_tokens"])]
        choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(words)}}
        return JSONResponse({"choices": [choice | {"index": index} for index in range(body["n"])]})

    async def _words(self, count: int) -> AsyncIterator[str]:
        for number in range(count):
            await asyncio.sleep(TICK_S)
            while self.hangs.is_set() or (self.starves.is_set() and count == 1):
                await asyncio.sleep(TICK_S)
            self._iterations += 1
            yield f"word{number}"

    async def _events(self, count: int) -> AsyncIterator[str]:
        async for word in self._words(count):
            yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': word}}]})}\n\n"
        yield "data: [DONE]\n\n"


@contextmanager
def hanging_engine() -> Iterator[HangingEngine]:
    """One that runs, in a thread of this process."""
    engine = HangingEngine()
    port = int(engine.url.rsplit(":", 1)[1].split("/")[0])
    server = uvicorn.Server(uvicorn.Config(engine.app, host=HOST, port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: http_answers(f"{engine.url}/models"))
    try:
        yield engine
    finally:
        engine.hangs.clear()
        engine.starves.clear()
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
