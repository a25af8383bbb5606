"""`InMemoryProvider`: sandboxes and runs inside this process, for unit tests with trusted programs.

It isolates nothing: its level is `memory`, which is refused outside tests. Only limits on sizes are enforced. A program
that does not end hangs the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import random
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from agent_rl.contracts.sandbox import Sandbox, SandboxProvider
from agent_rl.errors import SandboxError
from agent_rl.testing.in_memory_pair import run_pair_in_memory
from agent_rl.vocabulary import ExecResult, Isolation, PairRequest, PairResult, RunRequest, RunResult, SandboxSpec
from agent_rl.vocabulary.canonical import decode
from agent_rl.vocabulary.held_values import error_frame, value_frame

InMemoryCommand = Callable[[Sequence[str], bytes, dict[str, bytes]], ExecResult]
"""A scripted command: (argv, stdin, files by path, which it may change) -> its outcome."""


class InMemoryProvider(SandboxProvider):
    """Runs trusted programs in this process. Delays and failures are injected by the test.

    delay: extra seconds of a run. fail: the exception that the k-th run (from 0, in order of arrival) raises, or None.
    commands: program name -> what `Sandbox.exec` does; `python3 -c CODE` and `cat FILE` are built in.
    """

    name = "memory"

    def __init__(
        self,
        delay: Callable[[RunRequest], float] | None = None,
        fail: Callable[[int, RunRequest], Exception | None] | None = None,
        commands: Mapping[str, InMemoryCommand] | None = None,
    ) -> None:
        self._delay = delay
        self._fail = fail
        self._commands = dict(commands or {})
        self._open = False
        self._sandboxes: list[InMemorySandbox] = []
        self._arrivals = itertools.count()
        self.runs = 0
        """The number of requested runs."""

    async def start(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False
        for sandbox in self._sandboxes:
            await sandbox.close()

    @property
    def isolation(self) -> Isolation:
        return "memory"

    def sandbox(self, spec: SandboxSpec) -> InMemorySandbox:
        sandbox = InMemorySandbox(spec, self._commands)
        self._sandboxes.append(sandbox)
        return sandbox

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        if not self._open:
            raise SandboxError("the in-memory provider has not been started")
        arrival = next(self._arrivals)
        self.runs += 1
        await asyncio.sleep(0.0 if self._delay is None else self._delay(request))
        error = None if self._fail is None else self._fail(arrival, request)
        if error is not None:
            raise error
        return _run(request)

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        if not self._open:
            raise SandboxError("the in-memory provider has not been started")
        self.runs += 2
        return await asyncio.to_thread(run_pair_in_memory, request)

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "isolation": "memory", "why_not_higher": ["it runs everything in this process"]}


class InMemorySandbox(Sandbox):
    """A dictionary of files, and a few commands."""

    def __init__(self, spec: SandboxSpec, commands: Mapping[str, InMemoryCommand] | None = None) -> None:
        self._spec = spec
        self._commands: dict[str, InMemoryCommand] = {"python3": _python, "cat": _cat, **(commands or {})}
        self._closed = False
        self.files: dict[str, bytes] = {}
        """Content by path relative to the working directory."""

    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        self._check_open()
        name = PurePosixPath(command[0]).name
        if name not in self._commands:
            return ExecResult("completed", 127, b"", f"{command[0]}: No such file or directory\n".encode(), 0.0)
        return self._commands[name](command, stdin, self.files)

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        self._check_open()
        self.files.update({_inner_path(path): bytes(content) for path, content in files.items()})

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        self._check_open()
        try:
            return self.files[_inner_path(path)][:max_bytes]
        except KeyError:
            raise FileNotFoundError(f"no regular file {path!r} in the sandbox") from None

    async def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("the sandbox has been closed")


def _inner_path(path: str) -> str:
    pure = PurePosixPath(path)
    if not pure.parts or "\0" in path or pure.is_absolute() or ".." in pure.parts:
        raise ValueError(f"{path!r} is not a path inside the sandbox's working directory")
    return str(pure)


def _run(request: RunRequest) -> RunResult:
    """The result that a worker server would return for the run of a trusted program."""
    frames: list[str] = []
    started = time.perf_counter()
    state = random.getstate()
    random.seed(request.seed)
    ends: list[tuple[int, int]] = []
    try:
        with _captured(request.stdin) as (stdout, stderr):
            if request.entry_point is None and request.calls:
                exit_code, ends = 0, _execute_each(request, frames, stdout, stderr)
            else:
                exit_code = _execute(request, frames)
    finally:
        random.setstate(state)
    out, err = stdout.getvalue().encode("utf-8", "replace"), stderr.getvalue().encode("utf-8", "replace")
    kept: list[str] = []
    size = 0
    for frame in frames:
        size += 4 + len(frame.encode())
        if size <= request.limits.output_bytes:
            kept.append(frame)
    over = max(size, len(out), len(err)) > request.limits.output_bytes
    return RunResult(
        status="output_limit" if over else "completed",
        frames=tuple(kept),
        stdout=out[: request.limits.output_bytes],
        stderr=err[: request.limits.output_bytes],
        exit_code=exit_code,
        signal=None,
        seconds=time.perf_counter() - started,
        isolation="memory",
        ends=tuple(ends),
    )


def _execute_each(
    request: RunRequest, frames: list[str], stdout: io.StringIO, stderr: io.StringIO
) -> list[tuple[int, int]]:
    """Executes the program once per call, with the call's text as input. Frames and ends are those of `RunResult`."""
    frames.append('{"loaded": true}')
    ends = [(0, 0)]
    for call in request.calls:
        given = decode(call.arguments)
        sys.stdin = io.TextIOWrapper(io.BytesIO(given if isinstance(given, bytes) else given.encode()))
        own: list[str] = []
        exit_code = _execute(RunRequest(request.program), own)
        error = next((json.loads(f)["load_error"] for f in own if "load_error" in f), None)
        if error is not None:
            stderr.write(f"Traceback (most recent call last):\n{error}\n")
        frames.append(value_frame(call.id, exit_code))
        ends.append((_size(stdout), _size(stderr)))
    return ends


