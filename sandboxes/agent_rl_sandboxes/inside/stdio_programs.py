"""Runs whole programs with standard input and output: one process executes a program once per case.

Each execution has its own `__main__`, standard streams, working directory, environment and atexit functions. It ends
as an interpreter ends: it waits for threads, calls atexit functions, and flushes output. Changes that an execution
makes in imported modules, in files and in daemon threads are visible to the next one. Where that matters, isolate the
cases: each in its own run.

Output: all that an execution prints, then on standard output NUL, its id, NUL; and the frame
{"id", "value": (exit code, "Type: message" or None)}. If a program ends the process (`os._exit`), no execution
follows; the pool outside then sees its output and exit code.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import atexit
import builtins
import fcntl
import gc
import os
import signal
import sys
import threading
import types
from typing import Any

from agent_rl.vocabulary.canonical import decode
from agent_rl.vocabulary.held_values import value_frame
from agent_rl_sandboxes.inside import program_calls

_FREE = 10
"""The lowest number for descriptors that must stay open: a program may close the first few."""


def run_cases(request: dict[str, Any], channel: int) -> int:
    """The exit code, after the program of `request` was executed for each of its calls."""
    program = request["program"]
    try:
        code = compile(program, "solution.py", "exec", dont_inherit=True)
    except BaseException as error:
        return program_calls._load_error(error, channel)
    owner = os.getpid()
    start = _StartingState(request["seed"])
    for call_id, arguments in request["calls"]:
        start.restore(decode(arguments))
        exit_code, error = _execute(code)
        if os.getpid() != owner:
            # A child that the program forked has reached the program's end: it must not continue here.
            os._exit(exit_code)
        os.dup2(start.stdout, 1)
        _write(1, b"\0" + call_id.encode() + b"\0")
        program_calls._send(channel, value_frame(call_id, (exit_code, error)))
        if exit_code == program_calls.MEMORY_EXIT and error is not None:
            return program_calls.MEMORY_EXIT
    return 0


class _StartingState:
    """The state with which an interpreter starts, kept so that each execution can begin with it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.stdout, self._stderr = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FREE) for number in (1, 2))
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folder = fcntl.fcntl(folder, fcntl.F_DUPFD_CLOEXEC, _FREE)
        os.close(folder)
        self._builtins: Any = vars(builtins)
        self._own_builtins = dict(self._builtins)
        self._environment = dict(os.environ)
        self._path = list(sys.path)
        self._recursion = sys.getrecursionlimit()
        self._digits = sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else None

    def restore(self, stdin: Any) -> None:
        """The process is as at the start, with `stdin` (text or bytes) to read. Raises OSError."""
        # Not emptied first: nothing works without builtins.
        self._builtins.update(self._own_builtins)
        for name in [name for name in self._builtins if name not in self._own_builtins]:
            del self._builtins[name]
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        os.fchdir(self._folder)
        sys.path[:] = self._path
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(self._recursion)
        if self._digits is not None:
            sys.set_int_max_str_digits(self._digits)
        threading.stack_size(0)
        signal.alarm(0)
        sys.modules.pop("fileinput", None)
        decimal: Any = sys.modules.get("decimal")
        if decimal is not None:
            decimal.setcontext(decimal.DefaultContext.copy())
        # Not at the top: the server imports it before all runs.
        import random

        random.seed(self._seed)
        gc.enable()
        self._streams(stdin if type(stdin) is bytes else stdin.encode("utf-8", "surrogatepass"))

    def _streams(self, stdin: bytes) -> None:
        os.dup2(self.stdout, 1)
        os.dup2(self._stderr, 2)
        nothing = os.open(os.devnull, os.O_RDONLY)
        if nothing != 0:
            os.dup2(nothing, 0)
            os.close(nothing)
        program_calls.set_stdin(stdin)
        sys.stdin = sys.__stdin__ = _text(0, "r")
        sys.stdout = sys.__stdout__ = _text(1, "w")
        sys.stderr = sys.__stderr__ = _text(2, "w")


def _text(descriptor: int, mode: str) -> Any:
    """A standard stream as an interpreter opens it; closing it leaves the descriptor alone."""
    errors = "backslashreplace" if descriptor == 2 else "surrogateescape"
    return open(descriptor, mode, encoding="utf-8", errors=errors, newline="\n", closefd=False)


def _execute(code: types.CodeType) -> tuple[int, str | None]:
    """Exit code and error of one execution, which ends as an interpreter ends a script."""
    module = types.ModuleType("__main__")
    module.__file__ = "solution.py"
    sys.modules["__main__"] = module
    sys.argv = ["solution.py"]
    exit_code, error = 0, None
    try:
        exec(code, module.__dict__)
    except SystemExit as end:
        exit_code = program_calls._exit_code(end)
    except MemoryError:
        exit_code, error = program_calls.MEMORY_EXIT, "MemoryError"
    except BaseException as raised:
        exit_code, error = 1, program_calls._describe(raised)
        try:
            sys.__excepthook__(type(raised), raised, raised.__traceback__)
        except BaseException:
            exit_code = 1
    try:
        _end_threads()
        atexit._run_exitfuncs()
    except BaseException:
        exit_code = exit_code or 1
    program_calls._flush()
    return exit_code, error


def _end_threads() -> None:
    """The program's threads have ended, except for daemons, and its thread pools are shut down."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    if pools is not None:
        pools._python_exit()
        pools._shutdown = False
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
