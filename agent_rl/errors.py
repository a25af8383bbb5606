"""Every error that this project raises, as one tree.

    AgentRLError
    ├── ConfigError             the user's mistake: names the key and the value (exit 2)
    ├── CheckFailed             a check that the user asked for did not hold (exit 1)
    └── InfrastructureError     the infrastructure failed, with the boundary it crossed (exit 3)
        ├── SandboxError            a sandbox, worker, container or daemon died or misbehaved
        │   ├── SandboxStartError       a new one could not be made: no program has run in it
        │   ├── TestsPlaceError         the place of hidden tests died, not that of the program under test
        │   └── FilesNotTaken           a sandbox did not give its files; who is to blame is not yet known
        ├── PolicyError             the process that generates died, hung or answered nonsense
        ├── LearnerError            the process that trains died or hung
        ├── EnvironmentFailure      the environment's own code raised
        └── StorageError            a disk filled up, or the run's folder can no longer be written

What a program under test does is never an error: it is a `Verdict`.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

Boundary = Literal["sandbox", "policy", "learner", "environment", "storage"]


class AgentRLError(Exception):
    """Base of the tree; `exit_code` is what the command line returns."""

    exit_code = 3


class ConfigError(AgentRLError):
    """A mistake of the user: it names key, value, reason, and the nearest valid choice."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        value: object = None,
        valid: Iterable[str] = (),
    ) -> None:
        self.key = key
        self.value = value
        near = difflib.get_close_matches(str(value), list(valid), n=1, cutoff=0.5)
        self.suggestion = near[0] if near else None
        text = message if key is None else f"{key}: {message}"
        if self.suggestion is not None:
            text += f" (did you mean {self.suggestion!r}?)"
        super().__init__(text)


class CheckFailed(AgentRLError):
    """A check that the user asked for did not hold."""

    exit_code = 1


class InfrastructureError(AgentRLError):
    """The infrastructure failed; this never counts as a reward of 0. `boundary` says where."""

    exit_code = 3
    boundary: Boundary = "environment"


class SandboxError(InfrastructureError):
    """A sandbox, worker, container or daemon died or misbehaved."""

    boundary: Boundary = "sandbox"


class SandboxStartError(SandboxError):
    """A new worker or container could not be made. No program has run in it, so no program is to blame."""


class TestsPlaceError(SandboxError):
    """The worker of the hidden tests died, but the worker of the program under test did not."""

    __test__ = False


class FilesNotTaken(SandboxError):
    """Files could not be taken from a sandbox.

    Its agent may be to blame. To find that out, await `again(sandbox)` with a sandbox that no agent has touched: it
    takes the same files there, and raises SandboxError if that fails as well.
    """

    def __init__(self, message: str, again: Callable[[Any], Awaitable[object]]) -> None:
        super().__init__(message)
        self.again = again


class PolicyError(InfrastructureError):
    """The process that generates died, hung or answered nonsense."""

    boundary: Boundary = "policy"


class LearnerError(InfrastructureError):
    """The process that trains died or hung."""

    boundary: Boundary = "learner"


class EnvironmentFailure(InfrastructureError):
    """The environment's own code raised."""

    boundary: Boundary = "environment"


class StorageError(InfrastructureError):
    """A disk filled up, or the run's folder can no longer be written; the last checkpoint is whole."""

    boundary: Boundary = "storage"
