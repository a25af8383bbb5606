"""What the adapter makes of a server that does not come up, lacks routes, refuses, dies, hangs, or outlives its user.

The server is a stand-in with vLLM's routes (`fake_vllm`), started exactly as vLLM is; the roles, the guard, the signals
and the supervision are the real ones.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent_rl.config import VllmConfig
from agent_rl.contracts import GenerateRequest, SamplingParams, WeightManifest
from agent_rl.errors import ConfigError, PolicyError
from agent_rl.inference.vllm.http_client import VllmClient
from agent_rl.inference.vllm.server import INTERPRETER_VARIABLE
from agent_rl.launch.local_launcher import LocalLauncher, RoleProcess
from agent_rl.launch.role_clients import PolicyClient
from agent_rl.launch.supervised_roles import SupervisedPolicy

FAKE = Path(__file__).with_name("fake_vllm.py")
POLICY = "agent_rl.inference.vllm.vllm_policy:VllmPolicy"
REQUEST = GenerateRequest((1, 2), SamplingParams(max_tokens=3), (0,), "s")
MANIFEST = WeightManifest(1, "no such blob", 0, ())

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def interpreter(folder: Path, mode: str) -> str:
    """An executable that stands where an interpreter with vLLM is expected, and runs the stand-in."""
    path = folder / f"python-{mode}"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" {mode} "$@"\n')
    path.chmod(0o755)
    return str(path)


class Starter:
    """Starts policies in roles of their own, of which it remembers the last."""

    def __init__(self, runtime: LocalLauncher, folder: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        self.roles: list[RoleProcess] = []

    @property
    def log(self) -> Path:
        return self.folder / "vllm.log"

    def __call__(self, *modes: str, **options: Any) -> Callable[[str, int], Any]:
        """A function that starts a server of the next of `modes`, the last of them for ever."""
        left = list(modes)

        async def start(model: str, version: int) -> tuple[RoleProcess, PolicyClient]:
            mode = left.pop(0) if len(left) > 1 else left[0]
            config = VllmConfig(python=interpreter(self.folder, mode), **{"start_timeout": 20.0, **options})
            arguments = {"model_path": model, "version": version, "config": config, "log": str(self.log)}
            role = await self.runtime.start("policy", POLICY, arguments, error=PolicyError)
            self.roles.append(role)
            policy = PolicyClient(role)
            await policy.status()
            return role, policy

        return start

    def engines(self) -> list[int]:
        """The processes that stood for the engines of all servers so far."""
        return [int(pid) for pid in re.findall(r"^engine (\d+)$", self.log.read_text(), re.M)]


@pytest_asyncio.fixture
async def starter(tmp_path: Path) -> AsyncIterator[Starter]:
    async with LocalLauncher(tmp_path / "run") as runtime:
        yield Starter(runtime, tmp_path)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pids: list[int]) -> None:
    """Returns when none of `pids` runs."""
    async with asyncio.timeout(20):
        while any(map(running, pids)):
            await asyncio.sleep(0.05)


async def test_a_server_that_never_comes_up_says_why(starter: Starter) -> None:
    with pytest.raises(PolicyError, match=r"did not come up; the last lines of .*vllm\.log:\n  ValueError: this model"):
        await starter("never")("model", 0)


async def test_a_server_that_is_not_ready_in_time_is_ended(starter: Starter) -> None:
    with pytest.raises(PolicyError, match=r"start_timeout = 3 s; the last lines of .*\n  loading weights: 1 %"):
        await starter("slow", start_timeout=3.0)("model", 0)


async def test_a_server_without_the_routes_is_refused_by_name(starter: Starter) -> None:
    lacks = r"\(version 0\.32\.0\) lacks routes that training needs: /start_weight_update \(weight transfer: start it"
    with pytest.raises(PolicyError, match=lacks):
        await starter("old")("model", 0)


@pytest.mark.parametrize(
    ("mode", "backend", "message"),
    [
        ("raw_logprobs", "agent_rl", r"started with --logprobs-mode processed_logprobs \(it has raw_logprobs\)$"),
        (
            "processed_logprobs",
            "nccl",
            r"""started with --weight-transfer-config '{"backend": "agent_rl"}' \(it has nccl\)$""",
        ),
        ("raw_logprobs", None, r"raw_logprobs\) and --weight-transfer-config .* \(it has None\)$"),
    ],
)
async def test_a_server_of_somebody_elses_with_other_settings_is_refused(
    mode: str, backend: str | None, message: str
) -> None:
    async def settings(request: web.Request) -> web.Response:
        assert request.query["config_format"] == "json"
        transfer = None if backend is None else {"backend": backend}
        said = {"model_config": {"logprobs_mode": mode}, "weight_transfer_config": transfer}
        return web.json_response({"vllm_config": said})

    app = web.Application()
    app.add_routes([web.get("/server_info", settings)])
    async with TestServer(app) as server:
        client = VllmClient(str(server.make_url("/")))
        with pytest.raises(PolicyError, match=message):
            await client.check_settings("agent_rl")
        await client.close()


async def test_no_vllm_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    from agent_rl.inference.vllm import server

    monkeypatch.delenv(INTERPRETER_VARIABLE, raising=False)
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    plan = server.ServerPlan("model", VllmConfig(), "float32", threads=1, max_batch=8, on_cpu=True)
    with pytest.raises(ConfigError, match=r"policy\.engine: vLLM is not installed here.*AGENT_RL_VLLM_PYTHON"):
        server.VllmServer(plan)


async def test_generation_goes_on_where_an_update_is_refused(starter: Starter) -> None:
    _, policy = await starter("refuses-weights")("model", 4)
    await policy.prepare_update(MANIFEST)
    with pytest.raises(PolicyError, match=r"vLLM refused /update_weights \(status 400\).*no such tensor"):
        await policy.finish_update(1)
    calls = re.findall(r"^call (\S+)$", starter.log.read_text(), re.M)
    assert calls[-2:] == ["/update_weights", "/resume"], "it is resumed also where the update failed"
    assert (await policy.generate(REQUEST)).versions == (4, 4, 4)


async def test_a_version_that_is_not_served_after_an_update_is_an_error(starter: Starter) -> None:
    _, policy = await starter("forgets-version")("model", 4)
    await policy.prepare_update(MANIFEST)
    with pytest.raises(PolicyError, match="vLLM serves version 4 after an update to 1"):
        await policy.finish_update(1)


async def test_a_request_whose_connection_broke_is_issued_again(starter: Starter) -> None:
    _, policy = await starter("hiccups")("model", 0)
    assert (await policy.generate(REQUEST)).token_ids == (0, 0, 0)


async def test_a_dead_engine_is_replaced_and_brought_to_the_current_version(starter: Starter) -> None:
    said: list[str] = []
    policy = SupervisedPolicy(starter("well", "well"), "model", 0, max_restarts=2, say=said.append)
    await policy.open()
    await policy.prepare_update(MANIFEST)
    await policy.finish_update(1)
    os.kill(starter.engines()[0], signal.SIGKILL)
    role = starter.roles[0]
    os.killpg(role.pid, signal.SIGKILL)
    assert (await policy.generate(REQUEST)).versions == (1, 1, 1)
    assert len(starter.roles) == 2
    assert "the policy died and is started again" in said[0]
    await policy.close()


async def test_a_server_whose_engine_dies_under_a_request_is_replaced(starter: Starter) -> None:
    said: list[str] = []
    policy = SupervisedPolicy(starter("dies", "well"), "model", 7, max_restarts=1, say=said.append)
    await policy.open()
    assert (await policy.generate(REQUEST)).versions == (7, 7, 7)
    assert "vLLM's server is lost" in said[0]
    assert "EngineDeadError" in said[0]
    await policy.close()
    await gone(starter.engines())


async def test_a_server_that_hangs_is_killed_and_replaced(starter: Starter) -> None:
    said: list[str] = []
    policy = SupervisedPolicy(
        starter("hangs", "well"), "model", 7, max_restarts=1, say=said.append, heartbeat_timeout=1.0
    )
    await policy.open()
    assert (await policy.generate(REQUEST)).versions == (7, 7, 7)
    assert said[0] == "the policy has not answered for 1 s: it is killed"
    await policy.close()
    await gone(starter.engines())


async def test_nothing_is_left_after_the_role_is_stopped_or_killed(starter: Starter) -> None:
    role, _ = await starter("well")("model", 0)
    await role.stop()
    await gone(starter.engines())
    role, _ = await starter("well")("model", 0)
    os.kill(role.pid, signal.SIGKILL)
    await gone(starter.engines())
    assert len(starter.engines()) == 2


def test_nothing_is_left_after_whoever_uses_the_server_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    program = (
        "import sys, time; from pathlib import Path\n"
        "from agent_rl.config import VllmConfig\n"
        "from agent_rl.inference.vllm.server import ServerPlan, VllmServer\n"
        "plan = ServerPlan('m', VllmConfig(python=sys.argv[1]), 'float32', threads=1, max_batch=8, on_cpu=True)\n"
        "server = VllmServer(plan, Path(sys.argv[2])); print(server.socket, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, interpreter(tmp_path, "well"), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        socket = Path(user.stdout.readline().strip())
        (engine,) = map(int, re.findall(r"^engine (\d+)$", log.read_text(), re.M))
        assert socket.exists() and running(engine)
        user.kill()
    deadline = time.monotonic() + 20
    while (running(engine) or socket.parent.exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(engine)
    assert not socket.parent.exists(), "the server's folder is gone too"
