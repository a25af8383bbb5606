"""The worker server: a small program inside a container or in namespaces that forks one process per run.

It is started once per worker (`docker exec`, or locally) with the command of
`agent_rl_sandboxes.worker_program.worker_command`. Only Python 3.9 has to exist inside: the sources arrive first on
standard input. The server never sees an expected value and never parses a run's request. Requests and answers pass
through buffers that are not mapped into any child (MADV_DONTFORK), so that no run finds an earlier run's request or
answer in its memory.

Protocol, on standard input and output. Every message is a frame

    header length, body length     two unsigned 32-bit integers, big-endian
    header                         a JSON object with "op"
    body                           bytes

The bootstrap reads the first frame: header {"op": "setup", "modules": [[name, source]...], "main": name,
"setup": {...}}. Then come requests, at most one at a time:

    in   {"op": "load", "id"}                                        body: JSON [[name, source]...], modules that every
                                                                     later run finds loaded
    in   {"op": "run", "id", "wall", "longest", "cpu", "memory", "output", "disk", "inodes", "calls", "ahead"}
                                                                     body: a length (32 bits), then JSON for the run's
                                                                     own process, see `program_calls`; if it has
                                                                     "calls", then the same for each, and the limits
                                                                     are those of one call; "ahead": whether all calls
                                                                     may be sent before it is known whether they are to
                                                                     be kept apart
    in   {"op": "talk", ...the same}                                 body: the same; a run that exchanges messages
    in   {"op": "say", "id"}                                         body: bytes for that run, while it runs
    in   {"op": "cancel", "id"}                                      during a run, else ignored
    out  {"op": "hello", "protocol", "isolation", "reasons", "python", "memory", "waits"}   once, after setup
    out  {"op": "loaded", "id"}
    out  {"op": "alive", "id", "seconds"}                            a sign of life: a run of that many seconds of its
                                                                     own time goes on
    out  {"op": "said", "id"}                                        body: new bytes of a talk's result channel
    out  {"op": "result", "id", "status", "exit_code", "signal", "seconds", "cpu", "waited", "results", "stdout",
          "stderr", "anomalies", "reusable", "ends", "slowest", "unfinished"}
                                                                     body: the three channels' bytes, of these lengths
    out  {"op": "failed", "id", "error"}                             infrastructure failure; the pool ends the worker
    out  {"op": "fatal", "error"}                                    the server ends

A result's "results" bytes are the run's result channel, unchanged (of a talk, the bytes not yet "said"):
length-prefixed (32 bits) UTF-8 frames if the run is honest, anything if not. Only the pool outside parses them.
Times are seconds, sizes bytes. "ends", "slowest" and "unfinished" are as in `RunResult`.

While a run goes on, the server gives a sign of life after each second (`run_usage.SIGN_SECONDS`), so most runs see
none. Only the server writes to its output, so a run cannot forge one. The pool ends a worker that has sent nothing for
`workers.SILENT_LOOKS` looks of a second, though it has been asked something; a look that comes late counts as one.

At the start the server tries out each level of isolation between two runs. `reasons` names, for each level that failed,
the refused step and its error:

    namespaces   the worker has user, pid, mount, network, ipc and uts namespaces and a read-only view of the system;
                 each run has user, pid, mount and ipc namespaces of its own in them, its own /proc and tmpfs. The
                 network namespace is the worker's; it is empty, and replaced once a run has sent a packet in it.
    uid          the server is root: each run has a uid of its own, is killed as that uid, and its files are removed;
                 once a run has sent a packet the pool ends the worker
    container    neither: the pool ends the worker, with all that is in it, after its first run; if the run stops the
                 server, a timer of the kernel resumes it; one that is stopped again and again gives no sign of life

A run without a tmpfs of its own ("disk", "inodes") may use as much of both as its container has.

When the pool goes away (end of input), the server kills the current run and ends. If the server is pid 1 of its
namespace, its end, however it dies, also ends every process in the namespace.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from agent_rl_sandboxes.inside import (
    isolation_levels,
    kernel_kills,
    namespaces,
    preloading,
    run_processes,
    run_program,
    run_relay,
    run_usage,
)
from agent_rl_sandboxes.inside.case_watch import CaseWatch
from agent_rl_sandboxes.inside.frame_stream import FrameStream, StreamClosed
from agent_rl_sandboxes.inside.network_traffic import Traffic
from agent_rl_sandboxes.inside.server_timer import ServerTimer

PROTOCOL = 1


class WorkerServer:
    """Answers one request at a time; makes the next run's process while nobody waits."""

    def __init__(
        self,
        stream: FrameStream,
        isolation: str,
        setup: dict[str, Any],
        *,
        own_view: bool,
        group: kernel_kills.OwnGroup | None,
    ) -> None:
        self._stream = stream
        self._isolation = isolation
        self._own_view = own_view
        self._workdir: str = setup["workdir"]
        filtering = isolation_levels.seccomp_program(setup)
        self._runner = run_processes.RunProcesses(isolation, self._workdir, filtering, group)
        self._spare: run_processes.Child | None = None
        self._traffic = Traffic()
        # No process in a pid namespace can stop its first process, and no run can stop root's server.
        self._timer = ServerTimer() if isolation == "container" and not own_view else None

    def serve(self) -> NoReturn:
        """Serves until the pool goes away. Raises StreamClosed."""
        if self._isolation == "namespaces":
            self._spare = self._spawn(isolation_levels.DEFAULT_SCRATCH)
        while True:
            header, body = self._stream.next()
            operation = header["op"]
            if operation in ("run", "talk"):
                self._run(header, body)
            elif operation == "load":
                self._load(header, body)
            del body

    def _load(self, header: dict[str, Any], body: memoryview) -> None:
        """Load modules; if the next run's process exists already, replace it by one that has them."""
        preloading.load(json.loads(bytes(body)))
        spare, self._spare = self._spare, None
        if spare is not None:
            self._runner.discard(spare)
            self._renew(spare.scratch or isolation_levels.DEFAULT_SCRATCH)
        self._stream.send({"op": "loaded", "id": header["id"]})

    def _run(self, header: dict[str, Any], body: memoryview) -> None:
        """Run a program, answer, and only then make the next run's process."""
        names = ("wall", "longest", "cpu", "memory", "output")
        order = limits = run_processes.Order(*(header[name] for name in names))
        if header.get("calls"):
            order = CaseWatch.whole(limits)
        scratch = f"size={header['disk']},nr_inodes={header['inodes']},mode=1777"
        try:
            child = self._child(scratch)
        except (namespaces.Refused, run_processes.RunFailed, OSError) as error:
            self._stream.send({"op": "failed", "id": header["id"], "error": str(error)})
            return
        self._resume_if_stopped()
        runner = self._runner
        talk = (
            run_relay.RunRelay(self._stream, header["id"], runner, child, body, order)
            if header["op"] == "talk"
            else None
        )

        def cancelled() -> bool:
            return self._cancelled(header["id"])

        def alive(seconds: float) -> None:
            self._resume_if_stopped()
            self._stream.send({"op": "alive", "id": header["id"], "seconds": seconds})

        cases = None
        if order.cases:
            cases = CaseWatch(runner, child, body, limits, self._stream.source, cancelled, header["ahead"])
        try:
            watch = cases.watch if cases else talk.watch if talk else None
            outcome = runner.run(child, body, order, self._stream.source, cancelled, watch, alive)
        except (run_processes.RunFailed, OSError) as error:
            self._stream.send({"op": "failed", "id": header["id"], "error": str(error)})
            return
        finally:
            child.close()
        self._resume_if_stopped()
        if self._isolation == "uid" and self._traffic.seen():
            # All runs share the worker's network: the next run might see what this one sent.
            outcome.reusable = False
        self._answer(header["id"], outcome, talk, cases)
        if outcome.reusable and self._isolation == "namespaces":
            self._renew(scratch)

    def _answer(
        self,
        identifier: str,
        outcome: run_processes.RunOutcome,
        talk: run_relay.RunRelay | None,
        cases: CaseWatch | None,
    ) -> None:
        """Send what became of the run, and the bytes of its channels that were not sent before."""
        runner = self._runner
        channels = [buffer.view() for buffer in (runner.results, runner.stdout, runner.stderr)]
        if talk is not None:
            channels[0] = channels[0][talk.said :]
        if cases is not None:
            channels[0] = channels[0][cases.finish(outcome)]
        self._stream.send(
            {
                "op": "result",
                "id": identifier,
                "status": outcome.status,
                "exit_code": outcome.exit_code,
                "signal": outcome.signal,
                "seconds": outcome.seconds,
                "cpu": outcome.cpu,
                "waited": outcome.waited,
                "results": len(channels[0]),
                "stdout": len(channels[1]),
                "stderr": len(channels[2]),
                "anomalies": outcome.anomalies,
                "reusable": outcome.reusable,
                "ends": cases.ends if cases else [],
                "slowest": cases.slowest if cases else outcome.seconds,
                "unfinished": cases is not None and cases.unfinished(outcome),
            },
            *channels,
        )

    def _resume_if_stopped(self) -> None:
        """If a run can stop this process, and does so now, the kernel resumes it."""
        if self._timer is not None:
            self._timer.put_off()

    def _child(self, scratch: str) -> run_processes.Child:
        """A process that waits for its request. Raises Refused, RunFailed or OSError if none can be made."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.scratch != scratch:
            self._runner.discard(spare)
            spare = None
        if spare is None:
            spare = self._spawn(scratch)
        self._runner.await_ready(spare)
        return spare

    def _spawn(self, scratch: str) -> run_processes.Child:
        if self._isolation == "container" and self._own_view:
            namespaces.mount_scratch(self._workdir, scratch)
        return self._runner.spawn(scratch, lambda: run_program.run_program(self._isolation))

    def _renew(self, scratch: str) -> None:
        """The next run's process is being made, in an unused network; if that fails, `_child` tries again."""
        try:
            if self._own_view and self._traffic.seen():
                namespaces.fresh_network()
                self._traffic.close()
                self._traffic = Traffic()
            self._spare = self._spawn(scratch)
        except (namespaces.Refused, OSError):
            # The next run tries again; a refusal is then its answer.
            self._spare = None

    def _cancelled(self, identifier: str) -> bool:
        """Whether a cancellation of the run `identifier` has arrived. Raises StreamClosed."""
        self._stream.fill()
        while (frame := self._stream.arrived()) is not None:
            if frame[0] == {"op": "cancel", "id": identifier}:
                return True
        return False


