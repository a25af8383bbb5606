"""Decides who ended the place of a run: the program in it, or the infrastructure. A *place* is a worker or a sandbox.

Honest programs decide it: if they die in fresh places too, the program is not to blame.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.errors import SandboxError, SandboxStartError, TestsPlaceError
from agent_rl.judging.result_frames import Returned, Tampered, read_frames
from agent_rl.vocabulary import Limits, PairRequest, PairResult, RunCall, RunRequest, RunResult
from agent_rl.vocabulary.canonical import encode

_PAUSE_SECONDS = 0.2
"""Pause before the first retry after an infrastructure failure; doubled for each further one."""
_GRACE_SECONDS = 2.0
"""How long to wait, after a run died, for its companion to die too. If it does, one cause ended both.

The wait is long because an outside cause (such as a daemon that goes down) ends one place after the other.
"""
_COMPANION_MARGIN_SECONDS = 30.0
_MOST_COMPANION_SECONDS = 3000.0
"""A remote host refuses what may take longer than its own limit."""
COMPANION = "import time\ntime.sleep(3600)\n"


_DIED = (SandboxError, OSError, EOFError)
"""What a provider raises if a place died; a broken connection counts like SandboxError."""


_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True, slots=True)
class Blamed:
    """The program ended the place it ran in, while an honest program beside it did not die."""

    detail: str


async def run_or_blame(provider: SandboxProvider, request: RunRequest, *, retries: int) -> RunResult | Blamed:
    """The run's result, or `Blamed` if the program's place died twice and no honest program's place did.

    If the place dies during the run, the run is repeated in a fresh place. Two honest programs test the infrastructure,
    each in another fresh place: a companion that idles during the run, and a control that gives an answer after it. If
    the companion dies with the run, or the control fails, or no fresh place could be made, it is an infrastructure
    failure. All this is then repeated up to `retries` times, and after that SandboxError is raised.
    """

    async def run(place: SandboxProvider, fresh: bool) -> RunResult:
        return await place.run(request, fresh=fresh)

    return await _attempt_or_blame(provider, run, request.longest_seconds, retries)


async def run_pair_or_blame(
    provider: SandboxProvider,
    request: PairRequest,
    *,
    retries: int,
    check: Callable[[PairResult], None] = lambda result: None,
) -> PairResult | Blamed:
    """The result of a pair of runs, or `Blamed`, by the rules of `run_or_blame`.

    If the place of the hidden tests died and the program's did not, this counts as an infrastructure failure and is
    retried. The program is blamed only if it happened every time, although the honest programs succeeded. So does a
    result for which `check` raises TestsPlaceError.
    """

    async def run(place: SandboxProvider, fresh: bool) -> PairResult:
        result = await place.run_pair(request, fresh=fresh)
        check(result)
        return result

    return await _attempt_or_blame(provider, run, request.limits.longest_seconds, retries)


async def work_or_blame(
    provider: SandboxProvider, work: Callable[[SandboxProvider], Awaitable[_Outcome]], limits: Limits, *, retries: int
) -> _Outcome | Blamed:
    """The result of `work`, which makes a fresh place in the given provider at each call; or `Blamed`."""
    return await _attempt_or_blame(provider, lambda place, fresh: work(place), limits.longest_seconds, retries)


async def _attempt_or_blame(
    provider: SandboxProvider, run: Callable[[SandboxProvider, bool], Awaitable[_Outcome]], longest: float, retries: int
) -> _Outcome | Blamed:
    """The result of `run(provider, fresh)`, first in any place, then in fresh ones, or `Blamed`; or SandboxError."""
    try:
        return await run(provider, False)
    except _DIED as error:
        last = error
    always_its_doing = True
    for attempt in range(retries + 1):
        place = provider.on_one_host()  # on two machines, the death of one run would say nothing about the other
        outcome, companion_lived = await _run_beside_companion(place, run, longest)
        if not isinstance(outcome, Exception):
            return outcome
        last = outcome
        began = not isinstance(outcome, SandboxStartError)
        its_doing = began and companion_lived and await control_passes(place)
        always_its_doing = always_its_doing and its_doing
        if its_doing and not isinstance(outcome, TestsPlaceError):
            return Blamed(f"the program ends its own sandbox: {last}")
        if attempt < retries:
            await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
    if always_its_doing:
        return Blamed(f"the program ends the sandbox of its tests: {last}")
    raise SandboxError(f"the sandbox failed {retries + 2} times, and this program did not cause it: {last}") from last


async def _run_beside_companion(
    place: SandboxProvider, run: Callable[[SandboxProvider, bool], Awaitable[_Outcome]], longest: float
) -> tuple[_Outcome | Exception, bool]:
    """(the run's result or error in a fresh place, whether the companion outlived the run).

    `longest`: the seconds that the run may take.
    """
    limits = Limits(wall_seconds=min(longest + _COMPANION_MARGIN_SECONDS, _MOST_COMPANION_SECONDS))
    waiting = RunRequest(COMPANION, entry_point=None, limits=limits)
    companion = asyncio.create_task(place.run(waiting, fresh=True))
    try:
        try:
            return await run(place, True), True
        except _DIED as error:
            if not isinstance(error, SandboxStartError):
                await asyncio.wait([companion], timeout=_GRACE_SECONDS)
            return error, not companion.done()
    finally:
        companion.cancel()
        await asyncio.gather(companion, return_exceptions=True)


async def control_passes(provider: SandboxProvider) -> bool:
    """Whether a trivial honest program gives the right answer in a fresh place."""
    call_id = secrets.token_hex(8)
    call = RunCall(call_id, encode([(7,), {}]))
    program = "def control(number):\n    return [number, str(number)]\n"
    try:
        result = await provider.run(RunRequest(program, entry_point="control", calls=(call,)), fresh=True)
        answer = read_frames(result.frames, [call_id]).by_id.get(call_id)
    except (*_DIED, Tampered):
        return False
    return result.status == "completed" and answer == Returned(encode([7, "7"]))
