"""The work of a run's own process: load the program as module `solution`, call it, and send the result of each call.

The process belongs to the candidate: its program can read and change everything here. So this module holds no secrets
and decides nothing, and its output is checked outside before it is believed.

A request is a JSON object {"program", "file", "entry_point", "calls": [[id, arguments]...], "seed", "stdin"}; file is
the path where the program lies, arguments are the canonical text of [args, kwargs], stdin is in base64. (In a worker,
"calls" is their number, and each follows in a message of its own, see case_processes.py.) The output is length-prefixed
(32 bits, big-endian) frames: {"loaded": true} or {"load_error": text}, then for each call, in order, {"id", "value"},
{"id", "error"} or {"id", "unheld"}.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

# `signal` looks up the members of its enumerations at each call.
import _signal  # pyright: ignore[reportMissingImports]
import base64
import gc
import io
import json
import os
import struct
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from agent_rl.vocabulary.canonical import read
from agent_rl.vocabulary.held_values import error_frame, value_frame
from agent_rl.vocabulary.stand_ins import Record
from agent_rl_sandboxes.inside import program_files

RESULTS, REQUEST = 3, 4
"""File descriptors of a run's process beside 0, 1 and 2."""
MEMORY_EXIT = 86
"""Exit code of a run whose program was stopped by a MemoryError."""

_write = os.write
_exit = os._exit
_getpid = os.getpid
_owner = 0
sent_frames = sent_bytes = 0
"""How much this process has sent."""
_prefix = struct.Struct(">I").pack


def read_request() -> dict[str, Any]:
    """In a run's process: waits for the request and returns it."""
    size: int = struct.unpack(">I", read_exactly(REQUEST, 4))[0]
    request: dict[str, Any] = json.loads(read_exactly(REQUEST, size))
    if "role" not in request and not request["calls"]:
        os.close(REQUEST)
    return request


SentCall = Sequence[str]
"""[id, arguments]. Its message is its length, then both, with an end of line between them."""


def read_call() -> SentCall:
    """Waits for the next message with a call."""
    size: int = struct.unpack(">I", read_exactly(REQUEST, 4))[0]
    return read_exactly(REQUEST, size).decode("utf-8", "surrogatepass").split("\n", 1)


def read_exactly(descriptor: int, size: int) -> bytes:
    """The next `size` bytes. Ends the process at the end of input."""
    parts: list[bytes] = []
    while size:
        part = os.read(descriptor, size)
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_calls() -> Iterator[SentCall]:
    """Yields the next messages with calls, until they end; reads as many at once as have come."""
    data, at = b"", 0
    while True:
        end = at + 4
        if end <= len(data):
            end += struct.unpack_from(">I", data, at)[0]
            if end <= len(data):
                yield data[at + 4 : end].decode("utf-8", "surrogatepass").split("\n", 1)
                at = end
                continue
        # At least what the next message needs, so that a long one is not copied again and again.
        parts = [data[at:]]
        missing = max(end - len(data), 1)
        while missing > 0:
            part = os.read(REQUEST, max(missing, 1 << 16))
            if not part:
                return
            parts.append(part)
            missing -= len(part)
        data, at = b"".join(parts), 0


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


def own_channel() -> None:
    """From now on this process may send, and what it forks may not."""
    global _owner
    _owner = _getpid()


def execute(request: dict[str, Any], channel: int, run: Callable[[dict[str, Any], int], int] | None = None) -> NoReturn:
    """Ends the process with the exit code of `run` (None: `call_functions`), unless the program ends it first."""
    own_channel()
    if "stdin" in request:
        set_stdin(base64.b64decode(request["stdin"]))
    # Not at the top: see `preloading.preload`.
    import random

    random.seed(request["seed"])
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    gc.enable()
    code = 1
    try:
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
    try:
        code = compile(request["program"], request["file"], "exec", dont_inherit=True)
    except BaseException as error:
        return _load_error(error, channel, request)
    space = load(code, request, channel)
    if isinstance(space, int):
        return space
    return _answer(called(space, request["entry_point"]), request["calls"] or (), channel, space)


