"""Sandboxes on this machine without Docker: unprivileged namespaces around the same slot server.

What a run or an episode sees is a read-only view of this system's programs and libraries (/usr and what belongs to it,
the interpreter), a little made-up /etc, five devices, its own /proc and its own tmpfs. Nobody's home, no socket of this
host's, no other process, no network but an empty loopback. It has no capability, cannot gain any, and is under a filter
of system calls. Its processes end with it, however it ends.

What this does not protect from:
- holes in the kernel that can be reached through the system calls that are left;
- memory beyond the limit of each process: without a cgroup the limits of a run's processes add up;
- processor time: a run may use every core until its wall-clock limit;
- a program reading what any user of this machine may read below /usr;
- side channels between programs on the same machine (caches, timing, load).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from agent_rl.config import SandboxConfig
from agent_rl.contracts.sandbox import Sandbox, SandboxProvider
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.vocabulary import (
    ExecResult,
    Isolation,
    Limits,
    PairRequest,
    PairResult,
    RunRequest,
    RunResult,
    SandboxSpec,
)
from agent_rl_sandboxes.inside.namespaces import PATH
from agent_rl_sandboxes.kernel_switches import blockers
from agent_rl_sandboxes.slots import Slot, SlotPool, SlotSetup, channels_of, check_isolation, run_limits, slot_command
from agent_rl_sandboxes.talks import talk_in_pair

DOES_NOT_PROTECT_FROM = (
    "holes in the kernel",
    "memory beyond each process's limit (no cgroup)",
    "use of every core until the wall-clock limit",
    "reading what any user may read below /usr",
    "side channels between programs on this machine",
)
_ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_FILE_SECONDS = 30.0
_END_SECONDS = 2.0
_TICK_SECONDS = 0.01
_STREAM_BYTES = 1 << 20
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO)


class LocalProvider(SandboxProvider):
    """Warm slots and episodes in namespaces on this machine; needs unprivileged user namespaces, or root."""

    name = "local"

    def __init__(self, config: SandboxConfig) -> None:
        if config.image is not None:
            raise ConfigError("the local provider has no images", key="sandbox.image", value=config.image)
        if config.runtime is not None:
            raise ConfigError("the local provider has no runtimes", key="sandbox.runtime", value=config.runtime)
        self._config = config
        self._python = system_python()
        self._pool: SlotPool | None = None
        self._sandboxes: set[LocalSandbox] = set()
        self._starts = asyncio.Semaphore(config.concurrent_starts)

    @classmethod
    async def available(cls, config: SandboxConfig) -> str | None:
        """Why the local sandbox cannot be used here, with the remedy; None where a slot could be started."""
        try:
            async with cls(config.model_copy(update={"slots": 1})):
                return None
        except (ConfigError, SandboxError) as error:
            return str(error)

    async def start(self) -> None:
        if self._pool is not None:
            return
        if sys.platform != "linux":
            raise SandboxError("the local sandbox needs Linux namespaces: use Docker (sandbox.provider = 'docker')")
        pool = SlotPool(
            lambda: self._open(SlotSetup(fall_back=False, preload=self._config.preload)), self._config.slots
        )
        try:
            await pool.start()
        except SandboxError as error:
            raise SandboxError(f"the local sandbox cannot work here: {error}. {'. '.join(blockers())}") from error
        self._pool = pool
        try:
            check_isolation(pool.isolation, self._config.minimum_isolation, pool.first.reasons)
        except SandboxError:
            await self.close()
            raise

    async def close(self) -> None:
        for sandbox in list(self._sandboxes):
            await sandbox.close()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.shield(pool.close())

    @property
    def isolation(self) -> Isolation:
        return self._started().isolation

    def sandbox(self, spec: SandboxSpec) -> LocalSandbox:
        """A sandbox of this spec, not yet started. Raises ConfigError for what only Docker has."""
        for key, unfit in (
            ("image", spec.image is not None),
            ("build_folder", spec.build_folder is not None),
            ("user", spec.user is not None),
            ("network", spec.network != "none"),
            ("hardening", spec.hardening != "strict"),
        ):
            if unfit:
                raise ConfigError(
                    f"the local provider cannot give {getattr(spec, key)!r}: use sandbox.provider = 'docker'",
                    key=f"sandbox.{key}",
                )
        return LocalSandbox(spec, self)

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        return await self._started().run_pair(lambda a, b: talk_in_pair(a, b, request), fresh=fresh)

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        return await self._started().run(request, fresh=fresh)

    def describe(self) -> Mapping[str, Any]:
        first = self._started().first
        return {
            "name": self.name,
            "kernel": platform.release(),
            "python": f"{self._python} ({first.python})",
            "image": None,
            "isolation": first.isolation,
            "why_not_higher": list(first.reasons),
            "slots": self._config.slots,
            "does_not_protect_from": list(DOES_NOT_PROTECT_FROM),
        }

    def _started(self) -> SlotPool:
        if self._pool is None:
            raise SandboxError("the local provider has not been started")
        return self._pool

    async def open_episode(self, sandbox: LocalSandbox, spec: SandboxSpec) -> Slot:
        """A slot that serves one episode. Raises SandboxError."""
        self._started()
        self._sandboxes.add(sandbox)
        setup = SlotSetup(workdir=spec.workdir, fall_back=False, episode=(spec.disk_bytes, spec.inodes))
        async with self._starts:
            return await self._open(setup)

    def forget(self, sandbox: LocalSandbox) -> None:
        """`sandbox` is closed."""
        self._sandboxes.discard(sandbox)

    async def _open(self, setup: SlotSetup) -> Slot:
        return await Slot.open(await LocalChannel.start(self._slot_command()), setup)

    def _slot_command(self) -> list[str]:
        """The command line of a slot server."""
        return slot_command(self._python)


class LocalSandbox(Sandbox):
    """An episode's place: a tmpfs that lives as long as it. What a command leaves running ends with the command."""

    def __init__(self, spec: SandboxSpec, provider: LocalProvider) -> None:
        self._spec = spec
        self._provider = provider
        self._slot: Slot | None = None
        self._lock = asyncio.Lock()
        self._end: asyncio.TimerHandle | None = None
        self._closed = False
        self._expired = False
        self._why_closed = "the sandbox has been closed"
        self._killing: asyncio.Future[None] | None = None

    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        spec = self._spec
        limits = Limits(
            wall_seconds=timeout,
            # At least one more than the wall's, which is then what ends it, for every number of cores.
            cpu_seconds=timeout * (os.cpu_count() or 1) + 1,
            memory_bytes=spec.memory_bytes,
            processes=spec.processes,
            disk_bytes=spec.disk_bytes,
            inodes=spec.inodes,
            output_bytes=spec.output_bytes,
        )
        payload = {
            "command": list(command),
            "environment": {**_ENVIRONMENT, "HOME": spec.workdir, **(environment or {})},
            "stdin": base64.b64encode(stdin).decode(),
            "workdir": spec.workdir,
            "limits": run_limits(limits),
        }
        async with self._lock:
            try:
                slot = await self._started()
                with self._ending_on_failure(slot):
                    header, body = await slot.ask("exec", limits, payload)
            except SandboxError:
                if not self._expired:
                    raise
                return ExecResult("timeout", None, b"", self._why_closed.encode(), 0.0)
        status, word, stdout, stderr = channels_of(header, body)
        exit_code = None
        if status == "completed":
            exit_code = _exit_code(word)
            status = "crashed" if exit_code is None else status
        return ExecResult(status, exit_code, stdout, stderr, header["seconds"], status == "output_limit")

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """As in the contract; OSError where the disk is full or a folder stands in a file's place."""
        paths = {name: inner_path(name) for name in files}
        async with self._lock:
            for name, content in files.items():
                number, _ = await self._file("write", {"path": paths[name]}, content)
                if number in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                    raise ValueError(f"{name!r} leads through a link or a special file")
                if number:
                    raise OSError(number, os.strerror(number), name)

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        inner = inner_path(path)
        async with self._lock:
            number, content = await self._file("read", {"path": inner, "max_bytes": max_bytes}, b"")
        if number in _NOT_THERE or self._expired:
            raise FileNotFoundError(errno.ENOENT, "no regular file in the sandbox", path)
        if number:
            raise OSError(number, os.strerror(number), path)
        return content

    async def close(self) -> None:
        self._closed = True
        if self._end is not None:
            self._end.cancel()
        if self._slot is not None:
            slot, self._slot = self._slot, None
            await slot.close()
        self._provider.forget(self)

    async def _started(self) -> Slot:
        if self._closed:
            raise SandboxError(self._why_closed)
        if self._slot is None:
            self._slot = await self._provider.open_episode(self, self._spec)
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(self._spec.lifetime_seconds, lambda: loop.create_task(self._expire()))
        return self._slot

    async def _expire(self) -> None:
        # A limit like others: what comes after it is an answer, not a failure of the machinery.
        self._expired = True
        self._why_closed = f"the sandbox's lifetime of {self._spec.lifetime_seconds:g} s is over"
        await self.close()

    async def _file(self, operation: str, header: dict[str, Any], content: bytes) -> tuple[int, bytes]:
        """The errno and the body of the answer; EIO after the lifetime. Raises SandboxError."""
        try:
            slot = await self._started()
            with self._ending_on_failure(slot):
                answer, body = await slot.exchange(operation, header, content, timeout=_FILE_SECONDS)
        except SandboxError:
            if not self._expired:
                raise
            return errno.EIO, b""
        return answer["errno"], body

    @contextlib.contextmanager
    def _ending_on_failure(self, slot: Slot) -> Iterator[None]:
        """Where the slot fails, or the wait for it is cancelled and so its state unknown, the sandbox ends."""
        try:
            yield
        except BaseException as error:
            if not self._closed:
                self._closed = True
                self._why_closed = (
                    f"the sandbox died: {error}" if isinstance(error, SandboxError) else "cancelled in its work"
                )
                # Not awaited here: the caller's cancellation must not wait, and `close` waits for it.
                self._killing = asyncio.ensure_future(slot.close())
            raise