def _take_stdio() -> tuple[int, int]:
    """The stream's descriptors, moved above those that a run's process uses; /dev/null replaces the lower ones."""
    source, target = (os.dup(descriptor) for descriptor in (0, 1))
    nothing = os.open(os.devnull, os.O_RDWR)
    moved = [source, target]
    for index, descriptor in enumerate(moved):
        while descriptor < run_processes.FIRST_FREE:
            descriptor = os.dup(descriptor)
        moved[index] = descriptor
    for descriptor in range(run_processes.FIRST_FREE):
        os.dup2(nothing, descriptor)
    for descriptor in range(run_processes.FIRST_FREE, max(moved)):
        if descriptor not in moved:
            os.closerange(descriptor, descriptor + 1)
    return moved[0], moved[1]


def _guard(pid: int) -> NoReturn:
    """In the parent of the worker's pid 1: waits for the end of pid 1, and kills it at SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
    os.closerange(0, 4096)
    _, status = os.waitpid(pid, 0)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def main(setup: dict[str, Any]) -> NoReturn:
    """Serve until the pool goes away."""

    def serve(stream: FrameStream, isolation: str, own_view: bool, group: kernel_kills.OwnGroup | None) -> NoReturn:
        WorkerServer(stream, isolation, setup, own_view=own_view, group=group).serve()

    begin(setup, serve)


def begin(
    setup: dict[str, Any], serve: Callable[[FrameStream, str, bool, kernel_kills.OwnGroup | None], NoReturn]
) -> NoReturn:
    """Chooses the isolation, says "hello", and serves.

    `serve` gets the stream, the isolation, whether there are namespaces, and the cgroup of a container of its own.
    """
    descriptors = _take_stdio()
    # Only a container's own server may fall back to weaker levels: see `WorkerSetup`.
    group = kernel_kills.OwnGroup() if setup["fall_back"] else None
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.environ.clear()
        # Keeps libraries from starting threads at import: a process with threads cannot enter namespaces.
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        try:
            preloading.preload([*preloading.ALWAYS, *setup["preload"]])
        except ImportError as error:
            raise run_processes.RunFailed(
                f"a module to be imported ahead (sandbox.preload) is not there: {error}"
            ) from None
        os.environ.clear()
        isolation, own_view, reasons = isolation_levels.choose(setup)
        if own_view:
            pid = isolation_levels.enter(setup)
            if pid:
                _guard(pid)
        else:
            namespaces.adopt_orphans()
        if isolation == "uid":
            # Needed to remove a run's files.
            preloading.preload(["shutil"])
        if isolation == "container":
            # Runs have the same user as this process.
            namespaces.hide()
        # Not earlier: the buffer is not mapped in children, and the worker's pid 1 was one.
        stream = FrameStream(*descriptors)
        python = ".".join(map(str, sys.version_info[:3]))
        memory = "resident memory" if group is None or not group.known else "resident memory and cgroup"
        hello = {"op": "hello", "protocol": PROTOCOL, "isolation": isolation, "reasons": reasons, "python": python}
        stream.send({**hello, "memory": memory, "waits": run_usage.KNOWN})
        serve(stream, isolation, own_view, group)
    except StreamClosed:
        os._exit(0)
    except BaseException as error:
        try:
            FrameStream(*descriptors).send({"op": "fatal", "error": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(1)