def load(code: types.CodeType, request: dict[str, Any], channel: int) -> dict[str, Any] | int:
    """The names of the loaded program, after the frame that says so; an exit code if nothing is left to be done."""
    entry_point = request["entry_point"]
    name = "solution" if entry_point is not None else "__main__"
    path = request["file"]
    module = program_files.empty_module(name, path)
    sys.modules[name] = sys.modules["__main__"] = module
    sys.argv = [path]
    exit_code = None
    try:
        exec(code, module.__dict__)
    except SystemExit as end:
        if entry_point is not None:
            raise
        exit_code = _exit_code(end)
    except BaseException as error:
        if entry_point is None and sys.excepthook is not sys.__excepthook__ and not uncaught(error):
            _end_of_program()
            return 0
        return _load_error(error, channel, request)
    if entry_point is None:
        # Not while an exception is handled, whose frames hold all objects.
        _end_of_program()
        if exit_code is None:
            _send(channel, '{"loaded": true}')
        del module
        drop_program()
        return exit_code or 0
    if called(module.__dict__, entry_point) is None:
        _send(channel, json.dumps({"load_error": f"NameError: the program defines no {entry_point!r}"}))
        return 1
    _send(channel, '{"loaded": true}')
    return module.__dict__


def called(space: dict[str, Any], entry_point: str) -> Any:
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


def _answer(function: Any, calls: Iterable[SentCall], channel: int, space: dict[str, Any]) -> int:
    """The exit code after one frame for each call. Each result is encoded at once, since later calls may change it."""
    for call_id, arguments in calls:
        args, kwargs = read(arguments)
        try:
            if '{"r":' in arguments:
                args, kwargs = _revived(args, space), _revived(kwargs, space)
            frame = value_frame(call_id, function(*args, **kwargs))
        except SystemExit:
            raise
        except MemoryError:
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


def _load_error(error: BaseException, channel: int, request: dict[str, Any]) -> int:
    _send(channel, json.dumps({"load_error": _describe(error)}))
    if type(error) is MemoryError:
        return MEMORY_EXIT
    if request.get("unprepared"):
        # The traceback shows lines of the file.
        program_files.place(request["program"], request["file"])
    show_error(error)
    return 1


def show_error(error: BaseException) -> None:
    """The error is on standard error, as an interpreter shows it, as far as the program allows that."""
    try:
        sys.__excepthook__(type(error), error, error.__traceback__)
    except BaseException:
        return


def uncaught(error: BaseException) -> int:
    """The exit code after an exception that ends a whole program; a `sys.excepthook` of its own is called first."""
    hook = sys.excepthook
    if hook is sys.__excepthook__:
        show_error(error)
        return 1
    try:
        hook(type(error), error, error.__traceback__)
    except SystemExit as end:
        return _exit_code(end)
    except BaseException as raised:
        show_error(raised)
        show_error(error)
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


def drop_program() -> None:
    """The program's objects are gone, as they are when an interpreter has ended: what they did not write is written."""
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    sys.modules.pop("__main__", None)
    _flush_files()
    gc.collect()
    _flush()
    ctypes = sys.modules.get("ctypes")
    try:
        if ctypes is not None:
            # The buffers of C's own streams.
            ctypes.CDLL(None).fflush(None)
    except BaseException:
        return


def _flush_files() -> None:
    """All open files hold what was written to them. (A collection may close one before the buffer in front of it.)"""
    for kind in (io.TextIOWrapper, io.BufferedWriter):
        for file in [found for found in gc.get_objects() if issubclass(type(found), kind)]:
            try:
                file.flush()
            except BaseException:
                continue


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
    global sent_frames, sent_bytes
    if _getpid() != _owner:
        # This is a child that the program forked and did not end.
        _flush()
        _exit(0)
    data = frame.encode("utf-8", "surrogatepass")
    data = _prefix(len(data)) + data
    sent_frames += 1
    sent_bytes += len(data)
    while data:
        data = data[_write(channel, data) :]
