"""`LocalSandbox`: an agent's episode in namespaces on this machine, by way of a worker server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from agent_rl.contracts.sandbox import Sandbox
from agent_rl.errors import SandboxError
from agent_rl.vocabulary import ExecResult, Limits, SandboxSpec
from agent_rl_sandboxes.inside.namespaces import PATH
from agent_rl_sandboxes.workers import Worker, channels_of, run_limits

_ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_FILE_SECONDS = 30.0
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO)


class LocalSandbox(Sandbox):
    """An episode's place: a tmpfs that lives as long as it. What a command leaves running ends with the command."""

    def __init__(
        self,
        spec: SandboxSpec,
        open_worker: Callable[[], Awaitable[Worker]],
        forget: Callable[[LocalSandbox], None],
    ) -> None:
        """`open_worker` makes the worker that serves the episode, or raises SandboxError; `forget` hears of its end."""
        self._spec = spec
        self._open_worker = open_worker
        self._forget = forget
        self._worker: Worker | None = None
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
                worker = await self._started()
                with self._ending_on_failure(worker):
                    header, body = await worker.ask("exec", limits, payload)
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
        if self._worker is not None:
            worker, self._worker = self._worker, None
            await worker.close()
        self._forget(self)

    async def _started(self) -> Worker:
        if self._closed:
            raise SandboxError(self._why_closed)
        if self._worker is None:
            self._worker = await self._open_worker()
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(self._spec.lifetime_seconds, lambda: loop.create_task(self._expire()))
        return self._worker

    async def _expire(self) -> None:
        # A limit like others: what comes after it is an answer, not a failure of the machinery.
        self._expired = True
        self._why_closed = f"the sandbox's lifetime of {self._spec.lifetime_seconds:g} s is over"
        await self.close()

    async def _file(self, operation: str, header: dict[str, Any], content: bytes) -> tuple[int, bytes]:
        """The errno and the body of the answer; EIO after the lifetime. Raises SandboxError."""
        try:
            worker = await self._started()
            with self._ending_on_failure(worker):
                answer, body = await worker.exchange(operation, header, content, timeout=_FILE_SECONDS)
        except SandboxError:
            if not self._expired:
                raise
            return errno.EIO, b""
        return answer["errno"], body

    @contextlib.contextmanager
    def _ending_on_failure(self, worker: Worker) -> Iterator[None]:
        """Where the worker fails, or the wait for it is cancelled and so its state unknown, the sandbox ends."""
        try:
            yield
        except BaseException as error:
            if not self._closed:
                self._closed = True
                self._why_closed = (
                    f"the sandbox died: {error}" if isinstance(error, SandboxError) else "cancelled in its work"
                )
                # Not awaited here: the caller's cancellation must not wait, and `close` waits for it.
                self._killing = asyncio.ensure_future(worker.close())
            raise


def inner_path(path: str) -> str:
    """`path` relative to a sandbox's working directory, in normal form. Raises ValueError where it leaves it."""
    pure = PurePosixPath(path)
    if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError(f"{path!r} is no path inside the sandbox's working directory")
    if len(path.encode("utf-8", "surrogatepass")) > 4000 or any("\ud800" <= c <= "\udfff" for c in path):
        raise ValueError(f"{path[:80]!r}... cannot be the path of a file")
    return str(pure)


def _exit_code(word: bytes) -> int | None:
    """The command's exit code, 128 + n where signal n ended it; None where its parent inside could not say."""
    try:
        code = os.waitstatus_to_exitcode(int(json.loads(word)["wait_status"]))
    except (ValueError, KeyError, TypeError):
        return None
    return code if code >= 0 else 128 - code
