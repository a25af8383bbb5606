"""The program of a role process: `python -m agent_rl.launch.role_process FD`, started by
`agent_rl.launch.local_launcher`.

It makes one object, answers calls to its methods over the socket FD until told to stop, and dies with its parent.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import signal
import socket
import sys
from typing import Any

from agent_rl.errors import AgentRLError, InfrastructureError
from agent_rl.launch.garbage_collection import settle
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
    carried,
)
from agent_rl.registry import resolve

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """On Linux the kernel kills this process when the thread that started it ends; elsewhere the socket's end does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


class _Server:
    """Answers the calls that arrive on the wire, each in its own task."""

    def __init__(self) -> None:
        self._object: Any = None
        self._error: type[Exception] = InfrastructureError
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._finished = asyncio.Event()
        self._wire: Wire | None = None

    async def serve(self, connection: socket.socket) -> None:
        """Returns after `Stop` or when the other end is gone; the object has then been closed."""
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(lambda: Wire(self._receive, self._finished.set), sock=connection)
        self._wire = wire
        await self._finished.wait()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        close = getattr(self._object, "close", None)
        if close is not None:
            outcome = close()
            if inspect.isawaitable(outcome):
                await outcome
        wire.close()
        await asyncio.sleep(0)

    def _receive(self, message: RoleMessage) -> None:
        assert self._wire is not None
        match message:
            case Call():
                self._tasks[message.id] = asyncio.create_task(self._answer(message))
            case Cancel():
                task = self._tasks.get(message.id)
                if task is not None:
                    task.cancel()
            case Start():
                self._start(message)
            case Stop():
                self._finished.set()
            case _:
                raise TypeError(f"a role process takes no {type(message).__name__}")

    def _start(self, message: Start) -> None:
        assert self._wire is not None
        self._error = message.error
        try:
            self._object = resolve(message.target, "agent_rl.launch", key="role")(**message.kwargs)
        except BaseException as error:
            self._wire.send(StartFailed(carried(error, message.error)))
        else:
            settle()
            self._wire.send(Started())

    async def _answer(self, call: Call) -> None:
        assert self._wire is not None
        try:
            value = getattr(self._object, call.method)(*call.args, **call.kwargs)
            if inspect.isawaitable(value):
                value = await value
            reply: RoleMessage = Result(call.id, value)
        except asyncio.CancelledError:
            reply = Cancelled(call.id)
        except BaseException as error:
            reply = Failure(call.id, carried(error, self._error))
        finally:
            self._tasks.pop(call.id, None)
        self._wire.send(reply)


def main(arguments: list[str]) -> int:
    """Serves until told to stop; returns the exit code."""
    descriptor, parent = int(arguments[0]), int(arguments[1])
    die_with_parent(parent)
    with socket.socket(fileno=descriptor) as connection:
        connection.setblocking(False)
        try:
            asyncio.run(_Server().serve(connection))
        except AgentRLError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
