"""The daemon itself ends in the middle of runs: one that the test started, with its own socket and data."""

from __future__ import annotations

import asyncio
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
from agent_rl.errors import SandboxError
from agent_rl.verify import canonical
from agent_rl.vocabulary import Limits, RunCall, RunRequest, SandboxSpec
from agent_rl_sandboxes.build import DEFAULT_IMAGE
from agent_rl_sandboxes.docker import DockerProvider
from agent_rl_sandboxes.docker_engine import Endpoint, client
from agent_rl_sandboxes.owner import LABEL

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    # The Docker SDK leaves its socket open where a connection is refused.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]

START_SECONDS = 60.0


class Daemon:
    """A Docker daemon of the test's own, in a folder of its own; it touches no other daemon's data.

    Its containerd is started beside it, as a system does, and outlives it. Both have a network namespace of their own:
    a daemon without a bridge removes the one that it finds, which would be another daemon's.
    """

    def __init__(self, folder: Path, settings: str = "{}") -> None:
        """`settings`: what its daemon.json holds."""
        self.folder = folder
        self.settings = settings
        self.url = f"unix://{folder}/docker.sock"
        self._daemon: subprocess.Popen[bytes] | None = None
        address = folder / "containerd.sock"
        config = folder / "containerd.toml"
        # The plugins that are left out would listen on ports, or look after other people's containers.
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        command = ["unshare", "--net", "containerd", "--config", str(config), "--address", str(address)]
        command += ["--root", str(folder / "containerd"), "--state", str(folder / "containerd-state")]
        self._containerd = self._start(command, "containerd.log")

    def start(self) -> None:
        """The daemon answers. Raises AssertionError with the end of its log where it does not."""
        folder = self.folder
        (folder / "daemon.json").write_text(self.settings)
        (folder / "docker.pid").unlink(missing_ok=True)
        command = ["unshare", "--net", "dockerd", "--host", self.url, "--config-file", str(folder / "daemon.json")]
        command += ["--containerd", str(folder / "containerd.sock"), "--pidfile", str(folder / "docker.pid")]
        command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
        command += ["--bridge=none", "--iptables=false"]
        self._daemon = self._start(command, "docker.log")
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.api().close()
                return
            except OSError:
                ended = self._daemon.poll() is not None or time.monotonic() > until
                assert not ended, (folder / "docker.log").read_text()[-2000:]
                time.sleep(0.1)

    def api(self) -> docker.APIClient:
        """A client. Raises OSError where nobody listens."""
        return client(Endpoint(f"http+unix://{self.folder}/docker.sock", "unix", f"{self.folder}/docker.sock"))

    def end(self, number: signal.Signals) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(number)
            self._daemon.wait(60)
            self._daemon = None

    def clean(self) -> None:
        """The daemon, its containerd and whatever it still held are gone."""
        try:
            if self._daemon is None:
                self.start()
            api = self.api()
            for container in api.containers(all=True):
                api.remove_container(container["Id"], force=True)
            api.close()
        finally:
            self.end(signal.SIGTERM)
            self._containerd.terminate()
            self._containerd.wait(60)
            mounts = Path("/proc/self/mounts").read_text().splitlines()
            for point in sorted((line.split()[1] for line in mounts if str(self.folder) in line), reverse=True):
                subprocess.run(["umount", "-l", point], check=False)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


@pytest.fixture(scope="module")
def daemon(docker_image: str, docker_api: docker.APIClient) -> Iterator[Daemon]:
    missing = [tool for tool in ("dockerd", "containerd", "unshare") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"starting a daemon of one's own needs root, dockerd, containerd and unshare (missing: {missing})")
    # A short path: a socket's has at most 107 characters.
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="ard-")))
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
    async with DockerProvider(SandboxConfig(slots=2)) as provider:
        assert isinstance(provider, DockerProvider)
        assert provider.describe()["version"]
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.exec(["true"])
        under_way = [
            asyncio.create_task(provider.run(hanging())),
            asyncio.create_task(sandbox.exec(["sleep", "60"])),
        ]
        await asyncio.sleep(1.0)
        await asyncio.to_thread(daemon.end, number)
        done = await asyncio.wait_for(asyncio.gather(*under_way, return_exceptions=True), 30)
        assert all(isinstance(outcome, SandboxError) for outcome in done), done
        with monkeypatch.context() as impatient:
            impatient.setattr("agent_rl_sandboxes.docker.RESTART_SECONDS", 0.5)
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
    left = api.containers(all=True, filters={"label": LABEL})
    api.close()
    assert left == []


async def test_closing_without_a_daemon_ends_and_the_next_start_removes_what_was_left(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    provider = DockerProvider(SandboxConfig(slots=1))
    await provider.start()
    await asyncio.to_thread(daemon.end, signal.SIGKILL)
    await asyncio.wait_for(provider.close(), 30)
    reason = await DockerProvider.available(SandboxConfig())
    assert reason is not None
    assert reason.startswith("no Docker daemon answers at")
    with pytest.raises(SandboxError, match="start it"):
        await DockerProvider(SandboxConfig()).start()
    await asyncio.to_thread(daemon.start)
    assert await DockerProvider.available(SandboxConfig()) is None
    async with DockerProvider(SandboxConfig(slots=1)) as again:
        assert (await again.run(quick())).status == "completed"


async def test_a_missing_image_is_said_before_anything_runs(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    reason = await DockerProvider.available(SandboxConfig(image="nothing:here"))
    assert reason is not None
    assert "agent-rl sandbox build --bootstrap" in reason
