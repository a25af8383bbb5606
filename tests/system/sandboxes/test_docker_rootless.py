"""A rootless daemon, where there is one: used where it can limit programs, and else refused with the reason."""

from __future__ import annotations

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.errors import SandboxError
from agent_rl.testing.contracts.sandbox_contract import ADD, request, values
from agent_rl_sandboxes.docker_engine import Endpoint, client
from agent_rl_sandboxes.docker_info import unfit
from agent_rl_sandboxes.docker_provider import DockerProvider
from tests.component.sandboxes.rootless import rootless_daemon

pytestmark = [pytest.mark.rootless, pytest.mark.slow]


async def test_a_rootless_daemon_runs_programs_or_says_which_limits_it_cannot_enforce(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", str(rootless_daemon()))
    api = client(Endpoint.find())
    info = api.info()
    api.close()
    if unfit(info) is not None:
        with pytest.raises(SandboxError, match=r"cannot enforce .*memory.* limits .* see https://docs\.docker\.com"):
            await DockerProvider(SandboxConfig(workers=1)).start()
        # What is missing are limits; all that isolates is there.
        monkeypatch.setattr("agent_rl_sandboxes.docker_provider.unfit", lambda info: None)
    async with DockerProvider(SandboxConfig(workers=1)) as provider:
        assert provider.describe()["rootless"]
        assert not provider.describe()["apparmor"]
        result = await provider.run(request(ADD, (1, 2)))
        assert (values(result), result.isolation) == ([3], provider.isolation)
        mapped = "def add(a, b): return open('/proc/self/uid_map').read().split()[2]"
        # Not everybody of the host's: root in there is nobody in particular out here.
        assert int(values(await provider.run(request(mapped, (1, 2))))[0]) < 2**32 - 1
