"""Verdicts at tier 3 on all programs of a task in one run, since a run of its own costs each more than a second.

The programs are one submission of several files, and each has the task's tests in a file of its own: the judge, the
staging and the pytest are those of any submission of files. What the programs share is their process, so one that
loops, crashes or changes the interpreter spoils the run of the others: those get no verdict here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from agent_rl.judging.proxied.asserts import forms_of
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import AssertTests, Limits, PytestTests, Submission
from tests.system.attacks.differential import Compared

_LIMITS = Limits(wall_seconds=60, cpu_seconds=60)


async def verdicts_together(verifier: TaskVerifier, programs: Sequence[Compared]) -> list[bool | None]:
    """Whether each program of one task passes, judged in one run; None: that run says nothing of it.

    The first program is the oracle solution: the form of the tests is the first one that it passes.
    """
    task = programs[0].task
    assert isinstance(task.tests, AssertTests) and programs[0].program == task.tests.oracle
    submission = Submission.of_files({f"solution_{i}.py": p.program.encode() for i, p in enumerate(programs)})
    for form in forms_of(task.tests):
        tests = _tests(form, len(programs))
        together = dataclasses.replace(task, tests=tests, tier="in_process", limits=_LIMITS)
        verdict = await verifier.judge(together, submission)
        passed = {test.name: test.passed for test in verdict.tests}
        if verdict.status in ("passed", "failed") and passed.get(tests.tests[0]):
            return [passed[test] for test in tests.tests]
    return [None] * len(programs)


def _tests(form: PytestTests, count: int) -> PytestTests:
    """The tests `count` times, each for a module of its own."""
    (content,) = form.files.values()
    files: dict[str, bytes] = {}
    for number in range(count):
        module = f"solution_{number}"
        own = content.replace(b"import solution\n", f"import {module} as solution\n".encode())
        own = own.replace(b"from solution import ", f"from {module} import ".encode())
        assert own != content
        files[f"test_{number}.py"] = own
    return PytestTests(files, tuple(f"{path}::test_check" for path in files))