class LocalChannel:
    """A program started on this machine, its stdin and stdout one socket."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._ended: asyncio.Task[None] | None = None

    @staticmethod
    async def start(command: Sequence[str]) -> LocalChannel:
        """The program runs, in a session of its own (a Ctrl-C is not for it). Raises SandboxError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # Blocks for a vfork only.
                process = subprocess.Popen(  # noqa: ASYNC220
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    cwd="/",
                    env={},
                )
            except OSError as error:
                ours.close()
                raise SandboxError(f"{command[0]} cannot be started: {error}") from None
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_STREAM_BYTES)
        except BaseException:  # cancelled, where the pool closes while this slot starts
            ours.close()
            assert process.stderr is not None
            process.stderr.close()
            process.kill()
            process.wait()
            raise
        return LocalChannel(process, reader, writer)

    async def read_exactly(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def kill(self) -> None:
        if self._ended is None:
            self._ended = asyncio.ensure_future(self._kill())
        await asyncio.shield(self._ended)

    def ended(self) -> bool:
        return self._reader.at_eof()

    async def why_dead(self) -> str:
        """The program's exit code, and the last line that it wrote to stderr."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._exited(), _END_SECONDS)
        stderr = self._process.stderr
        assert stderr is not None
        os.set_blocking(stderr.fileno(), False)
        said = (stderr.read() or b"") if not stderr.closed else b""
        lines = said.decode("utf-8", "replace").strip().splitlines()
        if self._process.returncode is None:
            return ""
        return f"exit code {self._process.returncode}" + (f": {lines[-1][:500]}" if lines else "")

    async def _kill(self) -> None:
        """At the end of its input the server ends; if not, its guard ends it at SIGTERM; SIGKILL ends both."""
        self._writer.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None and self._process.returncode is None:
                self._process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exited(), _END_SECONDS)
                break
        if self._process.stderr is not None:
            self._process.stderr.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _exited(self) -> None:
        """The process has ended and is reaped; no thread waits for it."""
        if self._process.poll() is not None:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        try:
            descriptor = os.pidfd_open(self._process.pid)
        except OSError:  # a kernel that has none, such as gVisor's
            while self._process.poll() is None:  # noqa: ASYNC110
                await asyncio.sleep(_TICK_SECONDS)
            return
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._process.wait()


def inner_path(path: str) -> str:
    """`path` relative to a sandbox's working directory, in normal form. Raises ValueError where it leaves it."""
    pure = PurePosixPath(path)
    if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError(f"{path!r} is no path inside the sandbox's working directory")
    if len(path.encode("utf-8", "surrogatepass")) > 4000 or any("\ud800" <= c <= "\udfff" for c in path):
        raise ValueError(f"{path[:80]!r}... cannot be the path of a file")
    return str(pure)


def system_python() -> str:
    """The system's Python, whose files everybody may read; else the one that this process was started from."""
    system = "/usr/bin/python3"
    if os.access(system, os.X_OK):
        return system
    return shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or getattr(
        sys, "_base_executable", sys.executable
    )


def _exit_code(word: bytes) -> int | None:
    """The command's exit code, 128 + n where signal n ended it; None where its parent inside could not say."""
    try:
        code = os.waitstatus_to_exitcode(int(json.loads(word)["wait_status"]))
    except (ValueError, KeyError, TypeError):
        return None
    return code if code >= 0 else 128 - code
