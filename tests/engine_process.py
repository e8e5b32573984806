"""`python -m tests.engine_process PORT NAME WORD_S`: an engine in a process of its own, to be killed and stopped.

It writes its name again and again, a word every WORD_S seconds.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from infra.local.ports import free_port
from infra.local.ready import http_answers
from tests.servers import HOST, Server


class EngineProcess:
    """An engine that can be killed, stopped and started again.

    Attributes:
        name: host and port; also what it writes.
        url: of its OpenAI API.
    """

    def __init__(self, folder: Path) -> None:
        self._port, self._folder = free_port(), folder
        self.name = f"{HOST}:{self._port}"
        self.url = f"http://{self.name}/v1"
        self.server = self._server(0.02)

    def _server(self, word_s: float) -> Server:
        command = [sys.executable, "-m", "tests.engine_process", str(self._port), self.name, str(word_s)]
        return Server(command, lambda: http_answers(f"{self.url}/models"), self._folder / f"engine-{self._port}.log")

    def start(self, word_s: float = 0.02) -> None:
        """Start it, writing so fast."""
        self.server = self._server(word_s)
        self.server.start()

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        assert self.server.process is not None
        self.server.process.send_signal(number)


def app(name: str, word_s: float) -> FastAPI:
    """An OpenAI API that writes its name."""
    api = FastAPI()

    async def words(count: int) -> AsyncIterator[str]:
        for _ in range(count):
            await asyncio.sleep(word_s)
            yield name + " "

    async def events(count: int) -> AsyncIterator[str]:
        async for word in words(count):
            yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': word}}]})}\n\n"
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n"

    @api.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"data": [{"id": "slop"}]}

    @api.post("/v1/chat/completions", response_model=None)
    async def complete(request: Request) -> Response:
        body = await request.json()
        if body["stream"]:
            return StreamingResponse(events(body["max_tokens"]), media_type="text/event-stream")
        text = "".join([word async for word in words(body["max_tokens"])])
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return JSONResponse({"choices": [choice | {"index": index} for index in range(body["n"])]})

    return api


if __name__ == "__main__":
    port, name, word_s = sys.argv[1:]
    uvicorn.run(app(name, float(word_s)), host=HOST, port=int(port), log_level="warning")
