"""`sandbox.docker.runtime`: containers start under the runtime that is named, where isolation is probed too."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError
from agent_rl.providers import choose_provider, unavailable
from agent_rl.testing.contracts.sandbox_contract import ADD, PASSED, pair, reports, request, values
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.docker_info import check_runtime
from agent_rl_sandboxes.docker_options import DockerOptions
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.docker_sandbox import DockerSandbox
from agent_rl_sandboxes.resource_owner import LABEL
from agent_rl_sandboxes.sandbox_doctor import examine
from tests.system.sandboxes.own_daemon import Daemon

INFO = {"Runtimes": {"runc": {"path": "runc"}, "io.containerd.runc.v2": {}}, "DefaultRuntime": "runc"}


# What a daemon knows


def test_a_runtime_that_the_daemon_does_not_know_is_an_error_that_names_those_it_has() -> None:
    check_runtime(INFO, None)
    check_runtime(INFO, "runc")
    check_runtime(INFO, "io.containerd.runsc.v1")
    with pytest.raises(
        ConfigError,
        match=r"sandbox\.docker\.runtime: .* no such runtime, only io\.containerd\.runc\.v2, runc: install gVisor",
    ):
        check_runtime(INFO, "runsc")
    with pytest.raises(ConfigError, match=r"only io\.containerd\.runc\.v2, runc \(did you mean 'runc'"):
        check_runtime(INFO, "crun")


async def test_the_local_sandbox_has_none() -> None:
    config = SandboxConfig.model_validate({"provider": "local", "docker": {"runtime": "runsc"}})
    with pytest.raises(
        ConfigError, match=r"sandbox\.docker: this table is given, and provider = 'local' does not read"
    ):
        await choose_provider(config)
    assert "skipped, because it ignores [sandbox.docker]" in str(await unavailable("local", config))


@pytest.mark.docker
async def test_with_docker_it_is_said_before_anything_starts() -> None:
    config, options = SandboxConfig(provider="docker"), DockerOptions(runtime="nothing-of-the-kind")
    assert "no such runtime, only" in str(await DockerProvider.available(config, options))
    with pytest.raises(ConfigError, match=r"sandbox\.docker\.runtime: .* no such runtime, only .*runc"):
        await DockerProvider(config, options).start()
    checks = {check.name: check for check in await examine(options)}
    assert checks["docker: runtime"].status == "failed"
    assert "runc" in checks["docker: runtime"].detail
    assert "docker: worker" not in checks


# A daemon of the test's own, with runtimes registered


@pytest.fixture(scope="module")
def daemon(docker_image: str, docker_api: docker.APIClient) -> Iterator[Daemon]:
    """It knows `noted`, which is runc and writes down each of its commands, and `runsc` where that is installed."""
    missing = [tool for tool in ("dockerd", "containerd", "runc", "unshare") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"starting a daemon of one's own needs root, dockerd, containerd and unshare (missing: {missing})")
    folder = Path(tempfile.mkdtemp(prefix="arr-"))
    noted = folder / "noted"
    noted.write_text(f'#!/bin/sh\necho "$@" >> {folder}/commands\nexec {shutil.which("runc")} "$@"\n')
    noted.chmod(0o755)
    runtimes: dict[str, object] = {"noted": {"path": str(noted)}}
    if (runsc := shutil.which("runsc")) is not None:
        runtimes["runsc"] = {"path": runsc, "runtimeArgs": ["--ignore-cgroups", "--network=none"]}
    daemon = Daemon(folder, json.dumps({"runtimes": runtimes}))
    try:
        daemon.start()
        own = daemon.api()
        own.load_image(docker_api.get_image(docker_image))
        own.close()
        yield daemon
    finally:
        daemon.clean()


@pytest.mark.docker
@pytest.mark.slow
async def test_workers_and_episodes_start_under_the_runtime_that_is_named(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    commands = daemon.folder / "commands"
    async with DockerProvider(SandboxConfig(workers=1)) as provider:
        assert values(await provider.run(request(ADD, (1, 2)))) == [3]
    assert not commands.exists()
    async with DockerProvider(SandboxConfig(workers=1, warm_episodes=0), DockerOptions(runtime="noted")) as provider:
        assert isinstance(provider, DockerProvider)
        assert provider.describe()["runtime"] == "noted"
        assert values(await provider.run(request(ADD, (1, 2)))) == [3]
        sandbox = provider.sandbox(SandboxSpec())
        assert isinstance(sandbox, DockerSandbox)
        assert (await sandbox.exec(["echo", "there"])).stdout == b"there\n"
        api = daemon.api()
        found = api.containers(filters={"label": f"{LABEL}={provider.owner.label()}"})
        assert {api.inspect_container(c["Id"])["HostConfig"]["Runtime"] for c in found} == {"noted"}
        api.close()
        started = [line for line in commands.read_text().splitlines() if " create " in line]
        assert {next(c["Id"] for c in found if c["Id"] in line) for line in started} == {c["Id"] for c in found}
        assert str(sandbox.container_id) in {c["Id"] for c in found}


@pytest.mark.gvisor
@pytest.mark.slow
async def test_under_gvisor_programs_run_and_the_level_is_what_its_kernel_gives(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    async with DockerProvider(SandboxConfig(workers=1), DockerOptions(runtime="runsc")) as provider:
        result = await provider.run(request(ADD, (1, 2)))
        assert (values(result), result.isolation) == ([3], provider.isolation), result
        assert (provider.describe()["why_not_higher"] == []) == (provider.isolation == "namespaces")
        kernel = "import os\ndef add(a, b): return open('/proc/version').read()"
        assert "4.4.0" in values(await provider.run(request(kernel, (1, 2))))[0]  # gVisor's own, on every host
        assert reports(await provider.run_pair(pair()))[0] == PASSED
        sandbox = provider.sandbox(SandboxSpec())
        assert (await sandbox.exec(["python3", "-c", "print(6 * 7)"])).stdout == b"42\n"
