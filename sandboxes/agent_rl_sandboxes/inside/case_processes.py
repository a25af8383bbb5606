"""One run for many cases: each has a process of its own, forked from the loaded program, and all of a case's budget.

The run's first process loads the program (of a whole program, it only compiles it, so that it never runs any of its
code). For each case it forks a child, waits for its end, and kills whatever the child has left running. The child
reads its own input, so that no case sees another's. What a case leaves in memory, standard streams, the working folder,
its environment and so on is gone with it; what it leaves in files or in the network cannot be undone here. Then the
run ends with GO_ON_EXIT, and the cases that are left get a run of their own.

Forks cost time. So calls that cannot leave anything behind (`lasting_state`) are answered together, in one process.
And a loaded program that a fork would not copy (its threads, its children, its open files) answers one call per run.

What comes first on the result channel may be the byte APART: each call is to be sent when the one before it is over
(case_watch.py). Without it, all may be sent at once. To save time, the server may send calls before it knows that:
"ahead" in the request is their size. Then APART also says that they have been thrown away, before the program began.

Then follow the frames: {"loaded": true} or {"load_error": text}, and one for each case. For a function it is that of
`program_calls`; for a whole program {"id", "value": exit code}, sent by the first process when nothing of the case is
left.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from agent_rl.vocabulary.canonical import decode
from agent_rl.vocabulary.held_values import value_frame
from agent_rl_sandboxes.inside import (
    case_traces,
    lasting_state,
    namespaces,
    preloading,
    program_calls,
    program_files,
    stdio_programs,
)
from agent_rl_sandboxes.inside.program_calls import MEMORY_EXIT, REQUEST, RESULTS

APART = b"\xff"
"""No frame is so long that its length could begin with this."""
GO_ON_EXIT = 90
"""Exit code of a run whose cases that are left have to go on in another run."""
SIGNALLED = 128
"""A run whose case was ended by a signal has this exit code plus the signal's number."""
_ANSWERED = 91
"""Exit code of a child that has sent its answer."""
_TOGETHER_SECONDS = 1.0
"""Calls may be answered together for so long; then a new run goes on. A call that meets a limit after others have used
up a part of it is due a run of its own."""
_KILL_SECONDS = 5.0
_PAUSE_SECONDS = 0.0002

# The program may replace what `os` holds.
_fork, _wait4, _kill, _leave = os.fork, os.wait4, os.kill, os._exit


def prepare(request: dict[str, Any]) -> None:
    """The program's file is there, and its forks call the hooks of the modules that were loaded before it."""
    preloading.register_fork_hooks()
    if "program" in request:
        program_files.place(request["program"], request["file"])


