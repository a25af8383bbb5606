"""Executes a whole program for one case, in the case's own process, as an interpreter executes a script.

It has its own `__main__` and standard streams. It ends as an interpreter ends: it waits for threads, calls atexit
functions, and flushes output. A program may end its process by itself at any time.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import atexit
import sys
import threading
import types
from typing import Any

from agent_rl_sandboxes.inside import program_calls, program_files


def run_case(code: types.CodeType, path: str, stdin: str | bytes, seed: int) -> int:
    """The exit code of the program, after it was executed with `stdin` to read; MEMORY_EXIT after a MemoryError."""
    # Not at the top: the server imports it before all runs.
    import random

    random.seed(seed)
    program_calls.set_stdin(stdin if isinstance(stdin, bytes) else stdin.encode("utf-8", "surrogatepass"))
    sys.stdin = sys.__stdin__ = _text(0, "r")
    sys.stdout = sys.__stdout__ = _text(1, "w")
    sys.stderr = sys.__stderr__ = _text(2, "w")
    module = program_files.empty_module("__main__", path)
    sys.modules["__main__"] = module
    sys.argv = [path]
    exit_code = 0
    try:
        exec(code, module.__dict__)
    except SystemExit as end:
        exit_code = program_calls._exit_code(end)
    except MemoryError:
        exit_code = program_calls.MEMORY_EXIT
    except BaseException as raised:
        exit_code = program_calls.uncaught(raised)
    try:
        _end_threads()
        atexit._run_exitfuncs()
    except BaseException:
        exit_code = exit_code or 1
    program_calls._flush()
    del module
    program_calls.drop_program()
    return exit_code


def _text(descriptor: int, mode: str) -> Any:
    """A standard stream as an interpreter opens it; closing it leaves the descriptor alone."""
    errors = "backslashreplace" if descriptor == 2 else "surrogateescape"
    return open(descriptor, mode, encoding="utf-8", errors=errors, newline="\n", closefd=False)


def _end_threads() -> None:
    """The program's threads have ended, except for daemons, and its thread pools are shut down."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    if pools is not None:
        pools._python_exit()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
