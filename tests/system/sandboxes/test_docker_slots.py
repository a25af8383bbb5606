"""Warm workers in containers: isolated, bounded, quick, and whole again after a container was killed."""

from __future__ import annotations

import asyncio
import statistics
import time

import docker
import pytest

from agent_rl.errors import SandboxError
from agent_rl.vocabulary import Limits, RunCall, RunRequest, canonical
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.resource_owner import LABEL
from agent_rl_sandboxes.seccomp import profile

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

MIB = 2**20


def calling(program: str, *arguments: object, limits: Limits | None = None) -> RunRequest:
    """A run that calls `f` of `program` once."""
    call = RunCall("a", canonical.encode([list(arguments), {}]))
    return RunRequest(program=program, entry_point="f", calls=(call,), limits=limits or Limits())


def workers_of(api: docker.APIClient, provider: DockerProvider) -> list[str]:
    found = api.containers(filters={"label": f"{LABEL}={provider.owner.label()}"})
    return [c["Id"] for c in found]


async def test_a_workers_container_is_closed_but_for_what_namespaces_need(
    docker_provider: DockerProvider, docker_api: docker.APIClient
) -> None:
    await docker_provider.run(calling("def f(): return 1"))
    (identifier,) = workers_of(docker_api, docker_provider)
    host = docker_api.inspect_container(identifier)["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"]
    assert set(host["SecurityOpt"]) == {"no-new-privileges", f"seccomp={profile('workers')}"}
    assert host["MaskedPaths"] == []
    assert host["IpcMode"] == "none"
    assert host["Memory"] == host["MemorySwap"]
    assert not host["Binds"]


async def test_the_isolation_is_said_with_every_result_and_in_the_description(docker_provider: DockerProvider) -> None:
    result = await docker_provider.run(calling("def f(x): return x + 1", 41))
    assert (result.status, result.frames[-1]) == ("completed", '{"id":"a","value":42}')
    described = docker_provider.describe()
    assert result.isolation == docker_provider.isolation == described["isolation"]
    assert described["name"] == "docker"
    assert (described["why_not_higher"] == []) == (result.isolation == "namespaces")


async def test_nothing_of_one_run_is_there_for_the_next(docker_provider: DockerProvider) -> None:
    leave = (
        "import os, subprocess, time\n"
        "def f():\n"
        "    for folder in ('/tmp', '.', '/dev/shm'):\n"
        "        try: open(os.path.join(folder, 'left-behind'), 'w').close()\n"
        "        except OSError: pass\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        time.sleep(100)\n"
        "    return 1\n"
    )
    look = (
        "import os\n"
        "def f():\n"
        "    files = [d for d in ('/tmp', '.', '/dev/shm') if os.path.exists(os.path.join(d, 'left-behind'))]\n"
        "    return [files, sum(p.isdigit() for p in os.listdir('/proc'))]\n"
    )
    alone = await docker_provider.run(calling(look))
    await docker_provider.run(calling(leave))
    after = await docker_provider.run(calling(look))
    assert after.frames == alone.frames
    assert after.frames[-1].startswith('{"id":"a","value":[[],')


async def test_a_run_has_no_network_and_no_way_to_new_namespaces(docker_provider: DockerProvider) -> None:
    program = (
        "import ctypes, os, socket\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def f():\n"
        "    found = []\n"
        "    try: socket.create_connection(('1.1.1.1', 53), 2)\n"
        "    except OSError as error: found.append(error.errno)\n"
        "    found.append(libc.unshare(0x10000000))\n"  # CLONE_NEWUSER
        "    found.append(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None))\n"
        "    return found + [os.path.exists('/var/run/docker.sock')]\n"
    )
    result = await docker_provider.run(calling(program))
    assert result.frames[-1] == '{"id":"a","value":[101,-1,-1,false]}'


async def test_a_run_with_wider_limits_finds_room(
    docker_provider: DockerProvider, docker_api: docker.APIClient
) -> None:
    request = calling("def f(): return len(bytearray(900 * 2**20))", limits=Limits(memory_bytes=1024 * MIB))
    result = await docker_provider.run(request)
    assert result.frames[-1] == f'{{"id":"a","value":{900 * MIB}}}', result
    memory = {docker_api.inspect_container(c)["HostConfig"]["Memory"] for c in workers_of(docker_api, docker_provider)}
    assert all(m >= 1024 * MIB for m in memory)


async def test_a_killed_container_is_a_sandbox_error_and_the_next_run_passes(
    docker_provider: DockerProvider, docker_api: docker.APIClient
) -> None:
    hang = calling("import time\ndef f(): time.sleep(60)", limits=Limits(wall_seconds=60.0))
    running = asyncio.create_task(docker_provider.run(hang))
    await asyncio.sleep(0.5)
    for identifier in workers_of(docker_api, docker_provider):
        docker_api.kill(identifier)
    with pytest.raises(SandboxError, match="a worker died"):
        await running
    assert (await docker_provider.run(calling("def f(): return 7"))).frames[-1] == '{"id":"a","value":7}'


async def test_a_fresh_run_has_a_container_of_its_own_that_ends_with_it(
    docker_provider: DockerProvider, docker_api: docker.APIClient
) -> None:
    await docker_provider.run(calling("def f(): return 1"))
    before = set(workers_of(docker_api, docker_provider))
    running = asyncio.create_task(docker_provider.run(calling("import time\ndef f(): time.sleep(2)"), fresh=True))
    await asyncio.sleep(1.5)
    during = set(workers_of(docker_api, docker_provider))
    assert len(before) == 1
    assert before < during
    await running
    await asyncio.sleep(1.0)
    assert during - before - set(workers_of(docker_api, docker_provider)) == during - before


async def test_cancelled_runs_give_their_worker_back(docker_provider: DockerProvider) -> None:
    hang = calling("def f():\n    while True: pass", limits=Limits(wall_seconds=60.0, cpu_seconds=60.0))
    for _ in range(3):
        running = asyncio.create_task(docker_provider.run(hang))
        await asyncio.sleep(0.2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    result = await asyncio.wait_for(docker_provider.run(calling("def f(): return 1")), 20)
    assert result.status == "completed"


async def test_a_run_is_quick(docker_provider: DockerProvider) -> None:
    """A warm run in namespaces takes milliseconds, not the quarter of a second of a container of its own."""
    if docker_provider.isolation != "namespaces":
        pytest.skip(f"isolation here is {docker_provider.isolation!r}")
    times: list[float] = []
    for _ in range(50):
        began = time.perf_counter()
        await docker_provider.run(calling("def f(): return 1"))
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 0.1
