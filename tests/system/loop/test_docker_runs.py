"""Whole runs on Docker in which containers are killed, or the daemon itself; the daemon is one of the test's own."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_rl.config import parse_config
from agent_rl.errors import InfrastructureError
from agent_rl.loop.open_run import Run
from agent_rl_sandboxes.resource_owner import LABEL
from tests.component.loop.tiny_runs import looped_with, settings
from tests.component.sandboxes.conftest import docker_api, docker_image
from tests.system.sandboxes.test_docker_daemon import Daemon, daemon

__all__ = ["daemon", "docker_api", "docker_image"]
pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    # The Docker SDK leaves its socket open where a connection is refused.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_RL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    gc.collect()


@pytest.fixture(autouse=True)
def daemon_is_up(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    yield
    if daemon._daemon is None:
        daemon.start()


def containers(daemon: Daemon) -> list[str]:
    api = daemon.api()
    try:
        return [c["Id"] for c in api.containers(filters={"label": LABEL})]
    finally:
        api.close()


async def test_containers_killed_in_the_middle_are_replaced_and_no_rollout_is_scored_for_it(
    daemon: Daemon, tmp_path: Path
) -> None:
    killed: list[str] = []

    async def kill(run: Run) -> None:
        api = daemon.api()
        for container in containers(daemon):
            api.kill(container)
            killed.append(container)
        api.close()

    config = parse_config(settings(8, sandbox={"provider": "docker"}))
    _, metrics = await looped_with(config, tmp_path / "run", 3, kill)
    assert killed
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert {s for row in metrics for s in row["statuses"]} <= {"passed", "failed"}
    assert containers(daemon) == [], "nothing is left after a normal end"


async def test_the_daemon_is_killed_and_comes_back_and_the_run_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    async def restart(run: Run) -> None:
        await asyncio.to_thread(daemon.end, signal.SIGKILL)
        await asyncio.to_thread(daemon.start)

    config = parse_config(settings(8, sandbox={"provider": "docker", "retries": 4}))
    _, metrics = await looped_with(config, tmp_path / "run", 3, restart)
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert {s for row in metrics for s in row["statuses"]} <= {"passed", "failed"}


async def test_a_daemon_that_stays_away_ends_the_run_and_the_message_names_the_cause(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_rl_sandboxes.docker_provider.RESTART_SECONDS", 3.0)

    async def stop(run: Run) -> None:
        await asyncio.to_thread(daemon.end, signal.SIGKILL)

    config = parse_config(settings(500, sandbox={"provider": "docker", "retries": 1}))
    with pytest.raises(BaseExceptionGroup) as raised:
        await looped_with(config, tmp_path / "run", 3, stop)
    (error,) = raised.value.exceptions
    assert isinstance(error, InfrastructureError)
    assert error.exit_code == 3
    assert "rollouts failed for infrastructure reasons" in str(error)
    assert "Docker" in str(error)
