"""The first process of an episode's namespaces on this machine: it makes episode servers, one at a time.

This process owns the episode's tmpfs, so that files outlive a server. Each server is a process isolated like a judge's
run, with its own stream to its client (see `episode_server`).

This process starts as a worker server does (see `worker_server`) and sends the same "hello". Then it takes orders,
single bytes on the socket that is its standard input, and answers each with the same byte:

    s   comes with a descriptor: ends the last server and its processes, and starts a new one on that descriptor
    k   ends the last server and its processes

If a server cannot be made, the first message on its stream says so: {"id": 0, "error": text}.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import Any, NoReturn

from agent_rl_sandboxes.inside import (
    episode_server,
    isolation_levels,
    kernel_kills,
    leftovers,
    namespaces,
    run_processes,
    run_usage,
    worker_server,
)
from agent_rl_sandboxes.inside.frame_stream import FrameStream
from agent_rl_sandboxes.inside.program_calls import REQUEST, RESULTS

_FILES = 1024
_NO_SECONDS = 1 << 30
"""No limit of processor time, in seconds: each command has a deadline instead."""


class PlaceKeeper:
    """Makes and ends the servers of one episode."""

    def __init__(self, control: socket.socket, isolation: str, setup: dict[str, Any]) -> None:
        self._control = control
        self._workdir: str = setup["workdir"]
        self._episode: dict[str, Any] = setup["episode"]
        self._runner = run_processes.RunProcesses(isolation, self._workdir, isolation_levels.seccomp_program(setup))
        self._server: run_processes.Child | None = None

    def serve(self) -> NoReturn:
        """Serves until the provider goes away. Raises Refused or OSError."""
        namespaces.mount_scratch(self._workdir, self._episode["scratch"])
        while True:
            order, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
            if not order:
                os._exit(0)
            self._end()
            if order == b"s":
                self._begin(descriptors[0])
            self._control.sendall(order)

    def _begin(self, stream: int) -> None:
        """A new server uses `stream`; if it cannot be made, the reason has been sent there."""
        try:
            self._server = self._runner.spawn(None, self._serve_commands, stream)
            self._runner.await_ready(self._server)
        except (namespaces.Refused, run_processes.RunFailed, OSError) as error:
            text = json.dumps({"id": 0, "error": str(error)}).encode()
            with contextlib.suppress(OSError):
                os.write(stream, episode_server.HEAD.pack(len(text), 0) + text)
        finally:
            os.close(stream)

    def _serve_commands(self) -> NoReturn:
        """In the server's process: serves, then ends the process."""
        os.close(RESULTS)
        os.close(REQUEST)
        os.environ.update(self._episode["environment"])
        limits = self._episode["limits"]
        # Nobody watches the memory of an agent's commands.
        space = limits["memory"] + run_usage.MEMORY_SLACK
        episode_server.main(
            self._workdir,
            self._episode["output_bytes"],
            lambda: namespaces.limit(_NO_SECONDS, space, limits["processes"], limits["disk"], _FILES),
        )
        os._exit(0)

    def _end(self) -> None:
        """The last server and all its processes have ended."""
        server, self._server = self._server, None
        if server is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(server.pid, 0)
        server.close()
        leftovers.kill_others()


def main(setup: dict[str, Any]) -> NoReturn:
    """Serve until the provider goes away."""

    def serve(stream: FrameStream, isolation: str, own_view: bool, group: kernel_kills.OwnGroup | None) -> NoReturn:
        PlaceKeeper(socket.socket(fileno=stream.source), isolation, setup).serve()

    worker_server.begin(setup, serve)
