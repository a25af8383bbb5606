"""What the Docker tests share, as those of the component layer do."""

from tests.component.sandboxes.conftest import docker_api, docker_image, docker_provider

__all__ = ["docker_api", "docker_image", "docker_provider"]
