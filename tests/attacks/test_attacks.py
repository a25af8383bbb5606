"""Early exit, forged results, lying values and gaming of the machinery, tried for real in each kind of sandbox."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.verify.canonical import decode, encode
from agent_rl.verify.frames import Returned, read_frames
from agent_rl.verify.judge import CaseVerifier
from agent_rl.vocabulary import CallTests, Case, RunCall, RunRequest, Submission, Task
from tests.attacks.corpus import CORPUS, HONEST, LIMITS, TASK, Attack
from tests.attacks.places import PLACES, provider_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with provider_of(request.param) as started:
        yield started


@pytest.fixture
def verifier(provider: SandboxProvider) -> CaseVerifier:
    return CaseVerifier(provider, cache_size=0)


@pytest.mark.parametrize("attack", CORPUS, ids=lambda attack: attack.id)
async def test_attack(verifier: CaseVerifier, attack: Attack) -> None:
    started = time.monotonic()
    verdict = await verifier.judge(attack.task, Submission.code(attack.program))
    seconds = time.monotonic() - started
    told = f"{verdict.status} after {seconds:.2f} s: {[t.detail for t in verdict.tests][:2]}"
    assert verdict.passed == (attack.outcome == "same"), told
    assert verdict.tier == "values"
    assert verdict.isolation == verifier.provider.isolation
    if attack.statuses:
        assert verdict.status in attack.statuses, told
    if attack.number != 98:
        # One judging is one run of at most the limit (and, with a checker, one more; there is none here). Where a slot
        # dies, who is to blame takes three runs more.
        assert verdict.seconds <= LIMITS.wall_seconds + 1, told
    honest = await verifier.judge(TASK, Submission.code(HONEST))
    assert honest.passed, f"an honest program after it: {honest.status}: {[t.detail for t in honest.tests]}"


async def test_a_second_judging_of_one_that_marked_its_place_fails_too(verifier: CaseVerifier) -> None:
    """Attack 100: what a run leaves behind is gone, whichever way it ended."""
    (program,) = [a.program for a in CORPUS if a.number == 100]
    for _ in range(3):
        assert not (await verifier.judge(TASK, Submission.code(program))).passed


async def test_expected_values_are_nowhere_in_a_runs_memory(provider: SandboxProvider) -> None:
    """Neither hidden values nor what an earlier run answered can be found by reading all of a run's memory."""
    values = [f"hidden-{secrets.token_hex(16)}" for _ in range(4)]
    task = Task("keys", (), CallTests("key", tuple(Case((n,), v) for n, v in enumerate(values))), limits=LIMITS)
    knowing = f"def key(n):\n    return {values!r}[n]\n"
    verifier = CaseVerifier(provider, cache_size=0)
    for _ in range(4):  # every slot has seen them
        assert (await verifier.judge(task, Submission.code(knowing))).passed
    assert not (await verifier.judge(task, Submission.code(SEARCH))).passed
    call = RunCall("ab" * 8, encode([(0,), {}]))
    roomy = dataclasses.replace(LIMITS, wall_seconds=20.0, cpu_seconds=20.0)
    for _ in range(4):
        result = await provider.run(RunRequest(SEARCH, "key", (call,), limits=roomy))
        answer = read_frames(result.frames, [call.id]).by_id[call.id]
        assert isinstance(answer, Returned), answer
        found, searched = decode(answer.text)
        assert found == []
        assert searched > 2**20, "the search read no memory"


SEARCH = r'''
import re

def key(n):
    """What looks like a hidden value in any readable memory of this process, and how many bytes were read."""
    pattern = re.compile(("hid" + "den").encode() + rb"-[0-9a-f]{32}")
    found, searched = set(), 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps.read().splitlines():
            bounds, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(part, 16) for part in bounds.split("-"))
            try:
                memory.seek(start)
                data = memory.read(min(end - start, 1 << 26))
            except (OSError, ValueError, OverflowError):
                continue
            searched += len(data)
            found.update(match.decode() for match in pattern.findall(data))
    return [sorted(found), searched]
'''
