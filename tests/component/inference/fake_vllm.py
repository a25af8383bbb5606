"""A stand-in for vLLM's server: the same routes, tokens that are the version served, and ways to fail on demand.

`python fake_vllm.py MODE … --uds PATH …`. Like the real one it has an engine process, which outlives it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

ROUTES = [
    "/pause",
    "/resume",
    "/abort_requests",
    "/start_weight_update",
    "/update_weights",
    "/finish_weight_update",
    "/update_weight_version",
    "/sleep",
    "/wake_up",
    "/server_info",
    "/weight_info",
    "/inference/v1/generate",
]


class Server:
    def __init__(self, mode: str, socket: Path) -> None:
        self.mode = mode
        self.version = "default"
        self.sampled = 0
        self.calls: list[str] = []
        self.engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (socket.parent / "engine").write_text(str(self.engine.pid))
        print(f"engine {self.engine.pid}", flush=True)

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/health", self.health), web.get("/version", self.about)])
        app.add_routes([web.get("/openapi.json", self.openapi), web.get("/metrics", self.metrics)])
        app.add_routes([web.get("/weight_info", self.weight_info), web.post("/inference/v1/generate", self.generate)])
        app.add_routes(
            [web.post(path, self.control) for path in ROUTES if path not in ("/weight_info", "/server_info")]
        )
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self.engine.poll() is not None else 200)

    async def about(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def openapi(self, request: web.Request) -> web.Response:
        routes = [r for r in ROUTES if not (self.mode == "old" and r == "/start_weight_update")]
        return web.json_response({"paths": {route: {} for route in routes}})

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=f'vllm:generation_tokens_total{{engine="0"}} {float(self.sampled)}\n')

    async def weight_info(self, request: web.Request) -> web.Response:
        return web.json_response({"weight_version": self.version})

    async def control(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = json.loads(await request.text() or "{}")
        self.calls.append(request.path)
        print("call", request.path, flush=True)
        if request.path == "/update_weights" and self.mode == "refuses-weights":
            return web.json_response({"error": "no such tensor"}, status=400)
        if request.path == "/finish_weight_update" and self.mode != "forgets-version":
            self.version = body["weight_version"]
        if request.path == "/update_weight_version":
            self.version = body["new_version"]
        return web.json_response({})

    async def generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        count = body["sampling_params"]["max_tokens"]
        if self.mode == "dies":
            self.engine.kill()
            self.engine.wait()
            return web.json_response({"error": "EngineDeadError"}, status=500)
        if self.mode == "hiccups" and self.sampled == 0:
            self.sampled = 1
            assert request.transport is not None
            request.transport.abort()
        if self.mode == "hangs":
            os.kill(os.getpid(), signal.SIGSTOP)
        self.sampled += count
        token = int(self.version)
        choice = {
            "finish_reason": "length",
            "token_ids": [token] * count,
            "weight_versions": [{"version": self.version, "start": 0, "end": count}],
            "logprobs": {"content": [{"token_id": token, "logprob": -0.5, "top_logprobs": []}] * count},
        }
        return web.json_response({"choices": [choice]})


async def main(mode: str, socket: Path) -> None:
    runner = web.AppRunner(Server(mode, socket).app())
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "never":
        print("ValueError: this model has no head of 7 dimensions")
        sys.exit(3)
    if sys.argv[1] == "slow":
        print("loading weights: 1 %", flush=True)
        import time

        time.sleep(600)
    asyncio.run(main(sys.argv[1], Path(sys.argv[sys.argv.index("--uds") + 1])))
