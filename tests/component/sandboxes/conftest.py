"""What the Docker tests share: the daemon and its image (without which they are skipped), a started provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import docker
import pytest
import pytest_asyncio

from agent_rl.config import SandboxConfig
from agent_rl_sandboxes.docker_engine import Endpoint, client
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE


@pytest.fixture(scope="session")
def docker_api() -> Iterator[docker.APIClient]:
    """A client of the daemon that the `docker` command would use."""
    api = client(Endpoint.find())
    yield api
    api.close()


@pytest.fixture(scope="session")
def docker_image() -> str:
    """The default image; it is there, as a test marked `docker` is skipped where it is not."""
    return DEFAULT_IMAGE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def docker_provider(docker_image: str) -> AsyncIterator[DockerProvider]:
    """A started provider with one worker, one for all tests of a module (whose event loop they share)."""
    async with DockerProvider(SandboxConfig(workers=1)) as provider:
        assert isinstance(provider, DockerProvider)
        yield provider
