"""Where a rootless Docker daemon is found, for the tests that need one."""

from __future__ import annotations

import os
from pathlib import Path

import requests.exceptions
from docker.errors import DockerException

from agent_rl_sandboxes.docker_engine import Endpoint, client
from agent_rl_sandboxes.docker_info import is_rootless
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE


def rootless_daemon() -> str | None:
    """The URL of the daemon that DOCKER_HOST names if that is rootless, else of this user's own; None without one."""
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "docker.sock"
    for url in (os.environ.get("DOCKER_HOST"), f"unix://{own}"):
        if url is None or not url.startswith("unix://"):
            continue
        path = url.removeprefix("unix://")
        try:
            api = client(Endpoint(f"http+unix://{path}", "unix", path))
        except (OSError, DockerException, requests.exceptions.RequestException):
            continue
        try:
            if is_rootless(api.info()) and api.images(DEFAULT_IMAGE):
                return url
        finally:
            api.close()
    return None
