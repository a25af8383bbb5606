"""Who is to blame when a run's place dies: tested with an honest control, never assumed."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.errors import SandboxError
from agent_rl.verify.canonical import encode
from agent_rl.verify.frames import Returned, Tampered, read_frames
from agent_rl.vocabulary import RunCall, RunRequest, RunResult

_PAUSE_SECONDS = 0.2
"""Before the first retry of failed machinery; doubled each time."""


@dataclass(frozen=True, slots=True)
class Blamed:
    """The program ends the place it runs in, while an honest one beside it does not."""

    detail: str


async def run_or_blame(provider: SandboxProvider, request: RunRequest, *, retries: int) -> RunResult | Blamed:
    """The run's result, or `Blamed` where the program's own place died twice and the control's beside it did not.

    A place that dies under the run is followed by a fresh one of its own, with an honest control in another fresh
    place beside it and once more after it. A control that fails says that the machinery is ill: the pair is tried
    again up to `retries` times, and then SandboxError is raised.
    """
    try:
        return await provider.run(request)
    except SandboxError as error:
        last = error
    for attempt in range(retries + 1):
        outcome, beside = await asyncio.gather(_attempt(provider, request), control_passes(provider))
        if isinstance(outcome, RunResult):
            return outcome
        last = outcome
        if beside and await control_passes(provider):
            return Blamed(f"the program ends the place it runs in: {last}")
        if attempt < retries:
            await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
    raise SandboxError(f"the sandbox failed {retries + 2} times, an honest control included: {last}") from last


async def _attempt(provider: SandboxProvider, request: RunRequest) -> RunResult | SandboxError:
    try:
        return await provider.run(request, fresh=True)
    except SandboxError as error:
        return error


async def control_passes(provider: SandboxProvider) -> bool:
    """Whether a trivial honest program gives its answer in a fresh place."""
    call_id = secrets.token_hex(8)
    call = RunCall(call_id, encode([(7,), {}]))
    program = "def control(number):\n    return [number, str(number)]\n"
    try:
        result = await provider.run(RunRequest(program, entry_point="control", calls=(call,)), fresh=True)
        answer = read_frames(result.frames, [call_id]).by_id.get(call_id)
    except (SandboxError, Tampered):
        return False
    return result.status == "completed" and answer == Returned(encode([7, "7"]))
