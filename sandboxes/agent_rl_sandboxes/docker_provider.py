"""`DockerProvider`: sandboxes and warm workers as hardened containers of a Docker daemon.

It does not protect from flaws in Docker. It does not protect from flaws in the kernel that a program without
capabilities can reach through Docker's system call filter. It does not stop programs from learning something from how
busy the machine is. Members of the `docker` group have root's power, so the processes that use this provider must be
trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from docker.errors import NotFound

from agent_rl.config import SandboxConfig
from agent_rl.contracts import Sandbox, SandboxProvider
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.vocabulary import Isolation, Limits, PairRequest, PairResult, RunRequest, RunResult, SandboxSpec
from agent_rl.vocabulary.runs import DEFAULT_WORKDIR
from agent_rl_sandboxes.docker_container import Container, missing_image, reap, remove_all
from agent_rl_sandboxes.docker_engine import DaemonGone, DockerEngine
from agent_rl_sandboxes.docker_hardening import PROGRAMS, ROOT, Bounds, episode_bounds, worker_bounds
from agent_rl_sandboxes.docker_images import DockerImages
from agent_rl_sandboxes.docker_info import check_runtime, has_apparmor, is_rootless, unfit
from agent_rl_sandboxes.docker_options import DockerOptions
from agent_rl_sandboxes.docker_sandbox import DockerPlace, DockerSandbox, StdoutChannel
from agent_rl_sandboxes.episode_sandbox import PreparedPlace, prepare
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE
from agent_rl_sandboxes.paired_runs import talk_in_pair
from agent_rl_sandboxes.resource_owner import Owner
from agent_rl_sandboxes.warm_sandboxes import IDLE_SECONDS, WarmQueue
from agent_rl_sandboxes.worker_pool import WorkerPool, check_isolation
from agent_rl_sandboxes.worker_program import WorkerSetup, worker_command
from agent_rl_sandboxes.workers import Worker

T = TypeVar("T")

RESTART_SECONDS = 30.0
"""How long the start of a container waits for a daemon that does not answer."""
_START_SECONDS = 60.0
"""Added to the longest wait of a container that was made ahead: for its start, and for handing it out."""


class DockerProvider(SandboxProvider):
    """Sandboxes of a Docker daemon, found as the `docker` command finds it: DOCKER_HOST, context, default socket."""

    name = "docker"
    options_class = DockerOptions
    auto_order = 1
    usable_means = "a daemon answers and the image is built"
    pytest_remedy = "build the image again (`agent-rl sandbox build`), or add pytest to the task's own image"
    packages_remedy = "`agent-rl sandbox build --with {packages}` makes an image that has it, and says how it is used"

    def __init__(self, config: SandboxConfig, options: DockerOptions = DockerOptions()) -> None:  # noqa: B008
        self._config = config
        self._options = options
        self._image = config.image or DEFAULT_IMAGE
        self.owner = Owner.current()
        self._engine: DockerEngine | None = None
        self._info: dict[str, Any] = {}
        self._pool: WorkerPool | None = None
        self._workers: set[_DockerWorkerChannel] = set()
        self._bounds = worker_bounds(Limits())
        self._purpose: Literal["worker", "uid_worker"] | None = None
        """The kind of container that workers run in; None until the first worker has found out which one works."""
        self._widening = asyncio.Lock()
        self._sandboxes: set[DockerSandbox] = set()
        self._images: DockerImages | None = None
        self._trying_quota = asyncio.Lock()
        self._quota_tried = False
        self._episodes: WarmQueue[SandboxSpec, PreparedPlace[DockerPlace]] = WarmQueue(
            lambda spec: self._patiently(lambda: self._start_episode(spec)),
            ready=config.warm_episodes,
            concurrent=config.concurrent_starts,
        )
        self._closed = False

    @classmethod
    async def available(cls, config: SandboxConfig, options: DockerOptions) -> str | None:
        """Why Docker cannot be used here, with the remedy; None if a daemon answers and has the image."""
        try:
            engine = await DockerEngine.connect()
        except SandboxError as error:
            return str(error)
        try:
            info = await engine.call(engine.api.info)
            check_runtime(info, options.runtime)
            reason = unfit(info)
            if reason is None:
                await engine.call(engine.api.inspect_image, config.image or DEFAULT_IMAGE)
            return reason
        except NotFound:
            return missing_image(config.image or DEFAULT_IMAGE)
        except (ConfigError, SandboxError) as error:
            return str(error)
        finally:
            await engine.close()

    async def start(self) -> None:
        try:
            await self._start()
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self.close()))
            raise

    async def _start(self) -> None:
        engine = self._engine = await DockerEngine.connect()
        self._info = await engine.call(engine.api.info)
        if (reason := unfit(self._info)) is not None:
            raise SandboxError(reason)
        check_runtime(self._info, self._options.runtime)
        engine.runtime = self._options.runtime
        engine.bounds_cpus = self._info.get("CpuCfsQuota") is not False
        if engine.endpoint.kind == "unix" and self._info.get("DockerRootDir"):
            engine.root = Path(self._info["DockerRootDir"])
        await reap(engine)
        self._images = DockerImages(engine, self.owner)
        await self._images.settings(self._image)
        self._pool = WorkerPool(lambda: self._patiently(self._start_worker), self._config.workers)
        await self._pool.start()
        check_isolation(self._pool.isolation, self._config.minimum_isolation, self._pool.first.reasons)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._engine is None:
            return
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._engine.close)
            stack.push_async_callback(_quietly, remove_all(self._engine, self.owner))
            if self._pool is not None:
                stack.push_async_callback(self._pool.close)
            stack.push_async_callback(self._close_sandboxes)
            stack.push_async_callback(self._episodes.close)

    async def _close_sandboxes(self) -> None:
        await asyncio.gather(*(_quietly(sandbox.close()) for sandbox in tuple(self._sandboxes)))

    @property
    def isolation(self) -> Isolation:
        if self._pool is None:
            raise SandboxError("the Docker provider is not started")
        return self._pool.isolation

    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        sandbox = DockerSandbox(spec, self._episodes.take, self._sandboxes.discard)
        self._sandboxes.add(sandbox)
        return sandbox

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        if self._pool is None or self._closed:
            raise SandboxError("the Docker provider is not started")
        await self._make_room(request.limits)
        return await self._pool.run_pair(lambda a, b: talk_in_pair(a, b, request), fresh=fresh)

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        if self._pool is None or self._closed:
            raise SandboxError("the Docker provider is not started")
        await self._make_room(request.limits)
        return await self._pool.run(request, fresh=fresh)

    def describe(self) -> Mapping[str, Any]:
        info = self._info
        return {
            "name": self.name,
            "version": info.get("ServerVersion"),
            "api_version": self._engine.api.api_version if self._engine is not None else None,
            "image": self._image,
            "isolation": self._pool.isolation if self._pool is not None else None,
            "why_not_higher": list(self._pool.first.reasons) if self._pool is not None else [],
            "runtime": self._options.runtime or info.get("DefaultRuntime"),
            "cgroup_version": info.get("CgroupVersion", "1"),
            "storage": info.get("Driver"),
            "rootless": is_rootless(info),
            "apparmor": has_apparmor(info),
            "memory": self._pool.first.memory if self._pool is not None else None,
            "waits_known": self._pool.first.waits if self._pool is not None else None,
            "workers": self._config.workers,
            "warm_episodes": self._config.warm_episodes,
        }

    async def _patiently(self, start: Callable[[], Awaitable[T]]) -> T:
        """What `start` returns; waits for a daemon that is being restarted, then tries again. Raises SandboxError."""
        try:
            return await start()
        except DaemonGone:
            if not await self._running_engine().is_back(RESTART_SECONDS):
                raise
            return await start()

    async def _start_worker(self) -> Worker:
        """A worker in a container of its own, at the best isolation that the first one found. Raises SandboxError."""
        if self._purpose is not None:
            return await self._open_worker(self._purpose)
        worker = await self._open_worker("worker")
        if worker.isolation != "namespaces":
            worker = await self._with_users(worker)
        self._purpose = "uid_worker" if worker.isolation == "uid" else "worker"
        return worker

    async def _with_users(self, worker: Worker) -> Worker:
        """A worker whose runs have users of their own, or `worker` with the reason why there is none.

        The worker that is not returned is closed. `worker` comes first, since only the other one's server runs as root.
        """
        try:
            other = await self._open_worker("uid_worker")
        except SandboxError as error:
            worker.reasons = (*worker.reasons[:1], f"uid: {error}")
            return worker
        except BaseException:
            await worker.close()
            raise
        better, worse = (other, worker) if other.isolation == "uid" else (worker, other)
        better.reasons = (*worker.reasons[:1], *(r for r in other.reasons if not r.startswith("namespaces:")))
        await worse.close()
        return better

    async def _open_worker(self, purpose: Literal["worker", "uid_worker"]) -> Worker:
        engine = self._running_engine()
        container = await Container.start(
            engine,
            image=self._image,
            purpose=purpose,
            bounds=self._bounds,
            owner=self.owner,
            apparmor=self._options.apparmor_profile,
        )
        try:
            stream = await container.exec(self._worker_command(), user=PROGRAMS if purpose == "worker" else ROOT)
            channel = _DockerWorkerChannel(container, StdoutChannel(stream), self._workers)
            return await Worker.open(channel, WorkerSetup(preload=self._config.preload))
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(_quietly(container.close())))
            raise

    def _worker_command(self) -> list[str]:
        """The command line of a worker server, as it is started in each container."""
        return worker_command()

    async def _make_room(self, limits: Limits) -> None:
        """Every worker's container has room for a run with `limits`. Bounds only ever grow."""
        wanted = worker_bounds(limits)
        if wanted.memory_bytes <= self._bounds.memory_bytes and wanted.processes <= self._bounds.processes:
            return
        async with self._widening:
            self._bounds = Bounds(
                memory_bytes=max(wanted.memory_bytes, self._bounds.memory_bytes),
                processes=max(wanted.processes, self._bounds.processes),
                cpus=wanted.cpus,
                tmpfs=wanted.tmpfs,
            )
            for channel in tuple(self._workers):
                try:
                    await channel.container.widen(self._bounds)
                except SandboxError:
                    if channel in self._workers and await channel.container.running():
                        raise

    async def _start_episode(self, spec: SandboxSpec) -> PreparedPlace[DockerPlace]:
        """A container for an episode of `spec`, with a server in it. Raises SandboxError."""
        engine, images = self._running_engine(), self._images
        assert images is not None
        image = spec.image or self._image
        if spec.build_folder is not None:
            image = await images.built(spec.build_folder)
        user, variables, keeps_tmp = spec.user or PROGRAMS, frozenset[str](), False
        found = await images.settings(image)
        spec = dataclasses.replace(spec, workdir=spec.workdir or found.workdir or DEFAULT_WORKDIR)
        if spec.hardening == "task_image":
            user, variables = spec.user or found.user, found.variables
            keeps_tmp = await images.keeps_tmp(image)
            await self._try_quota(engine, image)
        container = await Container.start(
            engine,
            image=image,
            purpose=spec.hardening,
            bounds=episode_bounds(spec, keeps_tmp=keeps_tmp),
            owner=self.owner,
            network=spec.network,
            begins_within=IDLE_SECONDS + _START_SECONDS,
        )
        where = f"in the image {spec.image or 'of the provider'!r} (python3 must be there)"
        return await prepare(DockerPlace(container, spec, user, variables), where)

    async def _try_quota(self, engine: DockerEngine, image: str) -> None:
        """`engine.quota` says whether the daemon's storage can bound a writable root; found by starting a container."""
        async with self._trying_quota:
            if self._quota_tried:
                return
            try:
                engine.quota = True
                probe = episode_bounds(SandboxSpec(hardening="task_image"))
                container = await Container.start(
                    engine, image=image, purpose="task_image", bounds=probe, owner=self.owner, begins_within=10
                )
                await container.close()
            except SandboxError:
                engine.quota = False
            self._quota_tried = True

    def _running_engine(self) -> DockerEngine:
        if self._engine is None or self._closed:
            raise SandboxError("the Docker provider is not started")
        return self._engine


