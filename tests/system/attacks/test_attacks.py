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
from agent_rl.vocabulary import CallTests, Case, RunCall, RunRequest, Submission, Task, Verdict
from agent_rl.vocabulary.canonical import decode, encode
from agent_rl.vocabulary.runs import PARTS
from tests.component.places import LEVELS, PLACES, level_of, marks_of, provider_of, skip_where_levels_cannot_be_had
from tests.system.attacks.corpus import AROUND, CORPUS, FAMILIES, LIMITS, SECRET, TASK, Attack
from tests.system.attacks.judging import Judged, judge_all
from tests.system.attacks.probe import Host

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


@dataclasses.dataclass
class Tried:
    """All attacks of this session in one place, and what they did to the host."""

    place: str
    judged: dict[str, Judged]
    host: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Attacks of one family, for one test."""

    family: str
    attacks: tuple[Attack, ...]


def by_size(place: str, family: str) -> dict[str, tuple[Attack, ...]]:
    """The attacks of the family that are always tried in `place`, and those that are left to `make full`.

    The whole corpus is tried once, in Docker with namespaces: what comes out of a run is judged the same way in each
    place. What differs is what lies around a run, and what reaches for that is tried in every one of them; but not
    what takes many seconds where each run has a container of its own to start.
    """
    attacks = tuple(FAMILIES[family])
    if place == "docker-namespaces":
        return {"all": attacks, "full": ()}
    if family not in AROUND:
        return {"all": (), "full": attacks}
    late = tuple(a for a in attacks if a.long and place == "docker-container")
    return {"all": tuple(a for a in attacks if a not in late), "full": late}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a place and family; what only `make full` tries is one of its own."""
    if "tried" not in metafunc.fixturenames:
        return
    if "chosen" not in metafunc.fixturenames:
        places = [pytest.param(place, marks=[*marks_of(place), group_of(place)], id=place) for place in LEVELS]
        metafunc.parametrize("tried", places, indirect=True, scope="module")
        return
    pairs: list[Any] = []
    for place in LEVELS:
        marks = [*marks_of(place), group_of(place)]
        for family in FAMILIES:
            for size, attacks in by_size(place, family).items():
                if attacks:
                    only = [pytest.mark.full] if size == "full" else []
                    name = f"{place}-{family}{'-in-full' if size == 'full' else ''}"
                    pairs.append(pytest.param(place, Chosen(family, attacks), marks=[*marks, *only], id=name))
    metafunc.parametrize(("tried", "chosen"), pairs, indirect=["tried"], scope="module")


def group_of(place: str) -> pytest.MarkDecorator:
    """All of a place is tried by one worker: it tries the attacks of all families beside each other."""
    return pytest.mark.xdist_group(f"attacks-{place}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """The attacks whose tests were selected, judged in the place that is asked for."""
    place: str = request.param
    await skip_where_levels_cannot_be_had(place)
    chosen: list[Attack] = []
    for item in request.session.items:
        params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        if params.get("tried") == place and "chosen" in params and not item.get_closest_marker("skip"):
            chosen += params["chosen"].attacks
    canary = tmp_path_factory.mktemp("canary") / "canary"
    host = Host.watch(canary)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SECRET, SECRET)
            judged = await judge_all(place, chosen)
        return Tried(place, judged, host.changes())
    finally:
        host.close()


async def test_no_attack_of_the_family_succeeds(tried: Tried, chosen: Chosen) -> None:
    found = {attack.id: problems(tried.place, attack, tried.judged[attack.id]) for attack in chosen.attacks}
    wrong = [f"{name}: {why}" for name, whys in found.items() for why in whys]
    assert not wrong, "\n".join(wrong)


def problems(place: str, attack: Attack, judged: Judged) -> list[str]:
    """What is not as it has to be after the attack; empty where all is."""
    verdict = judged.verdict
    if judged.error or verdict is None:
        return [f"the infrastructure was made to fail: {judged.error}"]
    told = f"{verdict.status} after {verdict.seconds:.2f} s: {[t.detail for t in verdict.tests if t.detail][:2]}"
    found: list[str] = []
    if verdict.passed != (attack.outcome == "same") or (attack.statuses and verdict.status not in attack.statuses):
        found.append(told)
    if (verdict.tier, verdict.isolation) != ("values", level_of(place)):
        found.append(f"judged at tier {verdict.tier}, isolation {verdict.isolation}")
    if not all(test.detail.isprintable() for test in verdict.tests):
        found.append(f"a detail cannot be printed: {[test.detail for test in verdict.tests]!r}")
    longest = PARTS * LIMITS.wall_seconds
    if attack.outcome == "killed" and verdict.seconds > longest + 10:
        # The longest that a run takes, and what a loaded machine takes to notice; one that takes the whole machine
        # leaves its own watcher no processor. Where a worker dies, telling who is to blame takes three runs more.
        found.append(f"too late: {told}")
    if attack.outcome == "same" and level_of(place) == "namespaces" and not judged.same_worker:
        found.append("its worker was replaced: what it left there was not looked for")
    if judged.honest:
        found.append(f"an honest program after it: {judged.honest}")
    if judged.changed:
        found.append(f"it left behind: {judged.changed}")
    return found


async def test_the_host_is_as_it_was(tried: Tried) -> None:
    assert tried.host == {}


async def test_every_line_that_a_program_can_try_is_tried() -> None:
    """84 is about names in archives, 92 to 96 are about tasks."""
    assert {a.number for a in CORPUS} == {*range(101)} - {84, *range(92, 97)}
    assert len({a.id for a in CORPUS}) == len(CORPUS) >= 160
    assert {*AROUND} < {*FAMILIES}


@pytest.mark.parametrize("place", LEVELS)
async def test_every_attack_is_tried_once_in_each_place(place: str) -> None:
    """Always or in `make full`; in Docker with namespaces all of them always."""
    tried = [(size, a.id) for family in FAMILIES for size, attacks in by_size(place, family).items() for a in attacks]
    assert sorted(name for _, name in tried) == sorted(a.id for a in CORPUS)
    always = [name for size, name in tried if size == "all"]
    around = [a.id for family in AROUND for a in FAMILIES[family]]
    long = [a.id for family in AROUND for a in FAMILIES[family] if a.long]
    if place == "docker-namespaces":
        assert len(always) == len(CORPUS)
    else:
        assert sorted([*always, *(long if place == "docker-container" else [])]) == sorted(around)


async def test_each_failure_is_listed_by_the_attack() -> None:
    """What a family's test says, of a verdict that is wrong in every way."""
    attack = next(a for a in CORPUS if a.outcome == "fails" and not a.statuses)
    verdict = Verdict(True, "passed", "in_process", "memory", 0.5)
    found = problems("local-uid", attack, Judged(verdict, "", "crashed", {"files": ["x"]}, True))
    assert found == [
        "passed after 0.50 s: []",
        "judged at tier in_process, isolation memory",
        "an honest program after it: crashed",
        "it left behind: {'files': ['x']}",
    ]
    assert problems("local-uid", attack, Judged(None, "it broke", "", {}, True)) == [
        "the infrastructure was made to fail: it broke"
    ]


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
