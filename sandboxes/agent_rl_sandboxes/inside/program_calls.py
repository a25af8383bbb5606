"""The work of a run's own process: load the program as module `solution`, call it, and send the result of each call.

The process belongs to the candidate: its program can read and change everything here. So this module holds no secrets
and decides nothing, and its output is checked outside before it is believed.

A request is a JSON object {"program", "entry_point", "calls": [[id, arguments]...], "seed", "stdin"}; arguments are
the canonical text of [args, kwargs], stdin is in base64. The output is length-prefixed (32 bits, big-endian) frames:
{"loaded": true} or {"load_error": text}, then for each call, in order, {"id", "value"}, {"id", "error"} or
{"id", "unheld"}.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import base64
import gc
import json
import linecache
import os
import signal
import struct
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from agent_rl.vocabulary.canonical import decode
from agent_rl.vocabulary.held_values import error_frame, value_frame
from agent_rl.vocabulary.stand_ins import Record

RESULTS, REQUEST = 3, 4
"""File descriptors of a run's process beside 0, 1 and 2."""
MEMORY_EXIT = 86
"""Exit code of a run whose program was stopped by a MemoryError."""

PRELOADED = (
    "abc",
    "array",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "inspect",
    "io",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "queue",
    "random",
    "re",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "threading",
    "time",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "warnings",
    "zlib",
)
"""Imported before the fork, so that importing them costs a run nothing."""

_write = os.write
_exit = os._exit
_owner = 0
_prefix = struct.Struct(">I").pack


def read_request() -> dict[str, Any]:
    """In a run's process: waits for the request and returns it."""
    size: int = struct.unpack(">I", _read_exactly(REQUEST, 4))[0]
    request: dict[str, Any] = json.loads(_read_exactly(REQUEST, size))
    if "role" not in request:
        os.close(REQUEST)
    return request


def _read_exactly(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.read(descriptor, size)
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def set_stdin(data: bytes) -> None:
    """Standard input is an unnamed file with `data` on the run's own disk."""
    if not data:
        return
    descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    at = 0
    while at < len(data):
        at += os.write(descriptor, data[at:])
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.dup2(descriptor, 0)
    os.close(descriptor)


def execute(request: dict[str, Any], channel: int, run: Callable[[dict[str, Any], int], int] | None = None) -> NoReturn:
    """Ends the process with the exit code of `run` (None: `call_functions`), unless the program ends it first."""
    global _owner
    _owner = os.getpid()
    if "stdin" in request:
        set_stdin(base64.b64decode(request["stdin"]))
    # Not at the top: see `preloading.preload`.
    import random

    random.seed(request["seed"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    code = 1
    try:
        program = request["program"]
        linecache.cache["solution.py"] = (len(program), None, program.splitlines(True), "solution.py")
        code = (run or call_functions)(request, channel)
    except SystemExit as end:
        code = _exit_code(end)
    except MemoryError:
        code = MEMORY_EXIT
    finally:
        _flush()
        _exit(code)


def call_functions(request: dict[str, Any], channel: int) -> int:
    """The exit code, after the program was loaded and called. A SystemExit anywhere in the program ends the run."""
    entry_point = request["entry_point"]
    program = request["program"]
    name = "solution" if entry_point is not None else "__main__"
    module = types.ModuleType(name)
    module.__file__ = "solution.py"
    sys.modules[name] = sys.modules["__main__"] = module
    sys.argv = ["solution.py"]
    try:
        exec(compile(program, "solution.py", "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        if entry_point is None:
            _end_of_program()
        raise
    except BaseException as error:
        return _load_error(error, channel)
    if entry_point is None:
        _end_of_program()
        _send(channel, '{"loaded": true}')
        return 0
    function = _called(module.__dict__, entry_point)
    if function is None:
        _send(channel, json.dumps({"load_error": f"NameError: the program defines no {entry_point!r}"}))
        return 1
    _send(channel, '{"loaded": true}')
    return _answer(function, request["calls"], channel, module.__dict__)


def _called(space: dict[str, Any], entry_point: str) -> Any:
    """What a call of "f" or "Solution.f" calls; None if the program defines neither function nor class.

    A method is called on an object of its own each time. "f" is first of all the function, "Solution.f" the method.
    """
    if entry_point in space:
        return space[entry_point]
    owner, _, name = entry_point.rpartition(".")
    kind = space.get(owner or "Solution")
    if isinstance(kind, type) and hasattr(kind, name):
        return lambda *args, **kwargs: getattr(kind(), name)(*args, **kwargs)
    return space.get(name)


def _answer(function: Any, calls: list[list[str]], channel: int, space: dict[str, Any]) -> int:
    """The exit code after one frame for each call. Each result is encoded at once, since later calls may change it."""
    for call_id, arguments in calls:
        args, kwargs = decode(arguments)
        try:
            if '{"r":' in arguments:
                args, kwargs = _revived(args, space), _revived(kwargs, space)
            frame = value_frame(call_id, function(*args, **kwargs))
        except SystemExit:
            raise
        except MemoryError as error:
            _send(channel, error_frame(call_id, error))
            return MEMORY_EXIT
        except BaseException as error:
            frame = error_frame(call_id, error)
        _send(channel, frame)
    return 0


def _revived(value: Any, space: dict[str, Any]) -> Any:
    """`value` with each record replaced by an instance of the program's dataclass of the same name and fields."""
    import dataclasses

    kind: Any = type(value)
    if kind in (list, tuple, set, frozenset):
        return kind(_revived(item, space) for item in value)
    if kind is dict:
        return {_revived(k, space): _revived(v, space) for k, v in value.items()}
    made = space.get(value.name) if kind is Record else None
    if not isinstance(made, type) or not dataclasses.is_dataclass(made):
        return value
    fields = {name: _revived(content, space) for name, content in value.fields}
    if [f.name for f in dataclasses.fields(made)] != list(fields):
        return value
    revived = made(**{f.name: fields[f.name] for f in dataclasses.fields(made) if f.init})
    for f in dataclasses.fields(made):
        if not f.init:
            object.__setattr__(revived, f.name, fields[f.name])
    return revived


def _load_error(error: BaseException, channel: int) -> int:
    _send(channel, json.dumps({"load_error": _describe(error)}))
    if type(error) is MemoryError:
        return MEMORY_EXIT
    try:
        sys.__excepthook__(type(error), error, error.__traceback__)
    except BaseException:
        return 1
    return 1


def _describe(error: BaseException) -> str:
    """ "Type: message", truncated. The message comes from the program's code, which may raise."""
    name = str(type(error).__name__)
    try:
        text = str(error)
        if type(error) is SyntaxError and error.lineno is not None:
            text = f"{error.msg} (line {error.lineno})"
    except BaseException:
        text = "(its message could not be had)"
    return f"{name}: {text}"[:2000]


def _end_of_program() -> None:
    """Does what an interpreter does after a script's last line: waits for its threads, calls its atexit functions."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


def _exit_code(end: SystemExit) -> int:
    """The interpreter's rule: 0 for None, a number for itself (modulo 256), else 1, and the value is printed."""
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    try:
        print(end.code, file=sys.stderr)
    except BaseException:
        return 1
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except BaseException:
            continue


def _send(channel: int, frame: str) -> None:
    if os.getpid() != _owner:
        # This is a child that the program forked and did not end.
        _flush()
        _exit(0)
    data = frame.encode("utf-8", "surrogatepass")
    data = _prefix(len(data)) + data
    while data:
        data = data[_write(channel, data) :]
