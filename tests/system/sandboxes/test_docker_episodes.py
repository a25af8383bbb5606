"""Episodes' containers: made ahead, few at a time, alive when handed out, ended at a deadline and a lifetime."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import docker
import pytest
import pytest_asyncio

from agent_rl.config import SandboxConfig
from agent_rl.errors import SandboxError
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.docker_container import Container
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.docker_sandbox import DockerSandbox
from agent_rl_sandboxes.resource_owner import LABEL

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PROFILES = [
    pytest.param(SandboxSpec(), id="strict"),
    pytest.param(SandboxSpec(hardening="task_image", user="0", workdir="/root"), id="task_image"),
]
FAMILY = """# family
import os, signal, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)
def child(then):
    if os.fork() == 0:
        then()
        while True: time.sleep(1)
def daemon():                      # another session, its parent gone
    os.setsid()
    if os.fork(): os._exit(0)
    child(lambda: os.setpgid(0, 0))
child(lambda: child(lambda: child(lambda: None)))   # a grandchild's child
child(daemon)
time.sleep(0.5)
print("ready", flush=True)
while True: time.sleep(1)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(docker_image: str) -> AsyncIterator[DockerProvider]:
    """One worker, and containers of episodes made ahead as by default."""
    async with DockerProvider(SandboxConfig(workers=1)) as provider:
        assert isinstance(provider, DockerProvider)
        yield provider


def containers(api: docker.APIClient, provider: DockerProvider) -> set[str]:
    found = api.containers(all=True, filters={"label": f"{LABEL}={provider.owner.label()}"})
    return {container["Id"] for container in found}


async def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.05)
    return True


async def begun(provider: DockerProvider, spec: SandboxSpec) -> DockerSandbox:
    """A sandbox that has had its first command."""
    sandbox = provider.sandbox(spec)
    assert isinstance(sandbox, DockerSandbox)
    assert (await sandbox.exec(["true"])).exit_code == 0
    return sandbox


def processes(api: docker.APIClient, sandbox: DockerSandbox) -> list[str]:
    """The command lines of the Python programs in the container, as the daemon sees them from outside."""
    lines = [" ".join(row[7:]) for row in api.top(str(sandbox.container_id))["Processes"]]
    return [line for line in lines if line.startswith("python3")]


async def test_an_episode_gets_a_container_made_ahead_and_no_other_ever_gets_it(
    docker_image: str, docker_api: docker.APIClient
) -> None:
    async with DockerProvider(SandboxConfig(workers=1, warm_episodes=2)) as provider:
        assert isinstance(provider, DockerProvider)
        first = await begun(provider, SandboxSpec())
        # The worker, the episode, two ahead.
        assert await eventually(lambda: len(containers(docker_api, provider)) == 4)
        ahead = containers(docker_api, provider)
        second = await begun(provider, SandboxSpec())
        assert second.container_id in ahead - {first.container_id}
        await second.write_files({"mine": b"1"})
        used = {first.container_id, second.container_id}
        await first.close()
        await second.close()
        for _ in range(3):
            third = await begun(provider, SandboxSpec())
            assert third.container_id not in used
            assert (await third.exec(["ls", "-A"])).stdout == b""
            used.add(third.container_id)
            await third.close()
        assert containers(docker_api, provider) & used == set()
    assert containers(docker_api, provider) == set()


