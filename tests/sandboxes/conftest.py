"""What the Docker tests share: a reachable daemon, the image (built once where it is missing), a started provider."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator

import docker
import pytest
from agent_rl_sandboxes.build import DEFAULT_IMAGE, build_image, current_image
from agent_rl_sandboxes.docker import DockerProvider
from agent_rl_sandboxes.docker_engine import Endpoint, client

from agent_rl.config import SandboxConfig
from agent_rl.errors import SandboxError


@pytest.fixture(scope="session")
def docker_api() -> Iterator[docker.APIClient]:
    """A client of the daemon that the `docker` command would use; the test is skipped where none answers."""
    try:
        api = client(Endpoint.find())
    except Exception as error:
        pytest.skip(f"no Docker daemon: {error}")
    yield api
    api.close()


@pytest.fixture(scope="session")
def docker_image(docker_api: docker.APIClient) -> str:
    """The default image, built from Debian packages (half a minute) where it is missing."""
    if current_image(docker_api, DEFAULT_IMAGE) is None:
        try:
            build_image(bootstrap=shutil.which("mmdebstrap") is not None)
        except SandboxError as error:
            pytest.skip(f"the image cannot be built: {error}")
    return DEFAULT_IMAGE


@pytest.fixture
async def docker_provider(docker_image: str) -> AsyncIterator[DockerProvider]:
    """A started provider with one slot."""
    async with DockerProvider(SandboxConfig(slots=1)) as provider:
        assert isinstance(provider, DockerProvider)
        yield provider