def _size(stream: io.StringIO) -> int:
    return len(stream.getvalue().encode("utf-8", "replace"))


def _execute(request: RunRequest, frames: list[str]) -> int:
    """The exit code that a separate process would have had. Its frames are appended to `frames`.

    The program is loaded again for each further call, so that no call sees what another has left in it.
    """
    name = "__main__" if request.entry_point is None else "solution"
    module = types.ModuleType(name)
    try:
        exec(compile(request.program, "solution.py", "exec", dont_inherit=True), module.__dict__)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        frames.append(json.dumps({"load_error": _describe(error)}))
        return 1
    function = None if request.entry_point is None else _called(module.__dict__, request.entry_point)
    if request.entry_point is not None and function is None:
        frames.append(json.dumps({"load_error": f"NameError: the program defines no {request.entry_point!r}"}))
        return 1
    frames.append('{"loaded": true}')
    if function is None:
        return 0
    state = random.getstate()
    for number, call in enumerate(request.calls):
        args, kwargs = decode(call.arguments)
        if number:
            module = types.ModuleType(name)
            exec(compile(request.program, "solution.py", "exec", dont_inherit=True), module.__dict__)
            function = _called(module.__dict__, str(request.entry_point))
            random.setstate(state)
        try:
            frames.append(value_frame(call.id, function(*args, **kwargs)))
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception as error:
            frames.append(error_frame(call.id, error))
    return 0


def _called(space: dict[str, Any], entry_point: str) -> Any:
    """What a call of "f" or "Solution.f" calls, as in a run (`inside/program_calls.py`); None if there is nothing."""
    if entry_point in space:
        return space[entry_point]
    owner, _, name = entry_point.rpartition(".")
    kind = space.get(owner or "Solution")
    if isinstance(kind, type) and hasattr(kind, name):
        return lambda *args, **kwargs: getattr(kind(), name)(*args, **kwargs)
    return space.get(name)


def _describe(error: Exception) -> str:
    if type(error) is SyntaxError:
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _captured(stdin: bytes):
    """In this context, buffers replace the standard streams of this process. Yields (output, errors)."""
    stdout, stderr = io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            yield stdout, stderr
    finally:
        sys.stdin = before


def _python(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
    """`python3 -c CODE` or `python3 FILE`, in this process."""
    started = time.perf_counter()
    arguments = list(command[1:])
    if arguments[:1] == ["-c"]:
        code = arguments[1]
    elif arguments and arguments[0] in files:
        code = files[arguments[0]].decode()
    else:
        message = f"python3: can't open file {os.fsdecode(arguments[0]) if arguments else '-'!r}\n"
        return ExecResult("completed", 2, b"", message.encode(), 0.0)
    frames: list[str] = []
    with _captured(stdin) as (stdout, stderr):
        exit_code = _execute(RunRequest(code), frames)
    text = stderr.getvalue() + "".join(json.loads(f)["load_error"] + "\n" for f in frames if "load_error" in f)
    return ExecResult("completed", exit_code, stdout.getvalue().encode(), text.encode(), time.perf_counter() - started)


def _cat(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
    """Files, or standard input, to standard output."""
    missing = [name for name in command[1:] if name not in files]
    out = b"".join(files[name] for name in command[1:] if name in files) if len(command) > 1 else stdin
    err = "".join(f"cat: {name}: No such file or directory\n" for name in missing)
    return ExecResult("completed", 1 if missing else 0, out, err.encode(), 0.0)
