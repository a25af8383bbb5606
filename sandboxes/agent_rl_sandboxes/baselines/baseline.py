"""`Baseline`: the common part of all ways to run without warm workers; it implements the contract of a provider."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions, Sandbox, SandboxProvider
from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.vocabulary import Isolation, PairRequest, PairResult, RunRequest, RunResult, SandboxSpec
from agent_rl_sandboxes.baselines.bare_run_program import BareRunProgram, message
from agent_rl_sandboxes.workers import run_limits, split_frames

_GRACE_SECONDS = 30.0
"""Seconds beyond a run's own wall limit, for a daemon to start and remove it."""


class Baseline(SandboxProvider):
    """One way to run a program. It has no sandboxes and no workers, and never retries."""

    def __init__(self, config: SandboxConfig, options: ProviderOptions = ProviderOptions()) -> None:  # noqa: B008
        self.config = config
        self.program: BareRunProgram | None = None

    @classmethod
    async def available(cls, config: SandboxConfig, options: Any) -> str | None:
        """Why this way cannot be measured here; None if it can."""
        return None

    @property
    def isolation(self) -> Isolation:
        return "memory"

    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        raise SandboxError(f"{self.name} is for comparison only: it has no sandboxes")

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "python": self.started().version}

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        limit = request.limits.wall_seconds + _GRACE_SECONDS
        started = time.monotonic()
        raw: bytes = b""
        status: Literal["completed", "timeout"] = "completed"
        try:
            async with asyncio.timeout(limit):
                raw = await self.answer(_payload(request))
        except TimeoutError:
            status = "timeout"
        frames, anomalies = split_frames(raw, len(request.calls) + 1)
        seconds = time.monotonic() - started
        return RunResult(status, frames, b"", b"", None, None, seconds, self.isolation, anomalies)

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        raise SandboxError(f"{self.name} is for comparison only: it has no runs that talk with each other")

    @abstractmethod
    async def answer(self, request: bytes) -> bytes:
        """The frames of a run of `request`. After a cancellation nothing of the run is left. Raises SandboxError."""

    def started(self) -> BareRunProgram:
        """The program that its processes run. Raises SandboxStartError before the start."""
        if self.program is None:
            raise SandboxStartError(f"{self.name} is not started")
        return self.program


def _payload(request: RunRequest) -> bytes:
    """The message to a run's process, after its length: the same as a worker sends."""
    content: dict[str, Any] = {
        "program": request.program,
        "entry_point": request.entry_point,
        "calls": [(call.id, call.arguments) for call in request.calls],
        "seed": request.seed,
        "limits": run_limits(request.limits),
    }
    if request.stdin:
        content["stdin"] = base64.b64encode(request.stdin).decode()
    return message(json.dumps(content).encode())