class CaseProcesses:
    """The work of the first process of a run with cases."""

    def __init__(self, isolation: str) -> None:
        self._isolation = isolation

    def functions(self, request: dict[str, Any], channel: int) -> int:
        """The exit code, after the program was loaded and its function called once per case."""
        count = request["calls"]
        try:
            code = compile(request["program"], request["file"], "exec", dont_inherit=True)
        except BaseException as error:
            prepare(request)
            return program_calls._load_error(error, channel, request)
        no_state = lasting_state.none_by_names(code)
        # Without state it has no use for its file, nor for processes.
        request["unprepared"] = no_state
        if not no_state:
            prepare(request)
        if not no_state and count > 1:
            _throw_away(request["ahead"])
            os.write(channel, APART)
        space = program_calls.load(code, request, channel)
        if isinstance(space, int):
            return space
        function = program_calls.called(space, request["entry_point"])
        if no_state and lasting_state.none_in(space):
            exit_code = program_calls._answer(function, _at_once(count, request["limits"]["output"]), channel, space)
            return exit_code or (0 if program_calls.sent_frames > count else GO_ON_EXIT)

        def answer() -> int:
            return program_calls._answer(function, (program_calls.read_call(),), channel, space)

        if count == 1:
            return answer()
        if not case_traces.can_fork():
            return answer() or GO_ON_EXIT
        # Not at the top: see `preloading.preload`.
        import random

        state = random.getstate()

        def answer_in_child() -> int:
            # Each fork reseeds it.
            random.setstate(state)
            return answer() or _ANSWERED

        return self._apart(request, answer_in_child, None)

    def programs(self, request: dict[str, Any], channel: int) -> int:
        """The exit code, after the program was executed once per case."""
        os.write(channel, APART)
        try:
            code = compile(request["program"], request["file"], "exec", dont_inherit=True)
        except BaseException as error:
            return program_calls._load_error(error, channel, request)
        # The cases have this process's user, and must not reach its channel.
        namespaces.hide()
        program_calls._send(channel, '{"loaded": true}')
        ids = iter(request["ids"])

        def execute() -> int:
            namespaces.show()
            stdin = decode(program_calls.read_call()[1])
            os.closerange(RESULTS, REQUEST + 1)
            return stdio_programs.run_case(code, request["file"], stdin, request["seed"])

        def report(exit_code: int) -> None:
            program_calls._send(channel, value_frame(next(ids), exit_code))

        return self._apart(request, execute, report)

    def _apart(self, request: dict[str, Any], work: Callable[[], int], report: Callable[[int], None] | None) -> int:
        """The exit code, after a child has done `work` for each case. `report` gets the exit code of each child.

        Without `report` a child has to send its own answer.
        """
        if self._isolation != "namespaces":
            namespaces.adopt_orphans()
        # A child would print again what waits to be printed.
        program_calls._flush()
        traces = case_traces.CaseTraces()
        flags = case_traces.stream_flags()
        count = request["calls"]
        for number in range(count):
            if not _next_has_come():
                return GO_ON_EXIT
            pid = _fork()
            if pid == 0:
                _be_case(traces, work)
            exit_code = _await_end(pid, request["limits"]["cpu"])
            if exit_code == MEMORY_EXIT or exit_code >= SIGNALLED:
                return exit_code
            if not self._end_others():
                return GO_ON_EXIT
            case_traces.set_stream_flags(flags)
            if report is not None:
                report(exit_code)
            elif exit_code != _ANSWERED:
                return 1 if exit_code == GO_ON_EXIT else exit_code
            if number + 1 < count and traces.seen():
                return GO_ON_EXIT
        return 0

    def _end_others(self) -> bool:
        """Whether all other processes of the run have been ended in time."""
        over = time.monotonic() + _KILL_SECONDS
        while self._kill_others():
            try:
                while _wait4(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                continue
            if time.monotonic() > over:
                return False
            time.sleep(_PAUSE_SECONDS)
        return True

    def _kill_others(self) -> bool:
        """Whether there were any. Ended ones count until they are reaped."""
        if self._isolation == "namespaces":
            try:
                _kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                return False
            return True
        # All of them are descendants of this process, which adopts their orphans.
        children = case_traces.children()
        if children and self._isolation == "uid":
            _kill(-1, signal.SIGKILL)
        for pid in children:
            # (The server, and what else is in the container, may have the same user.)
            _kill(pid, signal.SIGKILL)
        return bool(children)


def _at_once(count: int, most: int) -> Iterator[program_calls.SentCall]:
    """Yields the calls that this process may answer one after the other, as long as there is time, and `most` bytes."""
    over = time.monotonic() + _TOGETHER_SECONDS
    for number, call in enumerate(program_calls.read_calls()):
        yield call
        if number + 1 == count or time.monotonic() > over or program_calls.sent_bytes > most:
            return


def _throw_away(size: int) -> None:
    """So many bytes were read from the request channel, and no memory of this process holds them."""
    if not size:
        return
    # Not at the top: a run that needs no memory of its own has no use for it.
    import mmap

    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory, memoryview(memory) as view:
        at = 0
        while at < size:
            count = os.readv(REQUEST, [view[at:]])
            if not count:
                return
            at += count


def _next_has_come() -> bool:
    """Waits for the next case; False if the server sends no more to this run."""
    poll = select.poll()
    poll.register(REQUEST, select.POLLIN)
    return bool(poll.poll()[0][1] & select.POLLIN)


def _be_case(traces: case_traces.CaseTraces, work: Callable[[], int]) -> NoReturn:
    """In a child: does the work of one case, and ends."""
    code = 1
    try:
        namespaces.die_with_parent()
        traces.close()
        os.setsid()
        program_calls.own_channel()
        code = work()
    except SystemExit as end:
        code = program_calls._exit_code(end)
    except MemoryError:
        code = MEMORY_EXIT
    finally:
        program_calls._flush()
        _leave(code)


def _await_end(pid: int, cpu: float) -> int:
    """The exit code of the child, or SIGNALLED plus the signal that has ended it. Orphans are reaped meanwhile."""
    while True:
        ended, status, usage = _wait4(-1, 0)
        if ended == pid:
            break
    if not os.WIFSIGNALED(status):
        code = os.WEXITSTATUS(status)
        return 1 if code >= SIGNALLED else code
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL and usage.ru_utime + usage.ru_stime >= cpu:
        # It ignored the first signal of its limit.
        number = signal.SIGXCPU
    return SIGNALLED + number
