"""The policy on vLLM: implements `Policy` with one server, either its own child process or a server at a given URL.

Runs in its own process, like every role, so that parsing answers never blocks the controller's event loop. When the
server dies, this process ends, and its supervisor starts both again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from agent_rl.config import Precision, VllmConfig
from agent_rl.contracts.policy import GenerateRequest, Generation, Policy, PolicyStatus, WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.inference.vllm.http_client import ServerLost, VllmClient
from agent_rl.inference.vllm.plugin import BACKEND
from agent_rl.inference.vllm.server import ServerPlan, VllmServer
from agent_rl.inference.vllm.session_prompts import JsonIds, SessionPrompts
from agent_rl.inference.vllm.vllm_answers import generation_of

T = TypeVar("T")
_EXIT = 70


class VllmPolicy(Policy):
    """Serves a model with vLLM; weights change in flight through its weight-transfer routes.

    Conversations share prefix cache entries only within this object and only if they started at the same version. Both
    are part of the cache's salt, since a server at a given URL keeps its cache from run to run. `renew_after`: a
    conversation that started more than this number of versions ago starts anew.
    """

    def __init__(
        self,
        model_path: str,
        *,
        version: int = 0,
        precision: Precision = "float32",
        on_cpu: bool = True,
        devices: tuple[int, ...] = (),
        threads: int = 1,
        max_batch: int = 256,
        config: VllmConfig | None = None,
        url: str | None = None,
        renew_after: int | None = None,
        log: str | None = None,
        exit_with_server: bool = True,
    ) -> None:
        """The server is up; from the first call on it serves `model_path` as `version`.

        Raises ConfigError if vLLM is missing, PolicyError if its server does not start.
        """
        config = config or VllmConfig()
        # The server runs in another folder, so the path is made absolute; a name that is no folder is a hub name.
        self._model = os.path.abspath(model_path) if os.path.isdir(model_path) else model_path
        self._first_version = version
        self._renew_after = renew_after
        self._url = url
        self._config = config
        self._sleep_level = 0 if on_cpu else 1
        self._exit_with_server = exit_with_server
        self._server: VllmServer | None = None
        if url is None:
            plan = ServerPlan(self._model, config, precision, threads, max_batch, on_cpu, devices)
            self._server = VllmServer(plan, None if log is None else Path(log))
            self._server.on_death(self._end)
        self._client: VllmClient | None = None
        self._opening = asyncio.Lock()
        self._version = version
        self._manifest: WeightManifest | None = None
        self._salt = secrets.token_hex(8)
        self._started: dict[str, int] = {}
        """Session -> the version at which its conversation started."""
        self._sessions = SessionPrompts()
        self._requests = 0
        self._running = 0
        self._finished_tokens = 0
        self._served_before = 0
        self._asleep = asyncio.Event()
        self._busy = 0.0
        self._busy_since: float | None = None

    async def generate(self, request: GenerateRequest) -> Generation:
        return await self._sampled(request, self._sessions.begin(request))

    async def _sampled(self, request: GenerateRequest, prompt: JsonIds) -> Generation:
        """The completion of `request`, whose whole prompt is `prompt`."""
        client = await self._ready()
        if request.deadline is not None and request.deadline <= 0:
            self._sessions.answered(request.session, prompt, ())
            return Generation((), (), (), "cancelled")
        self._requests += 1
        name = f"{os.getpid()}-{self._requests}"
        body = self._body(request, name, prompt)
        self._begin()
        reaper = None
        if request.deadline is not None:
            reaper = asyncio.create_task(self._abort_at(client, name, request.deadline))
        try:
            answer = await self._call(lambda: client.generate(body), again=True)
        finally:
            self._finish()
            if reaper is not None:
                reaper.cancel()
        generation = generation_of(answer, request.top_logprobs)
        self._sessions.answered(request.session, prompt, generation.token_ids)
        self._finished_tokens += len(generation.token_ids)
        return generation

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        prompts = [self._sessions.begin(request) for request in requests]
        answers = (self._sampled(request, prompt) for request, prompt in zip(requests, prompts, strict=True))
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]

    async def score(self, ids: Sequence[int]) -> list[float]:
        if not ids:
            raise ValueError("there are no ids to score")
        if len(ids) == 1:
            return []
        client = await self._ready()
        sampling = {"max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 0, "detokenize": False}
        body = json.dumps({"token_ids": list(ids), "sampling_params": sampling}).encode()
        answer = json.loads(await self._call(lambda: client.generate(body), again=True))
        rows = answer["prompt_logprobs"][1:]
        return [float(row[str(token)]["logprob"]) for token, row in zip(ids[1:], rows, strict=True)]

    async def end_session(self, session: str) -> None:
        self._sessions.end(session)
        self._started.pop(session, None)

    async def prepare_update(self, manifest: WeightManifest) -> None:
        await self._ready()
        self._manifest = manifest

    async def finish_update(self, version: int) -> None:
        client = await self._ready()
        manifest = self._manifest
        if manifest is None or manifest.version != version:
            ready = "none" if manifest is None else manifest.version
            raise PolicyError(f"version {version} has not been prepared (prepared: {ready})")
        self._manifest = None
        await self._call(lambda: self._update(client, manifest, version))

    async def _update(self, client: VllmClient, source: WeightManifest | str, version: int) -> None:
        """`version` serves. The server resumes even if the update failed."""
        try:
            await client.pause()
            await client.update_weights(source, version)
            served = await client.version()
            if served != version:
                raise PolicyError(f"vLLM serves version {served} after an update to {version}")
            self._version = version
        finally:
            if not self._asleep.is_set():
                await client.resume()

    async def sleep(self) -> None:
        client = await self._ready()
        await self._call(lambda: client.sleep(self._sleep_level))
        self._asleep.set()
        self._count_busy()

    async def wake(self) -> None:
        client = await self._ready()
        await self._call(lambda: client.wake())
        self._asleep.clear()
        self._count_busy()

    async def status(self) -> PolicyStatus:
        client = await self._ready()
        # Counted before the calls below: the policy may be woken while they wait for the server.
        self._count_busy()
        busy = self._busy
        served = await self._call(lambda: client.version())
        total = await self._call(lambda: client.sampled_tokens())
        return PolicyStatus(
            version=self._version if served is None else served,
            running=self._running,
            sampled_tokens=max(self._finished_tokens, total - self._served_before),
            busy_seconds=busy,
        )

    async def close(self) -> None:
        """Our own server has ended; a server at a given URL is awake. Idempotent."""
        if self._client is not None:
            try:
                if self._server is None and self._asleep.is_set():
                    with contextlib.suppress(ServerLost, PolicyError):
                        await self._client.wake()
            finally:
                await self._client.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.close)

    async def _ready(self) -> VllmClient:
        """The client of the server, which has been probed and serves the expected version."""
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                client = VllmClient(self._url or self._socket(), timeout=self._config.call_timeout)
                try:
                    await self._open(client)
                except BaseException:
                    await client.close()
                    raise
                self._client = client
        return self._client

    async def _open(self, client: VllmClient) -> None:
        if self._url is not None:
            await _reachable(client, self._config.start_timeout)
        await self._call(lambda: client.probe())
        if self._url is None:
            await self._call(lambda: client.set_version(self._first_version))
        else:  # Somebody else started this server: its settings and weights are unknown.
            await self._call(lambda: client.check_settings(BACKEND))
            await self._call(lambda: self._update(client, self._model, self._first_version))
        self._served_before = await self._call(lambda: client.sampled_tokens())

    def _socket(self) -> str:
        assert self._server is not None
        return self._server.socket

    def _body(self, request: GenerateRequest, name: str, prompt: JsonIds) -> bytes:
        """The request's JSON, with its whole prompt."""
        sampling = request.sampling
        parameters = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": list(sampling.stop_token_ids),
            "seed": seed_of(request.key),
            "logprobs": request.top_logprobs,
            "ignore_eos": True,
            "detokenize": False,
        }
        rest = {
            "request_id": name,
            "sampling_params": parameters,
            "cache_salt": f"{self._salt}, version {self._start_of(request.session)}",
        }
        return prompt.array(f'{json.dumps(rest)[:-1]}, "token_ids": '.encode(), b"}")

    def _start_of(self, session: str) -> int:
        """The version at which the conversation of `session` started; the current one if that was too old."""
        if not session:
            return self._version
        started = self._started.setdefault(session, self._version)
        if self._renew_after is not None and started < self._version - self._renew_after:
            started = self._started[session] = self._version
        return started

    async def _abort_at(self, client: VllmClient, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while True:  # An abort has no effect before the request reaches the server: repeat it.
            with contextlib.suppress(ServerLost, PolicyError):
                await client.abort(f"generate-tokens-{name}")
            await asyncio.sleep(0.2)

    async def _call(self, call: Callable[[], Awaitable[T]], *, again: bool = False) -> T:
        """The result of `call`. If the server is lost, this process ends.

        Raises PolicyError if the server is healthy and the call failed. `again`: the call is tried a second time first;
        this is safe, since the sampled tokens depend only on the request.
        """
        try:
            return await call()
        except ServerLost as error:
            if self._client is None or not await self._client.healthy():
                self._end(f"vLLM's server is lost: {error}")
            elif again:
                return await self._call(call)
            raise PolicyError(f"vLLM failed: {error}") from error

    def _end(self, message: str) -> None:
        """This process prints `message` and ends: a policy cannot work without its server."""
        if not self._exit_with_server:
            return
        print(message, file=sys.stderr, flush=True)
        os._exit(_EXIT)

    def _begin(self) -> None:
        self._count_busy()
        self._running += 1
        self._count_busy()

    def _finish(self) -> None:
        self._running -= 1
        self._count_busy()

    def _count_busy(self) -> None:
        """The seconds spent generating are up to date. Call this before and after each change of the running count."""
        now = time.monotonic()
        if self._busy_since is not None:
            self._busy += now - self._busy_since
        self._busy_since = now if self._running and not self._asleep.is_set() else None


async def _reachable(client: VllmClient, timeout: float) -> None:
    """The server answers. Raises PolicyError if it does not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not await client.healthy():
        if time.monotonic() > deadline:
            raise PolicyError(f"no vLLM server answered at {client.address} within {timeout:g} s")
        await asyncio.sleep(0.5)


def seed_of(key: Sequence[int]) -> int:
    """63 bits that depend on every number of `key`, in order."""
    text = ",".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
