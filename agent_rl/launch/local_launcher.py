"""Role processes on this machine: started, called, watched, stopped. None of them outlives the launcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_rl.errors import InfrastructureError
from agent_rl.launch.log_tail import log_tail
from agent_rl.launch.role_messages import (
    Call,
    Cancel,
    Cancelled,
    Failure,
    Result,
    RoleMessage,
    Start,
    Started,
    StartFailed,
    Stop,
    Wire,
)
from agent_rl.weights import blobs

_LOG_LINES = 20
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class RoleProcess:
    """An object in its own process. Made by `LocalLauncher.start`.

    Calls run concurrently; calls made in one tick of the event loop are sent together. After the process has died,
    every pending and later call raises the role's error class; the message says how it ended and shows the last lines
    of its log.
    """

    def __init__(self, name: str, error: type[InfrastructureError], log: Path) -> None:
        self.name = name
        self.log = log
        self._error = error
        self._log_start = log.stat().st_size if log.exists() else 0
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._lost = asyncio.Event()
        self._death: str | None = None
        self._stopping = False
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._process: asyncio.subprocess.Process | None = None
        self._wire: Wire | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process id, also after the process has ended."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether calls can still be answered."""
        return self._death is None

    async def call(self, method: str, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """What `method` of the object returns. Cancelling this call cancels the method in the other process.

        Raises what the method raises, or the role's error class when the process is dead or has not answered within
        `timeout` seconds (the process then still runs: `kill` it to replace it).
        """
        if self._death is not None:
            raise self._error(self._death)
        assert self._wire is not None
        loop = asyncio.get_running_loop()
        self._next_id += 1
        id, future = self._next_id, loop.create_future()
        self._pending[id] = future
        self._wire.send(Call(id, method, args, kwargs))
        timer = None
        if timeout is not None:
            timer = loop.call_later(timeout, self._expire, id, f"{method} did not answer within {timeout:g} s")
        try:
            return await future
        except asyncio.CancelledError:
            if self._pending.pop(id, None) is not None:
                self._wire.send(Cancel(id))
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def wait(self) -> str:
        """How the process ended; waits until it has."""
        assert self._watcher is not None
        await asyncio.shield(self._watcher)
        assert self._death is not None
        return self._death

    def kill(self) -> None:
        """Kills the process and its descendants in the same process group."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self, grace: float = 5.0) -> None:
        """The process is gone: it is asked to close its object and is killed after `grace` seconds. Idempotent."""
        assert self._watcher is not None
        assert self._wire is not None
        self._stopping = True
        if not self._watcher.done():
            self._wire.send(Stop())
            self._wire.flush()
            await asyncio.wait([self._watcher], timeout=grace)
        if not self._watcher.done():
            self.kill()
        await asyncio.shield(self._watcher)

    async def _launch(self, start: Start, threads: int, timeout: float) -> None:
        """The process runs and has made its object. Raises what the constructor raised, or the role's error class."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs, self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "agent_rl.launch.role_process", str(theirs.fileno()), str(os.getpid())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env=_environment(threads),
                )
        except BaseException:
            ours.close()
            raise
        _, self._wire = await loop.create_connection(lambda: Wire(self._receive, self._lost.set), sock=ours)
        self._watcher = asyncio.create_task(self._watch(self._process), name=f"watch {self.name}")
        self._wire.send(start)
        timer = loop.call_later(timeout, self._fail_start, f"did not start within {timeout:g} s")
        try:
            await self._started
        except BaseException:
            self.kill()
            await self.stop()
            raise
        finally:
            timer.cancel()

    def _receive(self, message: RoleMessage) -> None:
        match message:
            case Result():
                future = self._pending.pop(message.id, None)
                if future is not None and not future.done():
                    future.set_result(message.value)
            case Failure():
                future = self._pending.pop(message.id, None)
                if future is not None and not future.done():
                    future.set_exception(message.error)
            case Cancelled():
                self._expire(message.id, "the call was cancelled in the role's process")
            case Started():
                self._started.set_result(None)
            case StartFailed():
                self._started.set_exception(message.error)
            case _:
                raise TypeError(f"a role's owner takes no {type(message).__name__}")

    def _expire(self, id: int, reason: str) -> None:
        """Call `id` fails with `reason`; the process is told that nobody waits for the result."""
        future = self._pending.pop(id, None)
        if future is not None and not future.done():
            assert self._wire is not None
            self._wire.send(Cancel(id))
            future.set_exception(self._error(f"{self._who()}: {reason}"))

    def _fail_start(self, reason: str) -> None:
        if not self._started.done():
            self._started.set_exception(self._error(f"{self._who()} {reason}{self._log_tail()}"))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Returns after the process has ended and every pending call has failed."""
        exited = asyncio.create_task(process.wait())
        lost = asyncio.create_task(self._lost.wait())
        await asyncio.wait([exited, lost], return_when=asyncio.FIRST_COMPLETED)
        if not exited.done():  # it closed its socket: it is ending, or its code closed the socket by mistake
            await asyncio.wait([exited], timeout=5.0)
            self.kill()
        code = await exited
        await asyncio.wait([lost], timeout=1.0)  # replies that it sent before its end are still read
        lost.cancel()
        assert self._wire is not None
        self._wire.close()
        self.kill()  # what it may have left in its process group
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        tail = "" if self._stopping and code == 0 else self._log_tail()
        self._death = f"{self._who()} {'was stopped' if self._stopping else 'died'} ({how}){tail}"
        self._fail_start("died while starting (" + how + ")")
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(self._error(self._death))

    def _who(self) -> str:
        return f"{self.name} (process {self.pid})"

    def _log_tail(self) -> str:
        """The last lines that this process wrote to its log, after an introduction; empty if it wrote none."""
        return log_tail(self.log, self._log_start, _LOG_LINES)


class LocalLauncher:
    """Starts roles on this machine; leaving the context stops them all. Their output goes to `run_dir/logs`."""

    def __init__(self, run_dir: Path | None = None) -> None:
        self._run_dir = run_dir
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._roles: list[RoleProcess] = []

    @property
    def logs(self) -> Path:
        """The folder of the roles' logs."""
        assert self._run_dir is not None, "use `async with LocalLauncher() as runtime`"
        return self._run_dir / "logs"

    async def __aenter__(self) -> LocalLauncher:
        blobs.reap()
        if self._run_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="agent-rl-")
            self._run_dir = Path(self._temporary.name)
        (self._run_dir / "logs").mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.shield(self._close())

    async def _close(self) -> None:
        await asyncio.gather(*(role.stop() for role in self._roles), return_exceptions=True)
        self._roles.clear()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = self._run_dir = None

    async def start(
        self,
        name: str,
        target: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        threads: int = 1,
        error: type[InfrastructureError] = InfrastructureError,
        timeout: float = 300.0,
    ) -> RoleProcess:
        """A new process in which `target` ("module:Class" or "file.py:Class") has been called with `kwargs`.

        `threads` bounds the threads of its numeric libraries. Raises what the constructor raised, or `error` when the
        process died or was not ready within `timeout` seconds.
        """
        assert self._run_dir is not None, "use `async with LocalLauncher() as runtime`"
        log = self._run_dir / "logs" / (re.sub(r"[^\w.-]", "_", name) + ".log")
        role = RoleProcess(name, error, log)
        await role._launch(Start(target, dict(kwargs or {}), error), threads, timeout)
        self._roles = [r for r in self._roles if r.alive] + [role]
        return role


def _environment(threads: int) -> dict[str, str]:
    """This process's environment for a role: its import path, and thread counts set before anything is imported."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    environment["PYTHONUNBUFFERED"] = "1"
    environment["TOKENIZERS_PARALLELISM"] = "false"
    environment.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch then asks for huge pages: saves a tenth of a step
    environment.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    return environment