async def test_many_episodes_at_once_are_started_a_few_at_a_time(
    docker_image: str, docker_api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = most = count = 0
    start = Container.start

    async def counted(engine: object, **options: object) -> Container:
        nonlocal now, most, count
        if options["purpose"] == "worker":
            return await start(engine, **options)  # pyright: ignore
        now, count = now + 1, count + 1
        most = max(most, now)
        try:
            return await start(engine, **options)  # pyright: ignore
        finally:
            now -= 1

    monkeypatch.setattr(Container, "start", counted)
    async with DockerProvider(SandboxConfig(workers=1, warm_episodes=1, concurrent_starts=2)) as provider:
        assert isinstance(provider, DockerProvider)
        sandboxes = await asyncio.gather(*(begun(provider, SandboxSpec()) for _ in range(10)))
        assert len({sandbox.container_id for sandbox in sandboxes}) == 10
        assert await eventually(lambda: count == 11 and now == 0)
        assert most == 2
    assert containers(docker_api, provider) == set()


async def test_one_that_was_killed_or_paused_while_it_waited_is_not_handed_out(
    docker_image: str, docker_api: docker.APIClient
) -> None:
    async with DockerProvider(SandboxConfig(workers=1, warm_episodes=2)) as provider:
        assert isinstance(provider, DockerProvider)
        workers = containers(docker_api, provider)
        first = await begun(provider, SandboxSpec())
        assert await eventually(lambda: len(containers(docker_api, provider)) == 4)
        # Both are ready, not only started: the next one to be taken is then looked at, and so is the one after it.
        waiting = next(iter(provider._episodes._waiting.values()))
        assert await eventually(lambda: [task.done() for task in waiting] == [True, True])
        killed, paused = sorted(containers(docker_api, provider) - workers - {str(first.container_id)})
        docker_api.kill(killed)
        docker_api.pause(paused)
        second = await begun(provider, SandboxSpec())
        assert second.container_id not in (killed, paused)
        assert await eventually(lambda: not containers(docker_api, provider) & {killed, paused})
    assert containers(docker_api, provider) == set()


async def test_a_start_that_is_cancelled_leaves_no_container(docker_image: str, docker_api: docker.APIClient) -> None:
    async with DockerProvider(SandboxConfig(workers=1, warm_episodes=0)) as provider:
        assert isinstance(provider, DockerProvider)
        workers = containers(docker_api, provider)
        for delay in (0.005, 0.03, 0.1, 0.2, 0.3):
            sandbox = provider.sandbox(SandboxSpec())
            assert isinstance(sandbox, DockerSandbox)
            starting = asyncio.create_task(sandbox.exec(["true"]))
            await asyncio.sleep(delay)
            starting.cancel()
            await asyncio.wait([starting])
            if sandbox.container_id is not None:  # it had begun already: it is there until it is closed
                await sandbox.close()
        assert await eventually(lambda: containers(docker_api, provider) == workers), (
            workers,
            containers(docker_api, provider),
        )


@pytest.mark.parametrize("spec", PROFILES)
async def test_a_deadline_ends_children_grandchildren_and_daemons(
    provider: DockerProvider, docker_api: docker.APIClient, spec: SandboxSpec
) -> None:
    sandbox = await begun(provider, spec)
    quiet = processes(docker_api, sandbox)
    running = asyncio.create_task(sandbox.exec(["python3", "-c", FAMILY], timeout=4.0))
    # The command, three below each other, and the daemon with its child.
    assert await eventually(lambda: sum("# family" in line for line in processes(docker_api, sandbox)) == 6, 4.0)
    result = await running
    assert (result.status, result.exit_code, result.stdout) == ("timeout", None, b"ready\n")
    assert 4.0 <= result.seconds < 15.0  # the tree sleeps for longer
    assert not [line for line in processes(docker_api, sandbox) if "# family" in line]
    # And a moment later the server's own process that kept them.
    assert await eventually(lambda: processes(docker_api, sandbox) == quiet)
    await sandbox.close()


@pytest.mark.parametrize("spec", PROFILES)
async def test_a_deadline_holds_where_the_server_itself_was_stopped(
    provider: DockerProvider, docker_api: docker.APIClient, spec: SandboxSpec
) -> None:
    sandbox = await begun(provider, spec)
    await sandbox.write_files({"kept": b"yes"})
    stop = "import os, signal\nos.kill(-1, signal.SIGSTOP)\nos.kill(os.getpid(), signal.SIGSTOP)"
    result = await sandbox.exec(["python3", "-c", stop], timeout=0.5)
    assert result.status == "timeout"
    assert not [line for line in processes(docker_api, sandbox) if "signal" in line and "os.kill(-1" in line]
    assert await sandbox.read_file("kept") == b"yes"
    await sandbox.close()


@pytest.mark.parametrize("spec", PROFILES)
async def test_a_container_that_is_paused_under_a_command_is_an_infrastructure_failure(
    provider: DockerProvider, docker_api: docker.APIClient, spec: SandboxSpec
) -> None:
    sandbox = await begun(provider, spec)
    running = asyncio.create_task(sandbox.exec(["sleep", "60"], timeout=1.0))
    await asyncio.sleep(0.3)
    docker_api.pause(str(sandbox.container_id))
    with pytest.raises(SandboxError, match="the sandbox's container was paused from outside"):
        await asyncio.wait_for(running, 20)
    await sandbox.close()
    assert sandbox.container_id not in containers(docker_api, provider)
    await (await begun(provider, spec)).close()


ALL_PROCESSES = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except OSError:
        break
open("all", "w").close()
time.sleep(60)
"""


async def test_a_command_for_which_no_process_is_left_harms_no_other(provider: DockerProvider) -> None:
    sandbox = await begun(provider, SandboxSpec(processes=24))
    running = asyncio.create_task(sandbox.exec(["python3", "-c", ALL_PROCESSES], timeout=50.0))

    async def all_taken() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return await sandbox.read_file("all") == b""
        return False

    async with asyncio.timeout(30):
        while not await all_taken():
            await asyncio.sleep(0.1)
    refused = await sandbox.exec(["true"])
    assert (refused.status, refused.exit_code) == ("crashed", None)
    assert b"temporarily unavailable" in refused.stderr
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert (await sandbox.exec(["true"])).exit_code == 0
    await sandbox.close()


FROZEN = """
import asyncio
from agent_rl.config import SandboxConfig
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.docker_provider import DockerProvider

async def main():
    async with DockerProvider(SandboxConfig(workers=1, warm_episodes=0)) as provider:
        sandbox = provider.sandbox(SandboxSpec(lifetime_seconds=3.0))
        await sandbox.exec(["true"])
        print(sandbox.container_id, flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_a_lifetime_ends_also_where_its_controller_hangs(docker_image: str, docker_api: docker.APIClient) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", FROZEN], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    try:
        container = (await asyncio.to_thread(child.stdout.readline)).strip()
        child.send_signal(signal.SIGSTOP)

        def runs() -> bool:
            return bool(docker_api.containers(filters={"id": container}))

        assert runs()
        assert await eventually(lambda: not runs(), 10.0)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
