"""`DockerImages`: the images that a provider starts containers of, and what it has to know of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from docker.errors import ImageNotFound

from agent_rl.errors import SandboxError
from agent_rl_sandboxes.docker_container import ImageSettings, has_files, missing_image
from agent_rl_sandboxes.docker_engine import DaemonGone, DockerEngine
from agent_rl_sandboxes.image_build import build_folder
from agent_rl_sandboxes.resource_owner import Owner

BUILD_TRIES = 3
_AGAIN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _FailedBuild:
    """How often in a row a build has failed, and why it did the last time."""

    times: int = 0
    until: float = 0.0
    error: str = ""


class DockerImages:
    """What a daemon's images are like; each is looked at once. Dockerfiles are built one at a time."""

    def __init__(self, engine: DockerEngine, owner: Owner) -> None:
        self._engine = engine
        self._owner = owner
        self._settings: dict[str, ImageSettings] = {}
        self._keeps_tmp: dict[str, bool] = {}
        self._failed: dict[str, _FailedBuild] = {}
        self._building = asyncio.Lock()

    async def built(self, folder: str) -> str:
        """The tag of the image that the Dockerfile in `folder` makes. Raises SandboxError with what was printed.

        A build that has failed `BUILD_TRIES` times is not tried again for some time: that would help no rollout of a
        group, and each would wait for its own.
        """
        async with self._building:
            failed = self._failed.get(folder, _FailedBuild())
            if failed.times >= BUILD_TRIES and time.monotonic() < failed.until:
                raise SandboxError(failed.error)
            try:
                tag = await self._engine.call(build_folder, self._engine.api, Path(folder))
            except DaemonGone:
                raise
            except SandboxError as error:
                self._failed[folder] = _FailedBuild(failed.times + 1, time.monotonic() + _AGAIN_SECONDS, str(error))
                raise
            self._failed.pop(folder, None)
            return tag

    async def settings(self, image: str) -> ImageSettings:
        """What the image's Dockerfile says of its programs. Raises SandboxError if the image is missing."""
        if image not in self._settings:
            try:
                found = await self._engine.call(self._engine.api.inspect_image, image)
            except ImageNotFound:
                raise SandboxError(missing_image(image)) from None
            self._settings[image] = ImageSettings.of(found["Config"])
        return self._settings[image]

    async def keeps_tmp(self, image: str) -> bool:
        """Whether the image has anything in /tmp, so that nothing may be mounted over it. Raises SandboxError."""
        if image not in self._keeps_tmp:
            self._keeps_tmp[image] = await has_files(self._engine, image, "/tmp", self._owner)
        return self._keeps_tmp[image]
