"""`Container`: one hardened container, which lives as long as its maker's connection; `reap` removes leftover ones."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import itertools
import logging
import math
import secrets
import tarfile
from collections.abc import Mapping
from typing import Any

from docker.errors import NotFound
from docker.types import HostConfig

from agent_rl.errors import SandboxError
from agent_rl_sandboxes.docker_engine import DockerEngine, DockerStream
from agent_rl_sandboxes.docker_hardening import HOSTNAME, Bounds, Purpose, holder_of, host_config
from agent_rl_sandboxes.resource_owner import LABEL, Owner

_log = logging.getLogger(__name__)

# The first process of an episode's container. It waits for a line that says for how many seconds the container lives
# from then on. It runs as another user than the programs, so they cannot reach what ends the container, and it depends
# on nobody outside. It answers with a line once it needs no further process: a program that then uses up all processes
# cannot stop it.
_HOLD = "seconds=$(timeout -s KILL {wait} head -n 1) && exec timeout -s KILL \"$seconds\" sh -c 'echo && exec cat'"
_BEGIN_SECONDS = 60.0
_PROBE_BYTES, _PROBE_CHUNK = 64 << 20, 16 << 10
_REMOVE_SECONDS, _REMOVE_AGAIN_SECONDS = 60.0, 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSettings:
    """What an image says of its programs: USER (root if it names none), WORKDIR ("" if none), the names of its ENV."""

    user: str
    workdir: str
    variables: frozenset[str]

    @staticmethod
    def of(config: Mapping[str, Any]) -> ImageSettings:
        """The settings in the `Config` that the daemon shows of an image."""
        names = frozenset(setting.partition("=")[0] for setting in config.get("Env") or ())
        return ImageSettings(config.get("User") or "0:0", (config.get("WorkingDir") or "").removesuffix("/"), names)


class Container:
    """A running container whose first process reads its stdin until that ends.

    This process holds the connection to that stdin. When this process dies, however it dies, the daemon closes the
    connection, the first process ends, and the container removes itself. `close` removes it at once. The container also
    ends after the lifetime that `begin` sets, even if this process hangs.
    """

    def __init__(self, engine: DockerEngine, identifier: str, holder: DockerStream) -> None:
        self.engine = engine
        self.id = identifier
        self._holder = holder
        self._closed = False

    @staticmethod
    async def start(
        engine: DockerEngine,
        *,
        image: str,
        purpose: Purpose,
        bounds: Bounds,
        owner: Owner,
        network: str = "none",
        begins_within: float | None = None,
        apparmor: str | None = None,
    ) -> Container:
        """A container of `image`, hardened for `purpose`; it ends by itself unless `begin` comes in `begins_within` s.

        Raises SandboxError if the image is missing or the daemon refuses an option. A cancelled call waits for what
        the daemon is about to make, and removes it.
        """
        if not engine.bounds_cpus:
            bounds = dataclasses.replace(bounds, cpus=None)
        options = host_config(
            purpose,
            bounds,
            network=network,
            runtime=engine.runtime,
            apparmor=apparmor,
            quota=engine.quota and bounds.root_bytes is not None,
        )
        hold = ["cat"] if begins_within is None else ["sh", "-c", _HOLD.format(wait=math.ceil(begins_within))]
        making = asyncio.ensure_future(Container._make(engine, image, hold, holder_of(purpose), owner, options))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(_end_when_made(making)))
            raise

    @staticmethod
    async def _make(
        engine: DockerEngine, image: str, hold: list[str], user: str, owner: Owner, options: HostConfig
    ) -> Container:
        try:
            created = await engine.call(_create, engine, image, hold, user, owner, options)
        except NotFound as error:
            raise SandboxError(missing_image(image)) from error
        identifier: str = created["Id"]
        try:
            holder = await engine.attach(f"/containers/{identifier}/attach?stream=1&stdin=1&stdout=1")
            await engine.call(engine.api.start, identifier)
        except BaseException:
            await _remove_quietly(engine, identifier)
            raise
        return Container(engine, identifier, holder)

    async def begin(self, lifetime: float) -> None:
        """The container ends by itself in `lifetime` seconds (rounded up). Call it once. Raises SandboxError.

        Run nothing in the container before: a program could use up the processes that the first process still needs.
        """
        await self._holder.write(b"%d\n" % max(1, math.ceil(lifetime)))
        try:
            # Not `wait_for`: before Python 3.12 it loses a cancellation that comes just as the answer does.
            async with asyncio.timeout(_BEGIN_SECONDS):
                answer = await self._holder.read_frame()
        except TimeoutError:
            raise SandboxError(f"a container did not begin its lifetime within {_BEGIN_SECONDS:g} s") from None
        if answer is None:
            raise SandboxError("a container ended before it was used")

    async def exec(
        self, command: list[str], *, user: str, workdir: str | None = None, environment: dict[str, str] | None = None
    ) -> DockerStream:
        """The stream of a program started in the container. Raises SandboxError if the container is gone."""
        return (await self.engine.exec(self.id, command, user=user, workdir=workdir, environment=environment))[1]

    async def state(self) -> dict[str, Any] | None:
        """The container's state, from the daemon (`Running`, `OOMKilled`, `ExitCode`, ...); None if it is gone."""
        try:
            return (await self.engine.call(self.engine.api.inspect_container, self.id))["State"]
        except NotFound:
            return None

    async def running(self) -> bool:
        """Whether the container is there, runs, and has not been paused."""
        return await self.why_not_running() is None

    async def why_not_running(self) -> str | None:
        """Why the container's programs do not run, as a verb phrase; None if they do."""
        state = await self.state()
        if state is None:
            return "is gone"
        if state.get("Paused"):
            return "was paused from outside"
        return None if state.get("Running") else f"is gone (exit code {state.get('ExitCode')})"

    async def written_bytes(self) -> int:
        """How much the container has written to its root; 0 if it is gone."""
        found = await self.engine.call(self.engine.api.containers, size=True, filters={"id": self.id})
        return int(found[0].get("SizeRw") or 0) if found else 0

    async def widen(self, bounds: Bounds) -> None:
        """The running container's memory and process limits are those of `bounds`."""
        await self.engine.call(_update, self.engine, self.id, bounds)

    async def close(self) -> None:
        """The container is gone, with every process in it. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._holder.close()
        await self.engine.remove(self.id)


async def has_files(engine: DockerEngine, image: str, folder: str, owner: Owner) -> bool:
    """Whether the image has anything in `folder`. Nothing of the image is run. Raises SandboxError."""
    options = host_config("strict", Bounds(memory_bytes=_PROBE_BYTES, processes=1, cpus=None))
    try:
        created = await engine.call(_create, engine, image, ["true"], holder_of("strict"), owner, options)
    except NotFound as error:
        raise SandboxError(missing_image(image)) from error
    try:
        return await engine.call(_has_files, engine, created["Id"], folder)
    except NotFound:
        return False
    finally:
        await _remove_quietly(engine, created["Id"])


async def reap(engine: DockerEngine) -> int:
    """The number of containers of provably dead owners; they are removed.

    A container that the daemon does not remove (one paused while a program was being started in it, for example) is
    left to the next call.
    """
    found = await engine.call(engine.api.containers, all=True, filters={"label": LABEL})
    dead = [c["Id"] for c in found if (o := Owner.parse(c["Labels"].get(LABEL, ""))) is not None and o.provably_dead()]
    await asyncio.gather(*(_remove_quietly(engine, identifier) for identifier in dead))
    return len(dead)


async def remove_all(engine: DockerEngine, owner: Owner) -> int:
    """The number of containers that `owner` still had; they are removed.

    A daemon that has just come back may fail to remove a container at first: it is asked again for some time.
    """
    had: set[str] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REMOVE_SECONDS):
            while found := await engine.call(engine.api.containers, all=True, filters=_label_of(owner)):
                had.update(container["Id"] for container in found)
                await asyncio.gather(*(_remove_quietly(engine, container["Id"]) for container in found))
                await asyncio.sleep(_REMOVE_AGAIN_SECONDS)
    return len(had)


def _label_of(owner: Owner) -> dict[str, str]:
    return {"label": f"{LABEL}={owner.label()}"}


def missing_image(image: str) -> str:
    """What to do if `image` is not there."""
    return f"the image {image!r} is missing: run `agent-rl sandbox build` (or `agent-rl sandbox build --bootstrap`)"


def _create(
    engine: DockerEngine, image: str, hold: list[str], user: str, owner: Owner, options: HostConfig
) -> dict[str, Any]:
    api = engine.api
    return api.create_container(
        image=image,
        entrypoint=hold,
        command=[],
        name=f"agent-rl-{owner.lease[:8]}-{secrets.token_hex(4)}",
        user=user,
        hostname=HOSTNAME,
        labels={LABEL: owner.label()},
        stdin_open=True,
        working_dir="/",
        healthcheck={"test": ["NONE"]},
        host_config=options,
    )


def _has_files(engine: DockerEngine, identifier: str, folder: str) -> bool:
    """Whether the archive of `folder` has a second member. Only its beginning is read."""
    stream, _ = engine.api.get_archive(identifier, folder, chunk_size=_PROBE_CHUNK)
    with contextlib.closing(stream):
        begin = b"".join(itertools.islice(stream, 2))
    try:
        with tarfile.open(fileobj=io.BytesIO(begin), mode="r:") as archive:
            return archive.next() is not None and archive.next() is not None
    except tarfile.ReadError:
        return True  # cut off: there is more


def _update(engine: DockerEngine, identifier: str, bounds: Bounds) -> None:
    """The container has the limits of `bounds`. Posted directly: the SDK's own method has no pids limit."""
    api = engine.api
    body = {"Memory": bounds.memory_bytes, "MemorySwap": bounds.memory_bytes, "PidsLimit": bounds.processes}
    response = api.post(f"{api.base_url}/v{api.api_version}/containers/{identifier}/update", json=body, timeout=60)
    if response.status_code != 200:
        raise SandboxError(f"Docker refused new limits for a container: {response.text.strip()}")


async def _end_when_made(making: asyncio.Future[Container]) -> None:
    with contextlib.suppress(SandboxError):
        await (await making).close()


async def _remove_quietly(engine: DockerEngine, identifier: str) -> None:
    try:
        await engine.remove(identifier)
    except SandboxError as error:
        _log.warning("the container %s could not be removed: %s", identifier[:12], error)
