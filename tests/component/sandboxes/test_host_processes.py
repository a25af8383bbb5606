"""`agent-rl sandbox serve` as a process of its own, without torch: killed, frozen, told to end, left by its client."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal

import docker
import pytest

from agent_rl.config import SandboxConfig
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Case, Limits, RunRequest, SandboxSpec, Submission, Task
from agent_rl_sandboxes.remote_host import Pace
from agent_rl_sandboxes.remote_provider import RemoteOptions, RemoteProvider
from agent_rl_sandboxes.resource_owner import LABEL
from tests.unit.sandboxes.hosting import (
    ANSWERED,
    ENVIRONMENT,
    QUICK,
    HeldProvider,
    free_port,
    hosting,
    remote,
    requests_to,
    served,
    until,
)

pytestmark = pytest.mark.slow
TASK = Task("add", (), CallTests("add", (Case((1, 2), 3), Case((5, -5), 0))))
SLOW = "import time\ntime.sleep({seconds})\ndef add(a, b):\n    return a + b\n"


@pytest.mark.local_sandbox
async def test_a_killed_hosts_runs_are_issued_again_and_it_is_taken_back():
    """Two hosts as processes; one is killed in mid-run, with nothing left of it, and started again."""
    ports = free_port(), free_port()
    options = ("--sandbox", "local", "--workers", "2")
    with served(ports[0], *options) as one, served(ports[1], *options) as other:
        await asyncio.gather(asyncio.to_thread(one.ready), asyncio.to_thread(other.ready))
        config = SandboxConfig(provider="remote", minimum_isolation="namespaces")
        hosts = RemoteOptions(hosts=(one.url, other.url))
        async with RemoteProvider(
            config, hosts, pace=dataclasses.replace(QUICK, heartbeat=1.0), environment=ENVIRONMENT
        ) as provider:
            verifier = TaskVerifier(provider)
            programs = [SLOW.format(seconds=1.5) + f"# {n}\n" for n in range(4)]
            judgings = [asyncio.create_task(verifier.judge(TASK, Submission.code(p))) for p in programs]
            async with requests_to(one) as look:
                while b"\nagent_rl_host_runs_in_workers 2.0\n" not in (await look.send("GET", "/metrics"))[1]:
                    await asyncio.sleep(0.02)
            started = one.children()
            assert started
            one.process.kill()
            assert [verdict.status for verdict in await asyncio.gather(*judgings)] == ["passed"] * 4
            await until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in started))
            states = {h["url"]: h["out"] for h in provider.describe()["hosts"]}
            assert states[one.url] is not None
            assert states[other.url] is None
            with served(ports[0], *options) as again:
                await asyncio.to_thread(again.ready)
                await until(lambda: all(h["out"] is None for h in provider.describe()["hosts"]))
                # And now the other one goes: all work is the returned one's.
                other.process.kill()
                judged = await verifier.judge(TASK, Submission.code(SLOW.format(seconds=0)))
                assert judged.passed
                assert judged.isolation == "namespaces"


@pytest.mark.local_sandbox
async def test_a_frozen_host_is_taken_out_by_its_silence():
    """Stopped, not killed: its connections stay open, and nobody answers."""
    pace = Pace(heartbeat=0.3, answer=0.5, first_retry=0.1, longest_retry=0.3, patience=10.0)
    with served(free_port(), "--sandbox", "local", "--workers", "2") as frozen:
        await asyncio.to_thread(frozen.ready)
        held = HeldProvider()
        async with hosting(held) as other:
            config = SandboxConfig(provider="remote").model_copy(update={"minimum_isolation": "memory"})
            hosts = RemoteOptions(hosts=(frozen.url, other.url))
            async with RemoteProvider(config, hosts, pace=pace, environment=ENVIRONMENT) as provider:
                request = RunRequest("import time\ntime.sleep(60)", limits=Limits(wall_seconds=100.0))
                runs = [asyncio.create_task(provider.run(request)) for _ in range(2)]
                await until(lambda: held.under_way == 1)
                frozen.process.send_signal(signal.SIGSTOP)
                await until(lambda: held.under_way == 2)
                held.go.set()
                assert await asyncio.gather(*runs) == [ANSWERED] * 2
                frozen.process.send_signal(signal.SIGCONT)
                await until(lambda: all(h["out"] is None for h in provider.describe()["hosts"]))


@pytest.mark.local_sandbox
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_host_ends_in_order_and_leaves_nothing(number: signal.Signals):
    with served(free_port(), "--sandbox", "local", "--workers", "2", "--drain", "0.2") as server:
        said = await asyncio.to_thread(server.ready)
        assert said[-1] == f"serving on {server.url} (2 workers, isolation between runs: namespaces)"
        async with remote(server.url) as provider:
            sandbox = provider.sandbox(SandboxSpec())
            await sandbox.write_files({"file": b"x"})
            request = RunRequest("import time\ntime.sleep(60)", limits=Limits(wall_seconds=100.0))
            running = asyncio.create_task(provider.run(request))
            await asyncio.sleep(0.5)
            started = server.children()
            assert len(started) >= 3
            code, said_last = await asyncio.to_thread(server.end, number)
            assert (code, said_last.splitlines()) == (0, ["ending: no new work is taken", "ended"])
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert not any(os.path.exists(f"/proc/{pid}") for pid in started)


@pytest.mark.local_sandbox
async def test_a_silent_clients_sandboxes_and_runs_end_with_its_lease():
    """The client's connections stay open, and it is not heard of any more: as after a cut cable."""
    with served(free_port(), "--sandbox", "local", "--workers", "1", "--lease", "1") as server:
        await asyncio.to_thread(server.ready)
        async with requests_to(server) as silent:
            idle = len(server.children())
            path = await silent.sandbox()
            asking = [
                asyncio.create_task(silent.send("POST", f"{path}/exec", json={"command": ["sleep", "60"]})),
                asyncio.create_task(silent.run("import time\ntime.sleep(60)")),
            ]
            await until(lambda: len(server.children()) > idle)
            assert [type(o).__name__ for o in await asyncio.gather(*asking, return_exceptions=True)] == [
                "ServerDisconnectedError"
            ] * 2
            await until(lambda: len(server.children()) <= idle)
            assert (await silent.run())[0] == 410


@pytest.mark.docker
async def test_a_host_with_docker_leaves_no_container(docker_api: docker.APIClient):
    """Ended in order, it removes its containers itself; killed, the next host on the machine does."""

    def containers_of(pid: int) -> int:
        found = docker_api.containers(all=True, filters={"label": LABEL})
        return sum(json.loads(container["Labels"][LABEL])["pid"] == pid for container in found)

    options = ("--sandbox", "docker", "--workers", "1", "--drain", "0", "--set", "warm_episodes=0")
    with served(free_port(), *options) as ended, served(free_port(), *options) as killed:
        await asyncio.gather(asyncio.to_thread(ended.ready), asyncio.to_thread(killed.ready))
        async with remote(ended.url, killed.url) as provider:
            sandboxes = [provider.sandbox(SandboxSpec()) for _ in range(2)]
            for sandbox in sandboxes:
                assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"
            for server in (ended, killed):
                assert containers_of(server.process.pid) == 2  # a worker's and an episode's
            assert (await asyncio.to_thread(ended.end))[0] == 0
            assert containers_of(ended.process.pid) == 0
            killed.process.kill()
            killed.process.wait()
            with served(free_port(), *options) as again:
                await asyncio.to_thread(again.ready)
                assert containers_of(killed.process.pid) == 0
                assert (await asyncio.to_thread(again.end))[0] == 0
                assert containers_of(again.process.pid) == 0
