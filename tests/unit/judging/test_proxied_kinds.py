"""Tier `proxied`, kind by kind of what crosses: programs pass and fail as in one process with their tests."""

from __future__ import annotations

import pytest

from agent_rl.errors import ConfigError
from agent_rl.vocabulary import PytestTests, Task
from tests.unit.judging.proxied_judging import judged, task_of
from tests.unit.judging.proxied_kinds import IN_PROCESSES, KINDS, REFUSED
from tests.unit.judging.proxied_suites import RIGHT, SUITES, WRONG


@pytest.mark.parametrize("name", [name for name in KINDS if name not in IN_PROCESSES])
async def test_programs_pass_and_fail_as_in_one_process(name: str) -> None:
    kind = KINDS[name]
    task = task_of(kind.tests, kind.oracle)
    found: list[str] = []
    for program in (kind.oracle, *kind.right):
        verdict = await judged(task, program)
        if not verdict.passed:
            found.append(f"right, and {verdict.status}: {verdict.feedback}\n{program}")
    for program in kind.wrong:
        verdict = await judged(task, program)
        if verdict.status != "failed":
            found.append(f"wrong, and {verdict.status}: {verdict.feedback}\n{program}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_only_this_tier_cannot_do_is_said_at_load_whatever_the_test_catches(name: str) -> None:
    tests, oracle, why = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        await judged(task_of(tests, oracle), oracle)
    assert why in str(caught.value)


@pytest.mark.parametrize("name", SUITES)
async def test_suites_find_their_fixtures_and_modules_as_under_pytest(name: str) -> None:
    files = {path: text.encode() for path, text in SUITES[name].items()}
    task = Task(name, (), PytestTests(files, oracle={"solution.py": RIGHT.encode()}), tier="proxied")
    right, wrong = await judged(task, RIGHT), await judged(task, WRONG)
    assert (right.status, wrong.status) == ("passed", "failed"), right.feedback
    assert not any(test.passed for test in wrong.tests), [test.name for test in wrong.tests if test.passed]
