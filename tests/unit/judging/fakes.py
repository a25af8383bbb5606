"""A provider whose runs are scripted: each run's outcome is what the test says, an exception included."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent_rl.contracts import Sandbox, SandboxProvider
from agent_rl.errors import SandboxError
from agent_rl.judging.blame import COMPANION
from agent_rl.vocabulary import (
    CallTests,
    Case,
    Isolation,
    PairRequest,
    PairResult,
    RunRequest,
    RunResult,
    SandboxSpec,
    Task,
)
from agent_rl.vocabulary.canonical import decode
from agent_rl.vocabulary.held_values import error_frame, value_frame

Outcome = RunResult | Exception
Handler = Callable[[RunRequest], Outcome]


class ScriptedProvider(SandboxProvider):
    """Answers the n-th run with the n-th handler, and all later ones with the last.

    Honest controls pass and honest companions live, unless `controls` or `companions`, of which each takes one, say
    otherwise.
    """

    name = "scripted"

    def __init__(self, *handlers: Handler, controls: Sequence[bool] = (), companions: Sequence[bool] = ()) -> None:
        self.handlers = list(handlers)
        self.controls = list(controls)
        self.companions = list(companions)
        self.requests: list[tuple[RunRequest, bool]] = []
        self.control_runs = 0

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    @property
    def isolation(self) -> Isolation:
        return "memory"

    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        raise NotImplementedError

    def describe(self) -> Mapping[str, Any]:
        return {}

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        if request.entry_point == "control":
            self.control_runs += 1
            good = self.controls.pop(0) if self.controls else True
            return result_of(*answers(lambda n: [n, str(n)] if good else None)(request).frames)
        if request.program == COMPANION:
            if self.companions and not self.companions.pop(0):
                raise SandboxError("the companion's place died")
            await asyncio.Event().wait()
        handler = self.handlers[min(len(self.requests), len(self.handlers) - 1)]
        self.requests.append((request, fresh))
        outcome = handler(request)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        raise NotImplementedError


def result_of(*frames: str, status: Any = "completed", anomalies: tuple[str, ...] = ()) -> RunResult:
    """A run's result with these frames."""
    return RunResult(status, frames, b"", b"", 0, None, 0.01, "memory", anomalies)


def answers(function: Callable[..., Any], **kwargs: Any) -> Callable[[RunRequest], RunResult]:
    """A run of an honest program whose entry point is `function`."""

    def handler(request: RunRequest) -> RunResult:
        frames = ['{"loaded":true}']
        for call in request.calls:
            args, keywords = decode(call.arguments)
            try:
                frames.append(value_frame(call.id, function(*args, **keywords)))
            except Exception as error:
                frames.append(error_frame(call.id, error))
        return result_of(*frames, **kwargs)

    return handler


def executes(request: RunRequest) -> RunResult:
    """The program, executed in this very process: for the tests' own harmless programs only."""
    namespace: dict[str, Any] = {}
    random.seed(request.seed)
    try:
        exec(request.program, namespace)
        entry_point = namespace[request.entry_point or ""]
    except Exception as error:
        return result_of(json.dumps({"load_error": f"{type(error).__name__}: {error}"}))
    try:
        return answers(entry_point)(request)
    except SystemExit:
        return result_of('{"loaded":true}')


def task_of(*cases: Case, public: tuple[Case, ...] = (), **options: Any) -> Task:
    """A task whose entry point is `f`."""
    shown = CallTests("f", public) if public else None
    return Task("demo", (), CallTests("f", cases, **options), public=shown)


SQUARES = (Case((2,), 4), Case((3,), 9), Case((-1,), 1))
