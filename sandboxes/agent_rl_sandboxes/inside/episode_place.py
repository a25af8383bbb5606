"""The first process of an episode's namespaces on this machine: it makes episode servers, one at a time.

The episode's tmpfs is this process's, so that files outlive a server. Each server is a process closed in as a run of a
judge is, with a stream of its own to whoever uses it (see `episode_server`).

It comes to be as a worker server does (see `worker_server`), says the same "hello", and then is told by single bytes
on the socket that is its standard input, each of which it answers with the same byte:

    s   beside it a descriptor: what the last server left is ended, and a new one speaks on that descriptor
    k   what the last server left is ended, and the server with it

A server that cannot be made says so itself, in its first message: {"id": 0, "error": text}.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import Any, NoReturn

from agent_rl_sandboxes.inside import episode_server, leftovers, levels, namespaces, run_processes, worker_server
from agent_rl_sandboxes.inside.frame_stream import FrameStream
from agent_rl_sandboxes.inside.harness import REQUEST, RESULTS

_FILES = 1024
_NO_SECONDS = 1 << 30
"""Of processor time: each command has a deadline."""


class PlaceKeeper:
    """Makes and ends the servers of one episode."""

    def __init__(self, control: socket.socket, isolation: str, setup: dict[str, Any]) -> None:
        self._control = control
        self._workdir: str = setup["workdir"]
        self._episode: dict[str, Any] = setup["episode"]
        self._runner = run_processes.RunProcesses(isolation, self._workdir, levels.seccomp_program(setup))
        self._server: run_processes.Child | None = None

    def serve(self) -> NoReturn:
        """Until the provider goes away. Raises Refused or OSError."""
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
        """A server speaks on `stream`, or why there is none has been said there."""
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
        """In the server's process."""
        os.close(RESULTS)
        os.close(REQUEST)
        os.environ.update(self._episode["environment"])
        limits = self._episode["limits"]
        episode_server.main(
            self._workdir,
            self._episode["output_bytes"],
            lambda: namespaces.limit(_NO_SECONDS, limits["memory"], limits["processes"], limits["disk"], _FILES),
        )
        os._exit(0)

    def _end(self) -> None:
        """The last server and all that it started are gone."""
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

    def serve(stream: FrameStream, isolation: str, own_view: bool) -> NoReturn:
        PlaceKeeper(socket.socket(fileno=stream.source), isolation, setup).serve()

    worker_server.begin(setup, serve)
