"""Specifications and results of sandboxes and of runs in them: `SandboxSpec`, `Limits`, requests and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Hardening = Literal["strict", "task_image"]
Network = Literal["none", "bridge"]
Isolation = Literal["memory", "container", "uid", "namespaces"]
"""Isolation between two runs. `memory` is the level of the in-memory fake; it is refused outside tests."""

PARTS = 3
"""A run with calls takes at most so many times the time of one: loading, the calls before the last, and the last."""
PATIENCE = 8
"""A run that has no processor for part of its time may take so many times its limit: see `Limits.longest_seconds`."""
RunStatus = Literal["completed", "timeout", "out_of_memory", "output_limit", "crashed"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one case, or of a run that has no cases: seconds, bytes and counts.

    Exceeding one is a status, not an exception. Loading a program has the limits of one case too.
    """

    wall_seconds: float = 5.0
    """Time in which the run is ready to run, and has no processor, does not count."""
    cpu_seconds: float = 5.0
    memory_bytes: int = 512 * 2**20
    processes: int = 64
    disk_bytes: int = 64 * 2**20
    inodes: int = 4096
    output_bytes: int = 1 * 2**20
    """Applies separately to the result channel, standard output and standard error."""

    @property
    def longest_seconds(self) -> float:
        """When a run ends, however little of that time it had a processor."""
        return PATIENCE * self.wall_seconds


DEFAULT_WORKDIR = "/work"


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """The specification of a sandbox. `image` None is the provider's default image."""

    image: str | None = None
    build_folder: str | None = None
    workdir: str = DEFAULT_WORKDIR
    """Empty: the WORKDIR of the image, or /work if it names none."""
    user: str | None = None
    cpus: float = 1.0
    memory_bytes: int = 1 * 2**30
    disk_bytes: int = 256 * 2**20
    inodes: int = 65536
    processes: int = 128
    output_bytes: int = 1 * 2**20
    network: Network = "none"
    hardening: Hardening = "strict"
    lifetime_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The outcome of a command in a sandbox. Output is cut at the limit; `exit_code` is None unless completed.

    cpu_seconds, waited_seconds: of a command that exceeded its time, as in `RunResult`; else 0.
    """

    status: RunStatus
    exit_code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    truncated: bool = False
    cpu_seconds: float = 0.0
    waited_seconds: float | None = 0.0


@dataclass(frozen=True, slots=True)
class RunCall:
    """One call of the entry point: a random id and the canonical JSON text of [args, kwargs].

    Without an entry point it is one execution of the whole program: a random id and the canonical text of the
    program's standard input, a str or bytes.
    """

    id: str
    arguments: str


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run of a program in a clean place that no other run has touched.

    The program's source is executed as a module; then `entry_point` is called once per entry of `calls`, in order. It
    names a function, or else a method of the class `Solution`, which is called on a new object each time; "Solution.f"
    names first of all the method.
    With `entry_point` None the module runs as `__main__`. If `calls` is empty, it runs once, with `stdin` as its input.
    Otherwise it runs once per entry of `calls`, in order, each time with its own input, output and exit code.

    The limits are those of each call. Nothing that a call leaves behind is there for the next. If that, or the length
    of the whole, demands another run, the calls that are left have no answers, and the result is `unfinished`.
    """

    program: str
    entry_point: str | None = None
    calls: tuple[RunCall, ...] = ()
    stdin: bytes = b""
    limits: Limits = Limits()
    seed: int = 0
    """Seed of Python's `random`, and the hash seed if the run starts its own interpreter."""

    @property
    def longest_seconds(self) -> float:
        """The longest that the run may take."""
        return self.limits.longest_seconds * (PARTS if self.calls else 1)

    @property
    def most_output_bytes(self) -> int:
        """The most that each channel of the run may hold: what may have come before the last call, and its own."""
        return self.limits.output_bytes * (2 if self.calls else 1)


@dataclass(frozen=True, slots=True)
class PairRequest:
    """Two runs that exchange messages: a program as module `module`, and hidden tests that use it from outside.

    The program's process never sees the tests' files or their memory; see `agent_rl.judging.proxied.proxy_messages`.
    """

    program: str
    files: Mapping[str, bytes]
    """The tests: path relative to the working directory -> content."""
    tests: tuple[str, ...] = ()
    """The node ids to run; empty: all tests that are found."""
    module: str = "solution"
    objects: tuple[str, ...] | None = None
    """The access paths on which the program may return objects. None: all; the tests' run then reports which it saw."""
    limits: Limits = Limits()
    """Limits of the program's run. The tests' run has the same limits, and more time to report a timeout."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """The outcome of a run, as seen from outside it. `frames` are untrusted: check them before use.

    frames: JSON texts that arrived on the result channel, in order, each as the run wrote it:
        {"id": ..., "value": canonical} | {"id": ..., "error": canonical} | {"id": ..., "unheld": why} |
        {"loaded": true} | {"load_error": text}
        together at most `RunRequest.most_output_bytes`. If the program was executed once per call, the value is the
        exit code.
    signal, exit_code: of the run's first process, or of a call's if a signal has ended that.
    seconds: how long it ran, without `waited_seconds`.
    cpu_seconds: processor time of all its processes, as far as known.
    waited_seconds: how long it was ready to run and had no processor, since others had them all; None where the kernel
        does not say. (If a run with calls exceeded its time, both are those of the last call.)
    anomalies: signs of tampering that the worker server saw (an extra channel, a malformed frame length, ...).
    """

    status: RunStatus
    frames: tuple[str, ...]
    stdout: bytes
    stderr: bytes
    exit_code: int | None
    signal: int | None
    seconds: float
    isolation: Isolation
    anomalies: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    waited_seconds: float | None = 0.0
    ends: tuple[tuple[int, int], ...] = ()
    """For each frame of a run whose calls were kept apart, how long `stdout` and `stderr` were when it came: where the
    call's output ends. Empty if one process answered all calls."""
    slowest_seconds: float = 0.0
    """The longest that loading or one call took, or several that were read together; without calls, the whole run."""
    unfinished: bool = False
    """Whether the calls that were not answered are due another run: this one was ended before them, or one of them has
    failed after others had used up a part of its budget."""


@dataclass(frozen=True, slots=True)
class PairResult:
    """The outcome of the two runs of a `PairRequest`.

    candidate: how the program's run ended ("completed" with no exit code if the tests ended first). Its `anomalies`
        list the messages that it sent without being asked. It has no frames.
    tests: how the tests' run ended. Its frames are its report to the judge (`agent_rl.judging.proxied.tests_runner`).
    """

    candidate: RunResult
    tests: RunResult
