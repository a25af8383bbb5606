"""One process per run: made before its request arrives, watched, and ended with everything that it started.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from agent_rl_sandboxes.inside import (
    case_processes,
    kernel_kills,
    leftovers,
    namespaces,
    program_calls,
    seccomp_filter,
)
from agent_rl_sandboxes.inside.private_buffers import PrivateBuffer
from agent_rl_sandboxes.inside.program_calls import REQUEST, RESULTS
from agent_rl_sandboxes.inside.run_usage import MEMORY_SLACK, RunUsage

FIRST_FREE = 10
"""The worker server keeps all lower descriptors occupied, so that a pipe never gets the number of a run's channel."""

_NICE = 10
"""In a container of its own, a run gives way to the server that watches it. Else the server would hardly get a
processor beside a run of many processes. Where the daemon bounds processors by cgroup, the container's share stays."""

FOLDER = "/tmp/run"
"""The working folder of a run with its own user; always the same name, so that it does not show how many ran before."""
_PIDFD_OPEN, _CLOSE_RANGE = 434, 436
_KILL_SECONDS = 5.0
"""Time for ending a run and its processes: on a busy machine even a killed process needs a processor to end."""
_MOST_PAUSE_SECONDS = 0.05
_TICK_MILLISECONDS = 2
READY_SECONDS = 10.0
"""Time for a new process to be isolated, in which the server gives no sign of life."""
_libc = ctypes.PyDLL(None, use_errno=True)


class RunFailed(Exception):
    """An infrastructure failure: the pool must end the worker."""


@dataclass
class Child:
    """A process that waits for a request, or has one. The descriptors are the server's ends."""

    pid: int
    pidfd: int
    """-1 if the kernel has none (gVisor): the server then polls for the end of the process."""
    request: int
    results: int
    stdout: int
    stderr: int
    scratch: str | None
    uid: int | None = None
    ender: leftovers.Ender | None = None
    """Ends the user's processes, if the process has its own user."""

    def close(self) -> None:
        if self.ender is not None:
            self.ender.close()
        for descriptor in (self.pidfd, self.request, self.results, self.stdout, self.stderr):
            if descriptor >= 0:
                os.close(descriptor)


@dataclass
class Order:
    """The parts of a request that the server itself needs: seconds, bytes."""

    wall: float
    longest: float
    """When the run ends, even if it had no processor for most of that time."""
    cpu: float
    memory: int
    output: int
    parts: int = 1
    """How many such times the whole may take, of which each part has one."""
    cases: bool = False
    """Whether the run's exit code says how a case has ended, see case_processes.py."""


@dataclass
class RunOutcome:
    """How a run ended; its channels' bytes are in the buffers."""

    status: str
    exit_code: int | None
    signal: int | None
    seconds: float
    """Without the time in which it had no processor."""
    cpu: float
    waited: float | None
    anomalies: list[str] = field(default_factory=list)
    reusable: bool = True


