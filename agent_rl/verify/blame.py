"""Who is to blame when a run's place dies: tested with an honest control, never assumed."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.verify.canonical import encode
from agent_rl.verify.frames import Returned, Tampered, read_frames
from agent_rl.vocabulary import Limits, RunCall, RunRequest, RunResult

_PAUSE_SECONDS = 0.2
"""Before the first retry of failed machinery; doubled each time."""
_GRACE_SECONDS = 2.0
"""In which the companion of a run that died must be seen dead, where the same cause ended both.

Long, since a cause from outside (a daemon that goes down) ends one place after the other.
"""
_COMPANION_MARGIN_SECONDS = 30.0
COMPANION = "import time\ntime.sleep(3600)\n"


_DIED = (SandboxError, OSError, EOFError)
"""What a provider raises where a place died; a connection that broke off says the same as SandboxError."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Blamed:
    """The program ends the place it runs in, while an honest one beside it does not."""

    detail: str


@dataclass(frozen=True, slots=True)
class Trial(Generic[T]):
    """One more try of a program in a fresh place, with what tells its doing from the machinery's, on the same host.

    companion: an honest program in another fresh place that does nothing until it is cancelled; control: whether an
    honest program gives its answer in a fresh place.
    """

    again: Callable[[], Coroutine[Any, Any, T]]
    companion: Callable[[], Coroutine[Any, Any, object]]
    control: Callable[[], Awaitable[bool]]


async def run_or_blame(provider: SandboxProvider, request: RunRequest, *, retries: int) -> RunResult | Blamed:
    """The run's result, or `Blamed` where the program's own place died twice and no honest program's did.

    As `done_or_blame`, with runs in slots. Raises SandboxError.
    """
    try:
        return await provider.run(request)
    except _DIED as error:
        first = error

    def trial() -> Trial[RunResult]:
        place = provider.on_one_host()  # what ends one of them on a machine of its own says nothing of the other
        return trial_in_slots(place, lambda: place.run(request, fresh=True), request.limits)

    return await done_or_blame(first, trial, retries=retries)


def trial_in_slots(place: SandboxProvider, again: Callable[[], Coroutine[Any, Any, T]], limits: Limits) -> Trial[T]:
    """`again`, with a companion and a control in slots of `place`."""
    limits = dataclasses.replace(limits, wall_seconds=limits.wall_seconds + _COMPANION_MARGIN_SECONDS)
    waiting = RunRequest(COMPANION, entry_point=None, limits=limits)
    return Trial(again, lambda: place.run(waiting, fresh=True), lambda: control_passes(place))


async def done_or_blame(first: Exception, trial: Callable[[], Trial[T]], *, retries: int) -> T | Blamed:
    """What a trial gives, or `Blamed` where the program ends its places; the first died with `first`.

    A place that dies under a program is followed by a fresh one of its own. Beside it, in another fresh place, an
    honest companion does nothing for as long as the program runs; after it, an honest control gives an answer. Where
    the companion dies with the program, or the control fails, or the fresh place could not even be made, the machinery
    is ill: all this is tried again up to `retries` times, and then SandboxError is raised.
    """
    last = first
    for attempt in range(retries + 1):
        beside = trial()
        outcome, companion_lived = await _beside_companion(beside)
        if not isinstance(outcome, _DIED):
            return outcome
        last = outcome
        began = not isinstance(outcome, SandboxStartError)
        if began and companion_lived and await beside.control():
            return Blamed(f"the program ends the place it runs in: {last}")
        if attempt < retries:
            await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
    raise SandboxError(f"the sandbox failed {retries + 2} times, and not by this program's doing: {last}") from last


async def _beside_companion(trial: Trial[T]) -> tuple[T | SandboxError | OSError | EOFError, bool]:
    """What became of the program in a fresh place, and whether the companion outlived it."""
    beside = asyncio.create_task(trial.companion())
    try:
        try:
            return await trial.again(), True
        except _DIED as error:
            if not isinstance(error, SandboxStartError):
                await asyncio.wait([beside], timeout=_GRACE_SECONDS)
            return error, not beside.done()
    finally:
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)


async def control_passes(provider: SandboxProvider) -> bool:
    """Whether a trivial honest program gives its answer in a fresh place."""
    call_id = secrets.token_hex(8)
    call = RunCall(call_id, encode([(7,), {}]))
    program = "def control(number):\n    return [number, str(number)]\n"
    try:
        result = await provider.run(RunRequest(program, entry_point="control", calls=(call,)), fresh=True)
        answer = read_frames(result.frames, [call_id]).by_id.get(call_id)
    except (*_DIED, Tampered):
        return False
    return result.status == "completed" and answer == Returned(encode([7, "7"]))
