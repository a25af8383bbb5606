"""The whole corpus, tried for real in each kind of sandbox and at each level of isolation."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.result_frames import Returned, read_frames
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Case, RunCall, RunRequest, Submission, Task
from agent_rl.vocabulary.canonical import decode, encode
from tests.attacks.corpus import AROUND, CORPUS, LIMITS, SECRET, TASK, Attack
from tests.attacks.judging import Judged, judge_all
from tests.attacks.places import LEVELS, PLACES, level_of, marks_of, provider_of, skip_where_levels_cannot_be_had
from tests.attacks.probe import Host

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


@dataclasses.dataclass
class Tried:
    """All attacks of this session in one place, and what they did to the host."""

    place: str
    judged: dict[str, Judged]
    host: dict[str, Any]


def in_full_only(place: str, attack: Attack) -> bool:
    """Whether the attack is left to `make full` in `place`, a level that a host falls back to.

    The whole corpus is tried with namespaces, locally and in Docker: what comes out of a run is judged the same way at
    each level. What differs is what lies around a run, and what reaches for that is tried at every one of them; but
    not what takes many seconds where each run has a container of its own to start.
    """
    if level_of(place) == "namespaces":
        return False
    return attack not in AROUND or (attack.long and place == "docker-container")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every attack in every place."""
    if "attack" in metafunc.fixturenames:
        pairs = [
            pytest.param(
                place,
                attack,
                marks=[*marks_of(place), *([pytest.mark.full] if in_full_only(place, attack) else [])],
                id=f"{place}-{attack.id}",
            )
            for place in LEVELS
            for attack in CORPUS
        ]
        metafunc.parametrize(("tried", "attack"), pairs, indirect=["tried"], scope="module")
    elif "tried" in metafunc.fixturenames:
        places = [pytest.param(place, marks=marks_of(place)) for place in LEVELS]
        metafunc.parametrize("tried", places, indirect=True, scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """The attacks whose tests were selected, judged in the place that is asked for."""
    place: str = request.param
    await skip_where_levels_cannot_be_had(place)
    chosen: list[Attack] = []
    for item in request.session.items:
        params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        if params.get("tried") == place and "attack" in params and not item.get_closest_marker("skip"):
            chosen.append(params["attack"])
    canary = tmp_path_factory.mktemp("canary") / "canary"
    host = Host.watch(canary)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SECRET, SECRET)
            judged = await judge_all(place, chosen)
        return Tried(place, judged, host.changes())
    finally:
        host.close()


async def test_attack(tried: Tried, attack: Attack) -> None:
    judged = tried.judged[attack.id]
    assert not judged.error, f"the machinery was made to fail: {judged.error}"
    verdict = judged.verdict
    assert verdict is not None
    told = f"{verdict.status} after {verdict.seconds:.2f} s: {[t.detail for t in verdict.tests if t.detail][:2]}"
    assert verdict.passed == (attack.outcome == "same"), told
    assert (verdict.tier, verdict.isolation) == ("values", level_of(tried.place))
    assert all(test.detail.isprintable() for test in verdict.tests)
    if attack.statuses:
        assert verdict.status in attack.statuses, told
    if attack.outcome == "killed":
        # Of one run, and what a loaded machine takes to notice. Where a worker dies, telling who is to blame takes
        # three runs more.
        assert verdict.seconds <= LIMITS.wall_seconds + 10, told
    if attack.outcome == "same" and level_of(tried.place) == "namespaces":
        assert judged.same_worker, "its worker was replaced: what it left there was not looked for"
    assert not judged.honest, f"an honest program after it: {judged.honest}"
    assert not judged.changed


async def test_the_host_is_as_it_was(tried: Tried) -> None:
    assert tried.host == {}


async def test_every_line_that_a_program_can_try_is_tried() -> None:
    """84 is about names in archives, 92 to 96 are about tasks."""
    assert {a.number for a in CORPUS} == {*range(101)} - {84, *range(92, 97)}
    assert len({a.id for a in CORPUS}) == len(CORPUS) >= 160


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with provider_of(request.param) as started:
        yield started


async def test_a_second_judging_of_one_that_marked_its_place_fails_too(provider: SandboxProvider) -> None:
    """Attack 100: what a run leaves behind is gone, whichever way it ended."""
    verifier = TaskVerifier(provider, cache_size=0)
    programs = [a.program for a in CORPUS if a.number == 100]
    for program in 3 * programs:
        assert not (await verifier.judge(TASK, Submission.code(program))).passed


async def test_expected_values_are_nowhere_in_a_runs_memory(provider: SandboxProvider) -> None:
    """Neither hidden values nor what an earlier run answered can be found by reading all of a run's memory."""
    values = [f"hidden-{secrets.token_hex(16)}" for _ in range(4)]
    task = Task("keys", (), CallTests("key", tuple(Case((n,), v) for n, v in enumerate(values))), limits=LIMITS)
    knowing = f"def key(n):\n    return {values!r}[n]\n"
    verifier = TaskVerifier(provider, cache_size=0)
    for _ in range(4):  # every worker has seen them
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