class RunProcesses:
    """Makes, watches and ends the processes of one worker, at one level of isolation."""

    def __init__(
        self, isolation: str, workdir: str, seccomp: bytes, group: kernel_kills.OwnGroup | None = None
    ) -> None:
        """`seccomp`: the program of the filter that every run is under; `group`: of the container, if there is one."""
        self.isolation = isolation
        self.workdir = workdir
        self.results, self.stdout, self.stderr = (PrivateBuffer((1 << 20) + 1) for _ in range(3))
        self._filter = seccomp_filter.InstalledFilter(seccomp)
        self._group = group
        self._oom_kills = kernel_kills.count()
        self._device_times = leftovers.device_times()

    def spawn(self, scratch: str | None, body: Callable[[], NoReturn], stream: int | None = None) -> Child:
        """A process that is isolated as far as possible before its request, and then calls `body`.

        `stream`, if given, is its standard input and output. Raises Refused or OSError.
        """
        uid = namespaces.unused_uid() if self.isolation == "uid" else None
        # Made before the pipes, so that it inherits none of them.
        ender = None if uid is None else leftovers.Ender(uid)
        pipes = [os.pipe() for _ in range(4)]
        (request, to_child), (results, from_child), (stdout, out), (stderr, err) = pipes
        try:
            if self.isolation == "namespaces":
                flags = namespaces.NEWUSER | namespaces.NEWPID | namespaces.NEWNS | namespaces.NEWIPC
                pid = namespaces.clone(flags)
            else:
                pid = os.fork()
            if pid == 0:
                self._enter((request, from_child, out, err), scratch, uid, body, stream)
        except BaseException:
            for pair in pipes:
                os.close(pair[0])
                os.close(pair[1])
            if ender is not None:
                ender.close()
            raise
        for descriptor in (request, from_child, out, err):
            os.close(descriptor)
        for descriptor in (to_child, results, stdout, stderr):
            os.set_blocking(descriptor, False)
        pidfd: int = _libc.syscall(_PIDFD_OPEN, pid, 0)
        return Child(pid, pidfd, to_child, results, stdout, stderr, scratch, uid, ender)

    def _enter(
        self,
        pipes: tuple[int, int, int, int],
        scratch: str | None,
        uid: int | None,
        body: Callable[[], NoReturn],
        stream: int | None,
    ) -> NoReturn:
        """In the child: sends "R" on the result channel when it is ready, or "E" and the reason why not."""
        try:
            namespaces.die_with_parent()
            # Not the server's own /dev/null: flags and locks belong to the open file, and would reach the next run.
            nothing = os.open(os.devnull, os.O_RDWR)
            request, results, stdout, stderr = pipes
            if uid is not None:
                for descriptor in (stdout, stderr):
                    os.fchmod(descriptor, 0o622)  # else another user than root could not open /dev/stdout
            given, said = (nothing, stdout) if stream is None else (stream, stream)
            for source, target in ((given, 0), (said, 1), (stderr, 2), (results, RESULTS), (request, REQUEST)):
                os.dup2(source, target)
            if _libc.syscall(_CLOSE_RANGE, REQUEST + 1, 0xFFFFFFFF, 0) != 0:
                os.closerange(REQUEST + 1, 4096)
            os.setsid()
            if self.isolation == "namespaces":
                namespaces.enter_run(self.workdir, scratch)
                os.chdir(self.workdir)
            elif uid is not None:
                namespaces.become(uid)
                # Becoming another user has cleared the setting.
                namespaces.die_with_parent()
                os.mkdir(FOLDER, 0o700)
                os.chdir(FOLDER)
            else:
                namespaces.show()
                os.chdir("/tmp")
            kernel_kills.prefer_this_process()
            if self._group is not None:
                os.nice(_NICE)
            if self.isolation != "uid":
                namespaces.drop_capabilities()
            self._filter.install()
            os.write(RESULTS, b"R")
            body()
        except BaseException as error:
            os.write(RESULTS, b"E" + (str(error) or type(error).__name__).encode("utf-8", "replace")[:2000])
        finally:
            os._exit(70)

    def await_ready(self, child: Child) -> None:
        """`child` waits for its request. Raises RunFailed with the reason if it could not be isolated."""
        poll = select.poll()
        poll.register(child.results, select.POLLIN)
        if not poll.poll(READY_SECONDS * 1000):
            raise RunFailed("a run's process was not ready in time")
        answer = os.read(child.results, 1)
        if answer != b"R":
            reason = os.read(child.results, 4096) if answer else b"it died"
            raise RunFailed(reason.decode("utf-8", "replace"))

    def run(
        self,
        child: Child,
        request: memoryview,
        order: Order,
        stream: int,
        cancelled: Callable[[], bool],
        watch: Callable[[RunUsage], str | None] | None = None,
        alive: Callable[[float], None] | None = None,
    ) -> RunOutcome:
        """How the run ended; none of its processes is left. `cancelled` is called when `stream` can be read.

        `alive`: see `RunUsage`.

        `watch`, given for a run that exchanges messages, writes the request and reads the channels.

        The run ends at the deadline, at a limit, and at the first process's exit. It never waits for the end of a pipe,
        which another process may hold. Raises RunFailed or OSError for an infrastructure failure.
        """
        for buffer in (self.results, self.stdout, self.stderr):
            buffer.reset(order.output + 1)
        usage = RunUsage(
            child.pid,
            order.wall,
            order.longest,
            order.memory,
            self._others(child),
            self._group,
            parts=order.parts,
            alive=alive,
        )
        status = watch(usage) if watch else self._watch(child, request, order, stream, cancelled, usage)
        if status is None:
            usage.finish()
        else:
            _end(child)
        over = time.monotonic() + _KILL_SECONDS
        ended = self._reap(child, over)
        seconds = time.monotonic() - usage.started - usage.waited
        anomalies: list[str] = []
        if ended is None:
            why = ["a process that cannot be killed"]
            return RunOutcome(status or "timeout", None, None, seconds, usage.cpu, None, why, False)
        self._end_descendants(child, over, anomalies)
        for descriptor, buffer in self._channels(child):
            while buffer.size <= order.output and buffer.read(descriptor, order.output + 1) > 0:
                pass
            if buffer.size > order.output:
                status = status or "output_limit"
                buffer.size = order.output
        wait_status, used = ended
        exit_code, number = _how(wait_status)
        cpu, resident = used.ru_utime + used.ru_stime, used.ru_maxrss << 10
        if order.cases and exit_code is not None and exit_code > case_processes.SIGNALLED:
            exit_code, number = None, exit_code - case_processes.SIGNALLED
            status = status or self._status_of_case(number, resident, order)
        if status is None:
            status = self._status(exit_code, number, cpu, resident, order)
        untouched = self.isolation == "namespaces" or leftovers.device_times() == self._device_times
        reusable = self.isolation != "container" and not anomalies and untouched
        cpu, waited = usage.of_last_part(cpu) if status == "timeout" else (cpu, usage.waits(cpu))
        return RunOutcome(status, exit_code, number, seconds, cpu, waited, anomalies, reusable)

    def _others(self, child: Child) -> set[int]:
        """The processes in this process's /proc that are not the run's, which has only `child` yet."""
        if self.isolation == "namespaces":
            return {os.getpid()}
        return {int(name) for name in os.listdir("/proc") if name.isdigit()} - {child.pid}

    def _channels(self, child: Child) -> tuple[tuple[int, PrivateBuffer], ...]:
        return (child.results, self.results), (child.stdout, self.stdout), (child.stderr, self.stderr)

    def _watch(
        self,
        child: Child,
        request: memoryview,
        order: Order,
        stream: int,
        cancelled: Callable[[], bool],
        usage: RunUsage,
    ) -> str | None:
        """The reason to end the run now; None if its first process has ended by itself."""
        poll = select.poll()
        buffers = dict(self._channels(child))
        for descriptor in (child.pidfd, stream, *buffers):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        request = _feed(child, request)
        if request:
            poll.register(child.request, select.POLLOUT)
        while True:
            reason = usage.over()
            if reason is not None:
                return reason
            for descriptor, _ in poll.poll(wait_milliseconds(child, usage.pause())):
                if descriptor == child.pidfd:
                    return None
                if descriptor == stream:
                    if cancelled():
                        return "cancelled"
                elif descriptor == child.request:
                    request = _feed(child, request)
                    if not request:
                        poll.unregister(child.request)
                else:
                    buffer = buffers[descriptor]
                    if buffer.read(descriptor, order.output + 1) == 0:
                        poll.unregister(descriptor)
                    elif buffer.size > order.output:
                        return "output_limit"
            if child.pidfd < 0 and has_ended(child.pid):
                return None

    def _reap(self, child: Child, over: float) -> Any:
        """(wait status, resource usage) of the ended process; None if it has not ended at the time `over`."""
        if child.pidfd >= 0:
            poll = select.poll()
            poll.register(child.pidfd, select.POLLIN)
            if not poll.poll(max(0.0, over - time.monotonic()) * 1000):
                return None
        else:
            while not has_ended(child.pid):
                if time.monotonic() > over:
                    return None
                time.sleep(_TICK_MILLISECONDS / 1000)
        _, wait_status, usage = os.wait4(child.pid, 0)
        return wait_status, usage

    def _status(self, exit_code: int | None, number: int | None, cpu: float, resident: int, order: Order) -> str:
        """The status of a run whose first process ended by itself. Raises RunFailed if something outside killed it."""
        if number is None:
            # More may have been used between two looks, by the process itself or by those that it waited for.
            exceeded = exit_code == program_calls.MEMORY_EXIT or resident > order.memory + MEMORY_SLACK
            return "out_of_memory" if exceeded else "completed"
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu >= order.cpu):
            return "timeout"
        if number != signal.SIGKILL:
            return "crashed"
        if self._group is not None and self._group.killed():
            return "out_of_memory"
        # No process inside a pid namespace can send SIGKILL to its first process: the kernel did it (memory), or
        # something outside. Without a pid namespace, its own children can do it.
        before, self._oom_kills = self._oom_kills, kernel_kills.count()
        kernels_doing = before != self._oom_kills
        if resident >= order.memory // 2 and (kernels_doing or self.isolation != "namespaces"):
            return "out_of_memory"
        if kernels_doing:
            # The kernel ran out of memory, but this process used little: another process may have caused it.
            raise RunFailed("a run's process may have been killed for want of memory that others used")
        if self.isolation == "namespaces":
            raise RunFailed("a run's process was killed from outside")
        return "crashed"

    def _status_of_case(self, number: int, resident: int, order: Order) -> str:
        """The status of a run whose case was ended by a signal. Any process of the run can have sent it."""
        if number == signal.SIGXCPU:
            return "timeout"
        if number == signal.SIGKILL and self._group is not None and self._group.killed():
            return "out_of_memory"
        before, self._oom_kills = self._oom_kills, kernel_kills.count()
        if number != signal.SIGKILL or before == self._oom_kills:
            return "crashed"
        if resident >= order.memory // 2:
            return "out_of_memory"
        raise RunFailed("a case's process may have been killed for want of memory that others used")

    def _end_descendants(self, child: Child, over: float, anomalies: list[str]) -> None:
        """Without a pid namespace of the run's own: its other processes are killed and its files removed, as its user.

        A process that has not ended at the time `over` is an anomaly. Raises OSError.
        """
        if self.isolation == "container" and os.getpid() == 1:
            # This process is pid 1 of the worker's namespace, so all other processes in it are the run's.
            leftovers.kill_others()
        if child.uid is None or child.ender is None:
            return
        pause = _TICK_MILLISECONDS / 1000
        while True:
            child.ender.kill()
            leftovers.reap_orphans()
            if not leftovers.processes_of(child.uid):
                break
            if time.monotonic() > over:
                anomalies.append("processes that cannot be killed")
                return
            time.sleep(pause)
            pause = min(2 * pause, _MOST_PAUSE_SECONDS)
        child.ender.remove_files()
        left = leftovers.files_of(child.uid)
        if left:
            anomalies.append(f"files that cannot be removed: {', '.join(left[:3])}")

    def discard(self, child: Child) -> None:
        """The process, which never got a request, has ended."""
        _kill(child.pid)
        os.waitpid(child.pid, 0)
        child.close()


def _feed(child: Child, request: memoryview) -> memoryview:
    """The part of the request still to write; empty if the process no longer reads."""
    try:
        while request:
            request = request[os.write(child.request, request) :]
    except BlockingIOError:
        return request
    except BrokenPipeError:
        return request[:0]
    return request


def _how(wait_status: int) -> tuple[int | None, int | None]:
    """(exit code, signal); one of them is None."""
    if os.WIFSIGNALED(wait_status):
        return None, os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status), None


def wait_milliseconds(child: Child, left: float) -> float:
    """How long to wait for `child` before the next check of its end, with `left` seconds to the next look at it."""
    # Rounded up: a wait that is short by a fraction of a millisecond would only cause another wait.
    return left * 1000 + 1 if child.pidfd >= 0 else min(left * 1000 + 1, _TICK_MILLISECONDS)


def has_ended(pid: int) -> bool:
    """Whether the child has ended; does not reap it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(child: Child) -> None:
    """SIGKILL is sent to the run's first process; if the run has its own user, to all processes of that user."""
    if child.ender is None:
        _kill(child.pid)
    else:
        child.ender.kill()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
