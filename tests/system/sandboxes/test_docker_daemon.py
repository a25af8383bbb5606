"""The daemon itself ends in the middle of runs: one that the test started, with its own socket and data."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from agent_rl.config import SandboxConfig
from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import (
    CallTests,
    Case,
    Limits,
    RunCall,
    RunRequest,
    SandboxSpec,
    Submission,
    Task,
    Verdict,
    canonical,
)
from agent_rl_sandboxes.docker_options import DockerOptions
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE
from agent_rl_sandboxes.resource_owner import LABEL
from tests.system.sandboxes.own_daemon import Daemon

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    # The Docker SDK leaves its socket open where a connection is refused.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def daemon(docker_image: str, docker_api: docker.APIClient) -> Iterator[Daemon]:
    missing = [tool for tool in ("dockerd", "containerd", "unshare") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"starting a daemon of one's own needs root, dockerd, containerd and unshare (missing: {missing})")
    # A short path: a socket's has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ard-"))
    # A disk of its own, small enough to be filled.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "agent-rl-test", str(folder)], check=True)
    daemon = Daemon(folder)
    try:
        daemon.start()
        own = daemon.api()
        own.load_image(docker_api.get_image(docker_image))
        assert own.inspect_image(DEFAULT_IMAGE)
        own.close()
        yield daemon
    finally:
        daemon.clean()


@pytest.fixture(autouse=True)
def _collect_the_sdks_sockets() -> Iterator[None]:
    yield
    gc.collect()


SUMS = ((2, 3), (-1, 1), (0, 0))
LIMITS = Limits(wall_seconds=20.0, cpu_seconds=20.0)
TASK = Task("add", (), CallTests("add", tuple(Case((a, b), a + b) for a, b in SUMS)), limits=LIMITS)
HONEST = "def add(a, b):\n    return a + b\n"
SLOW = f"import time\ntime.sleep(3)\n{HONEST}"
SLOW_AND_WRONG = SLOW.replace("a + b", "a - b - 1")


def hanging() -> RunRequest:
    call = RunCall("a", canonical.encode([[], {}]))
    program = "import time\ndef f(): time.sleep(60)"
    return RunRequest(program=program, entry_point="f", calls=(call,), limits=Limits(wall_seconds=60.0))


def quick() -> RunRequest:
    return RunRequest("def f(): return 1", "f", (RunCall("a", canonical.encode([[], {}])),))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_daemon_that_ends_is_a_sandbox_error_and_one_that_comes_back_serves_again(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    async with DockerProvider(SandboxConfig(workers=2)) as provider:
        assert isinstance(provider, DockerProvider)
        assert provider.describe()["version"]
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.exec(["true"])
        under_way = [
            asyncio.create_task(provider.run(hanging())),
            asyncio.create_task(sandbox.exec(["sleep", "60"])),
        ]
        await asyncio.sleep(1.0)
        with monkeypatch.context() as impatient:
            impatient.setattr("agent_rl_sandboxes.docker_provider.RESTART_SECONDS", 0.5)
            await asyncio.to_thread(daemon.end, number)
            done = await asyncio.wait_for(asyncio.gather(*under_way, return_exceptions=True), 30)
            assert all(isinstance(outcome, SandboxError) for outcome in done), done
            with pytest.raises(SandboxError, match="Docker"):
                await provider.run(quick())
            with pytest.raises(SandboxError, match="Docker"):
                await provider.sandbox(SandboxSpec()).exec(["true"])

        # Asked for while it is down, answered when it is back.
        waiting = [
            asyncio.create_task(provider.run(quick())),
            asyncio.create_task(provider.sandbox(SandboxSpec()).exec(["echo", "back"])),
        ]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(daemon.start)
        run, command = await asyncio.wait_for(asyncio.gather(*waiting), 60)
        assert run.frames[-1] == '{"id":"a","value":1}'
        assert command.stdout == b"back\n"
    api = daemon.api()
    # A daemon that was killed removes some of them by itself, after its start.
    until = time.monotonic() + 60
    while (left := api.containers(all=True, filters={"label": LABEL})) and time.monotonic() < until:
        await asyncio.sleep(0.2)
    assert not left, [(container["Names"], container["Status"]) for container in left]
    api.close()


async def test_judgings_in_flight_when_the_daemon_restarts_get_their_verdicts(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    async with DockerProvider(SandboxConfig(workers=2)) as provider:
        verifier = TaskVerifier(provider)
        judgings = [asyncio.create_task(verifier.judge(TASK, Submission.code(p))) for p in (SLOW, SLOW_AND_WRONG)]
        await asyncio.sleep(1.0)
        await asyncio.to_thread(daemon.end, signal.SIGTERM)
        await asyncio.to_thread(daemon.start)
        verdicts = await asyncio.wait_for(asyncio.gather(*judgings), 120)
        assert [(v.passed, v.status) for v in verdicts] == [(True, "passed"), (False, "failed")], verdicts
        assert (await verifier.judge(TASK, Submission.code(HONEST))).passed


async def test_a_full_disk_is_said_and_is_no_programs_doing_and_over_when_there_is_room(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    filler = daemon.folder / "filler"

    def fill() -> None:
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 12))

    api = daemon.api()
    try:
        async with DockerProvider(SandboxConfig(workers=1)) as provider:
            assert isinstance(provider, DockerProvider)
            await asyncio.to_thread(fill)
            # What is there goes on: a worker needs no disk.
            assert (await TaskVerifier(provider).judge(TASK, Submission.code(HONEST))).passed
            full = (
                r"the Docker daemon's disk is full \(no space left on device\): 0\.\d MiB of 1\.0 GiB are left "
                rf"in {daemon.folder}/\S+; free some of it \(`docker system prune`"
            )
            with pytest.raises(SandboxStartError, match=full):
                await provider.run(quick(), fresh=True)
            with pytest.raises(SandboxError, match=full):
                await provider.sandbox(SandboxSpec()).exec(["true"])
            with pytest.raises(SandboxError, match=full):
                await DockerProvider(SandboxConfig(workers=1)).start()
            judging = asyncio.create_task(TaskVerifier(provider).judge(TASK, Submission.code(SLOW_AND_WRONG)))
            await asyncio.sleep(1.0)
            # What could not be made has left a little room.
            await asyncio.to_thread(fill)
            for container in api.containers(filters={"label": f"{LABEL}={provider.owner.label()}"}):
                api.kill(container["Id"])
            (outcome,) = await asyncio.wait_for(asyncio.gather(judging, return_exceptions=True), 60)
            if isinstance(outcome, SandboxError):
                assert "this program did not cause it" in str(outcome)
            else:
                # The killed one has left room enough for another: then the verdict is the program's own.
                assert isinstance(outcome, Verdict)
                assert outcome.status == "failed"
            filler.unlink()
            assert (await TaskVerifier(provider).judge(TASK, Submission.code(HONEST))).passed
            assert (await provider.sandbox(SandboxSpec()).exec(["echo", "room"])).stdout == b"room\n"
        assert api.containers(all=True, filters={"label": LABEL}) == []
    finally:
        filler.unlink(missing_ok=True)
        api.close()


async def test_closing_without_a_daemon_ends_and_the_next_start_removes_what_was_left(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    provider = DockerProvider(SandboxConfig(workers=1))
    await provider.start()
    await asyncio.to_thread(daemon.end, signal.SIGKILL)
    await asyncio.wait_for(provider.close(), 30)
    reason = await DockerProvider.available(SandboxConfig(), DockerOptions())
    assert reason is not None
    assert reason.startswith("no Docker daemon answers at")
    with pytest.raises(SandboxError, match="start it"):
        await DockerProvider(SandboxConfig()).start()
    await asyncio.to_thread(daemon.start)
    assert await DockerProvider.available(SandboxConfig(), DockerOptions()) is None
    async with DockerProvider(SandboxConfig(workers=1)) as again:
        assert (await again.run(quick())).status == "completed"


async def test_a_missing_image_is_said_before_anything_runs(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    reason = await DockerProvider.available(SandboxConfig(image="nothing:here"), DockerOptions())
    assert reason is not None
    assert "agent-rl sandbox build --bootstrap" in reason
