"""Nothing is left: after a normal end, a SIGINT, a SIGKILL; and what a dead owner left is removed, nobody else's is."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound

from agent_rl.config import SandboxConfig
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.docker_engine import DockerEngine
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.resource_owner import LABEL, Owner

pytestmark = [pytest.mark.docker, pytest.mark.slow]

CHILD = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, and what it starts, ignores it
from agent_rl.config import SandboxConfig
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.docker_provider import DockerProvider

async def main():
    async with DockerProvider(SandboxConfig(workers=1)) as provider:
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.exec(["true"])
        print(provider.owner.lease, flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


def containers_of(api: docker.APIClient, lease: str) -> list[str]:
    found = api.containers(all=True, filters={"label": LABEL})
    return [c["Id"] for c in found if f'"lease":"{lease}"' in c["Labels"][LABEL]]


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def left_behind(api: docker.APIClient, image: str, owner: Owner) -> str:
    """A container that carries `owner`'s label and runs on, held by nobody."""
    created = api.create_container(
        image,
        entrypoint=["sleep"],
        command=["600"],
        labels={LABEL: owner.label()},
        host_config=api.create_host_config(network_mode="none"),
    )
    api.start(created["Id"])
    return created["Id"]


def start_child() -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


async def test_a_normal_end_leaves_nothing(docker_image: str, docker_api: docker.APIClient) -> None:
    async with DockerProvider(SandboxConfig(workers=2)) as provider:
        assert isinstance(provider, DockerProvider)
        lease = provider.owner.lease
        await provider.sandbox(SandboxSpec()).exec(["true"])
        # Two workers, one episode, and two made ahead for the next ones.
        assert await asyncio.to_thread(eventually, lambda: len(containers_of(docker_api, lease)) == 5)
    assert containers_of(docker_api, lease) == []
    await provider.close()  # idempotent


async def test_a_cancelled_start_leaves_nothing(docker_image: str, docker_api: docker.APIClient) -> None:
    for delay in (0.02, 0.1, 0.25):
        provider = DockerProvider(SandboxConfig(workers=2))
        starting = asyncio.create_task(provider.start())
        await asyncio.sleep(delay)
        starting.cancel()
        await asyncio.wait([starting])
        await provider.close()
        assert containers_of(docker_api, provider.owner.lease) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_leaves_nothing(
    docker_image: str, docker_api: docker.APIClient, number: signal.Signals
) -> None:
    child, lease = start_child()
    try:
        # One worker, one episode, and two made ahead for the next ones.
        assert eventually(lambda: len(containers_of(docker_api, lease)) == 4)
        child.send_signal(number)
        child.wait(20)
        # Not even another start is needed: the daemon sees the connection end, and the containers end with it.
        assert eventually(lambda: containers_of(docker_api, lease) == [])
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


async def test_the_next_start_removes_what_a_killed_process_left(
    docker_image: str, docker_api: docker.APIClient
) -> None:
    """As where the daemon could not see the connection end (it was down itself, or a proxy kept it open)."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    owner = dataclasses.replace(Owner.current(), pid=child.pid, started=started)
    try:
        container = left_behind(docker_api, docker_image, owner)
        async with DockerProvider(SandboxConfig(workers=1)):
            assert containers_of(docker_api, owner.lease) == [container]  # alive: untouched
        child.kill()
        child.wait()
        async with DockerProvider(SandboxConfig(workers=1)):
            assert containers_of(docker_api, owner.lease) == []
    finally:
        child.kill()
        child.wait()
        for identifier in containers_of(docker_api, owner.lease):
            docker_api.remove_container(identifier, force=True)


async def test_only_provably_dead_owners_are_reaped(docker_image: str, docker_api: docker.APIClient) -> None:
    me = Owner.current()
    owners = {
        "same process, other lease": (dataclasses.replace(me, lease="a" * 16), True),
        "pid used again": (dataclasses.replace(me, started="1", lease="b" * 16), False),
        "no such pid": (dataclasses.replace(me, pid=2**22 + 1, lease="c" * 16), False),
        "another boot": (dataclasses.replace(me, boot="earlier", lease="d" * 16), False),
        "another host": (dataclasses.replace(me, host="elsewhere", pid=2**22 + 1, lease="e" * 16), True),
        "another pid namespace": (dataclasses.replace(me, namespace="pid:[1]", pid=2**22 + 1, lease="f" * 16), True),
    }
    made = {name: left_behind(docker_api, docker_image, owner) for name, (owner, _) in owners.items()}
    try:
        async with DockerProvider(SandboxConfig(workers=1)):
            alive = {c["Id"] for c in docker_api.containers(all=True)}
        assert {name: made[name] in alive for name in made} == {name: kept for name, (_, kept) in owners.items()}
    finally:
        for identifier in made.values():
            try:
                docker_api.remove_container(identifier, force=True)
            except NotFound:
                continue


async def test_a_container_that_several_remove_at_once_is_gone_for_each_of_them(docker_image: str) -> None:
    # All but one meet the removal of another: those that come while it ends must see its end too.
    engine = await DockerEngine.connect()
    owner = Owner.current()
    try:
        for _ in range(4):
            container = await asyncio.to_thread(left_behind, engine.api, docker_image, owner)
            async with asyncio.timeout(25):
                await asyncio.gather(*(engine.remove(container) for _ in range(6)))
            with pytest.raises(NotFound):
                await engine.call(engine.api.inspect_container, container)
    finally:
        await engine.close()