class _DockerWorkerChannel(StdoutChannel):
    """A worker server's streams; `kill` ends its container."""

    def __init__(self, container: Container, streams: StdoutChannel, register: set[_DockerWorkerChannel]) -> None:
        super().__init__(streams.stream)
        self.container = container
        self._register = register
        register.add(self)

    async def write(self, data: bytes) -> None:
        """`data` is on its way. Raises OSError."""
        try:
            await super().write(data)
        except EOFError as error:
            raise ConnectionError(str(error)) from error

    async def kill(self) -> None:
        self._register.discard(self)
        self.close()
        await _quietly(self.container.close())

    async def why_dead(self) -> str:
        """What the daemon and the server itself say about the end."""
        try:
            state = await self.container.state()
        except SandboxError as error:
            return str(error)
        said = self.stderr.decode("utf-8", "replace").strip()[-500:]
        if state is None:
            return "the container is gone" + (f": {said}" if said else "")
        if state.get("OOMKilled"):
            return "the container ran out of memory"
        how = "its container runs on" if state.get("Running") else f"its container ended with {state.get('ExitCode')}"
        return f"the worker server ended, {how}" + (f": {said}" if said else "")


async def _quietly(operation: Any) -> None:
    """`operation` was tried. Its failure does not stop a teardown: what is left is reaped by its owner's label."""
    with contextlib.suppress(SandboxError, NotFound, OSError):
        await operation
