import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from infra.local.ports import free_port
from infra.local.ready import http_answers

SERVICE = """
import asyncio, sys
from fastapi import FastAPI
from kit.serving import serve

app = FastAPI()

@app.get("/slow")
async def slow() -> str:
    print("asked", flush=True)
    await asyncio.sleep(0.5)
    return "whole"

serve(app, "127.0.0.1", int(sys.argv[1]), shutdown_s=5, keep_alive_s=75)
"""


def test_a_request_that_runs_when_the_service_is_told_to_stop_is_answered() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", SERVICE, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, ThreadPoolExecutor(1) as pool:
        deadline = time.monotonic() + 30
        while not http_answers(f"{url}/openapi.json"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        request = pool.submit(httpx.get, f"{url}/slow", timeout=20)
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        process.send_signal(signal.SIGTERM)
        assert request.result().json() == "whole"
        assert process.wait(timeout=20) in {0, -signal.SIGTERM}
