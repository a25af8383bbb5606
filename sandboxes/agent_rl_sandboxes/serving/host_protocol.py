"""What a host and its clients agree on: version, paths, headers, and the kinds of errors with their status codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent_rl.vocabulary import Isolation, PairRequest, RunRequest, SandboxSpec

PROTOCOL = 1
PREFIX = f"/v{PROTOCOL}"
VERSION_HEADER = "Agent-RL-Protocol"
"""Required below the prefix. A browser does not send it unasked, so no web page can make a browser use a host."""
SESSION_HEADER = "Agent-RL-Session"
"""The session that a request belongs to. A session's work ends when its client is not heard of for the lease."""
DEADLINE_HEADER = "Agent-RL-Deadline"
"""Seconds that the client waits for the answer, from the arrival of the request."""

FRESH_PER_WORKER = 2
"""Per worker: how many runs in workers made for them alone a host takes at a time, besides those in warm workers."""
OVERHEAD_SECONDS = 90.0
"""What an answer may take beyond the program's own limit: waiting for a worker, making one, ending a run."""
UPLOAD_SECONDS = 120.0
"""What moving files in or out may take."""

ErrorKind = Literal[
    "malformed",
    "protocol",
    "unauthorized",
    "forbidden",
    "route",
    "too_large",
    "busy",
    "draining",
    "session",
    "sandbox_gone",
    "value",
    "config",
    "file",
    "os",
    "sandbox",
    "sandbox_start",
    "tests_place",
    "deadline",
    "internal",
]

STATUS: dict[ErrorKind, int] = {
    "malformed": 400,  # not what the protocol says; nothing was done
    "protocol": 400,  # another version
    "unauthorized": 401,
    "forbidden": 403,  # sent by a web page
    "route": 404,
    "too_large": 413,
    "busy": 429,  # nothing was done; Retry-After says when to ask again
    "draining": 503,  # the host is going down; nothing was done
    "session": 410,  # unknown or ended
    "sandbox_gone": 410,  # unknown, closed, or ended with its session
    "value": 422,  # ValueError
    "config": 422,  # ConfigError
    "file": 404,  # FileNotFoundError, with its number
    "os": 409,  # OSError, with its number
    "sandbox": 502,  # SandboxError: the place died under the program
    "sandbox_start": 503,  # SandboxStartError: there was no place to run in
    "tests_place": 502,  # TestsPlaceError: the place of hidden tests died, not the program's
    "deadline": 504,  # not done by the client's deadline, and given up
    "internal": 500,
}
"""The answer to an error is `{"error": {"kind", "message"}}` with this status, and `errno` for "os"."""


def run_deadline(seconds: float) -> float:
    """How long a client waits for what may take `seconds` itself."""
    return seconds + OVERHEAD_SECONDS


@dataclass(frozen=True, slots=True)
class RunMessage:
    """POST /v1/runs; the answer is a `RunResult`."""

    request: RunRequest
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class PairMessage:
    """POST /v1/pairs; the answer is a `PairResult`."""

    request: PairRequest
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class SandboxMessage:
    """PUT /v1/sandboxes/NAME. The client chooses the name (32 hexadecimal digits), so that it can also end a sandbox
    whose creation it never heard of."""

    spec: SandboxSpec


@dataclass(frozen=True, slots=True)
class ExecMessage:
    """POST /v1/sandboxes/NAME/exec; the answer is an `ExecResult`."""

    command: tuple[str, ...]
    stdin: bytes = b""
    timeout: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """POST /v1/sandboxes/NAME/read; the answer is the content as it is."""

    path: str
    max_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The answer to PUT /v1/sessions/NAME, the client's heartbeat: how much the host has to do, for all clients."""

    running: int
    waiting: int
    sandboxes: int
    draining: bool = False


@dataclass(frozen=True, slots=True)
class HostDescription:
    """GET /v1/host. `provider` is what the host's own provider says of itself."""

    protocol: int
    isolation: Isolation
    why_not_higher: tuple[str, ...]
    workers: int
    sandboxes: int
    body_bytes: int
    provider: Any


@dataclass(frozen=True, slots=True)
class Welcome:
    """POST /v1/sessions."""

    session: str
    lease_seconds: float
    host: HostDescription
    load: HostLoad
