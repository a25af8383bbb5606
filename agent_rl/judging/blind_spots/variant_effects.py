"""What a variant of an oracle solution does beside returning values: it prints, draws random numbers, moves the clock.

This module also runs inside the sandboxes: standard library only, Python 3.9, and no import of other modules of ours.
"""

import contextlib
import os
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

_DEPTH = 700
"""Frames of the variant that recurses: more than a test leaves that lowers the limit of 1,000, less than that limit."""
_LARGE = 64 << 20
_moved = [0.0]
TAKES_LONG = "takes an hour"
VARIABLES = ["AGENT_RL_VARIANT"]
"""Names of environment variables, also those that the tests name."""


def _prints() -> None:
    print("agent-rl")


def _prints_errors() -> None:
    print("agent-rl", file=sys.stderr)


def _warns() -> None:
    import warnings

    warnings.warn("agent-rl", UserWarning, stacklevel=4)


def _warns_of_deprecation() -> None:
    import warnings

    warnings.warn("agent-rl", DeprecationWarning, stacklevel=4)


def _logs() -> None:
    import logging

    logging.getLogger("agent-rl").critical("agent-rl")


def _draws() -> None:
    import random

    random.random()


def _sets_environment() -> None:
    for name in VARIABLES:
        os.environ[name] = os.environ.get(name, "") + "1"


def _sets_recursion_limit() -> None:
    sys.setrecursionlimit(sys.getrecursionlimit() + 7)


def _changes_folder() -> None:
    os.chdir("/")


def _leaves_file() -> None:
    with open("agent-rl-variant", "w") as file:
        file.write("1")


def _leaves_temporary_file() -> None:
    import tempfile

    descriptor, _ = tempfile.mkstemp()
    os.close(descriptor)


def _recurses(depth: int = _DEPTH) -> None:
    if depth:
        _recurses(depth - 1)


def _takes_long() -> None:
    _moved[0] += 3600.0


def _takes_memory() -> None:
    bytearray(_LARGE)


def _imports() -> None:
    sys.modules.setdefault("agent_rl_variant", types.ModuleType("agent_rl_variant"))


def _sets_precision() -> None:
    import decimal

    decimal.getcontext().prec += 1


def _sets_locale() -> None:
    import locale

    now = locale.setlocale(locale.LC_ALL)
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "C" if now != "C" else "C.UTF-8")


def _adds_import_path() -> None:
    sys.path.append("agent-rl-variant")


def _switches_collector() -> None:
    import gc

    gc.disable() if gc.isenabled() else gc.enable()


def _filters_warnings() -> None:
    import warnings

    # It matches none, so that the other kinds are still seen where all are tried at once.
    warnings.filterwarnings("ignore", message="agent-rl-variant")


def _adds_log_handler() -> None:
    import logging

    logging.getLogger().addHandler(logging.NullHandler())


def _handles_signals() -> None:
    import signal

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)


def _sets_mask() -> None:
    os.umask(os.umask(0) ^ 0o010)


def _leaves_thread() -> None:
    threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()


EFFECTS: "dict[str, Callable[[], None]]" = {
    "prints": _prints,
    "prints to standard error": _prints_errors,
    "warns": _warns,
    "warns of a deprecation": _warns_of_deprecation,
    "logs": _logs,
    "draws a random number": _draws,
    "sets an environment variable": _sets_environment,
    "sets the recursion limit": _sets_recursion_limit,
    "changes the working directory": _changes_folder,
    "leaves a file": _leaves_file,
    "leaves a temporary file": _leaves_temporary_file,
    "recurses deeply": _recurses,
    TAKES_LONG: _takes_long,  # the clocks say so
    "takes 64 MiB of memory": _takes_memory,
    "imports a module": _imports,
    "sets the decimal precision": _sets_precision,
    "sets the locale": _sets_locale,
    "adds to the import path": _adds_import_path,
    "switches the garbage collector": _switches_collector,
    "filters warnings": _filters_warnings,
    "adds a log handler": _adds_log_handler,
    "handles signals": _handles_signals,
    "sets the mask of new files": _sets_mask,
    "leaves a thread": _leaves_thread,
}


def move_clocks() -> None:
    """The clocks of `time` show what the kind "takes an hour" adds. Tests import them after the solution."""
    import time

    def moved(clock: "Callable[[], Any]", unit: int) -> "Callable[[], Any]":
        return lambda: clock() + type(clock())(_moved[0] * unit)

    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        for suffix, unit in (("", 1), ("_ns", 10**9)):
            setattr(time, name + suffix, moved(getattr(time, name + suffix), unit))
