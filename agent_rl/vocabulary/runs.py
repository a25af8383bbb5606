"""What a sandbox is made from and what a run in it may use: `SandboxSpec`, `Limits`, and their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Hardening = Literal["strict", "task_image"]
Network = Literal["none", "bridge"]
Isolation = Literal["memory", "container", "uid", "namespaces"]
"""Isolation between two runs. `memory` is the in-memory fake's and is refused outside tests."""

RunStatus = Literal["completed", "timeout", "out_of_memory", "output_limit", "crashed"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run: seconds, bytes and counts. Exceeding one is a status, not an exception."""

    wall_seconds: float = 5.0
    cpu_seconds: float = 5.0
    memory_bytes: int = 512 * 2**20
    processes: int = 64
    disk_bytes: int = 64 * 2**20
    inodes: int = 4096
    output_bytes: int = 1 * 2**20
    """Of each of: the result channel, standard output, standard error."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What a sandbox is made from. `image` None is the provider's default image."""

    image: str | None = None
    build_folder: str | None = None
    workdir: str = "/work"
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
    """What a command in a sandbox did. Output is bytes, cut at the limit; `exit_code` None unless completed."""

    status: RunStatus
    exit_code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class RunCall:
    """One call of the entry point: a random id and the canonical JSON text of [args, kwargs].

    Without an entry point, one execution of the whole program: the text of what it can read, a str or bytes.
    """

    id: str
    arguments: str


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run of a program in a place that nothing else has touched.

    The program's source is executed as a module; then `entry_point` is called once per entry of `calls`, in order.
    With `entry_point` None the module runs as `__main__`: once, with `stdin` to read; or once per entry of `calls`, in
    order and in one process, each time with input, output, globals and exit code of its own.
    """

    program: str
    entry_point: str | None = None
    calls: tuple[RunCall, ...] = ()
    stdin: bytes = b""
    limits: Limits = Limits()
    seed: int = 0
    """Seed of Python's `random` (and hash seed where the run starts its own interpreter)."""


@dataclass(frozen=True, slots=True)
class PairRequest:
    """Two runs that talk with each other: a program as module `module`, and hidden tests that use it from outside.

    The program's process never sees the tests' files or their memory; see `agent_rl.judging.proxied.proxy_messages`.
    """

    program: str
    files: Mapping[str, bytes]
    """The tests: path relative to the working directory -> content."""
    tests: tuple[str, ...] = ()
    """The node ids to run; empty: all that are found."""
    module: str = "solution"
    objects: tuple[str, ...] | None = None
    """The access paths on which the program may give objects; None: all, and the tests' run says which it saw."""
    limits: Limits = Limits()
    """Of the program's run; the tests' has the same, and a little longer to say so where they run out."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did, as seen from outside it: nothing in `frames` is to be believed before it is checked.

    frames: JSON texts that arrived on the result channel, in order, each as the run wrote it:
        {"id": ..., "value": canonical} | {"id": ..., "error": text} | {"loaded": true} | {"load_error": text}
        and at most `Limits.output_bytes` of them in all. Where a program was executed once per call, the value is
        (exit code, "Type: message" or None), and what that execution printed ends in `stdout` with NUL, id, NUL.
    signal, exit_code: of the run's first process.
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


@dataclass(frozen=True, slots=True)
class PairResult:
    """What two runs that talked with each other did.

    candidate: how the program's run ended ("completed" with no exit code where the tests had ended first). Its
        `anomalies` say what it sent that nobody had asked for; it has no frames.
    tests: how the tests' run ended; its frames are what it had to say to the judge
    (`agent_rl.judging.proxied.tests_runner`).
    """

    candidate: RunResult
    tests: RunResult
