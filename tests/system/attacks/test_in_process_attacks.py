"""Tests beside the candidate, attacked for real: what the tier stops, and what it only labels."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import PytestTests, Submission, Task, Verdict
from tests.component.places import provider_of
from tests.system.attacks.in_process_corpus import CORPUS, FORCING, HIDDEN, NODE_IDS, RIGHT, TASK, WRONG, Attack

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]
_AT_ONCE = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[SandboxProvider]:
    async with provider_of("docker") as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def task(provider: SandboxProvider, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The task with its node ids, found with the reference."""
    patch = pytest.MonkeyPatch()
    patch.setenv("AGENT_RL_CACHE", str(tmp_path_factory.mktemp("cache")))
    try:
        return await TaskVerifier(provider).prepare(TASK)
    finally:
        patch.undo()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verdicts(provider: SandboxProvider, task: Task) -> dict[str, Verdict]:
    """Each attack's verdict; several are judged at a time, each in a place of its own."""
    verifier, gate = TaskVerifier(provider, cache_size=0), asyncio.Semaphore(_AT_ONCE)

    async def judged(attack: Attack) -> Verdict:
        async with gate:
            return await verifier.judge(task, attack.submission)

    return dict(zip([a.id for a in CORPUS], await asyncio.gather(*map(judged, CORPUS)), strict=True))


async def test_the_reference_says_which_tests_there_are(task: Task) -> None:
    assert isinstance(task.tests, PytestTests)
    assert task.tests.tests == NODE_IDS


async def test_no_attack_is_believed_that_the_tier_can_stop(verdicts: dict[str, Verdict]) -> None:
    found = {attack.id: problem(attack, verdicts[attack.id]) for attack in CORPUS}
    wrong = [f"{name}: {why}" for name, why in found.items() if why]
    assert len(found) == len(CORPUS) > 0
    assert not wrong, "\n".join(wrong)


def problem(attack: Attack, verdict: Verdict) -> str:
    """What is not as it has to be; empty where all is."""
    if (verdict.tier, verdict.isolation) != ("in_process", "container"):
        return f"judged at tier {verdict.tier}, isolation {verdict.isolation}"
    passes = attack.outcome in ("same", "labelled")
    if verdict.passed == passes and (not attack.statuses or verdict.status in attack.statuses):
        return ""
    return f"{verdict.status}: {[(t.name, t.detail) for t in verdict.tests if not t.passed][:2]}"


async def test_code_files_and_patches_are_judged_alike(provider: SandboxProvider, task: Task) -> None:
    verifier = TaskVerifier(provider)
    with_stub = dataclasses.replace(task, files={"solution.py": WRONG.encode()})
    head = "--- a/solution.py\n+++ b/solution.py\n@@ -1,2 +1,2 @@\n"
    patch = Submission.patch(f"{head} def add(a, b):\n-    return a - b - 1\n+    return a + b\n")
    submissions = (Submission.code(RIGHT), Submission.of_files({"solution.py": RIGHT.encode()}), patch)
    judged = await asyncio.gather(*(verifier.judge(with_stub, s) for s in submissions))
    assert [v.status for v in judged] == ["passed"] * 3
    assert [t.name for t in judged[0].tests] == list(NODE_IDS)
    assert judged[0].scores == {"tests_passed": 1.0}
    assert (await verifier.judge(with_stub, Submission.of_files({}))).status == "failed"


async def test_what_cannot_be_staged_is_no_valid_submission(provider: SandboxProvider, task: Task) -> None:
    verifier = TaskVerifier(provider)
    for submission, why in (
        (Submission.of_files({"../x": b""}), "leaves its folder"),
        (Submission.patch("not a patch"), "no change of any file"),
        (Submission.patch("--- a/gone.py\n+++ b/gone.py\n@@ -1 +1 @@\n-a\n+b\n"), "'gone.py' is not there"),
        (Submission.answer("42"), "where files are judged"),
        (Submission.code("\0"), "NUL"),
    ):
        verdict = await verifier.judge(task, submission)
        assert verdict.status == "invalid_submission"
        assert why in verdict.tests[0].detail


async def test_the_tasks_own_conftest_is_used_and_the_submissions_is_not(provider: SandboxProvider, task: Task) -> None:
    own = {
        **HIDDEN,
        "tests/conftest.py": b"import pytest\n\n@pytest.fixture\ndef seven():\n    return 7\n",
        "tests/test_seven.py": b"from solution import add\n\ndef test_seven(seven):\n    assert add(3, 4) == seven\n",
    }
    with_conftest = dataclasses.replace(task, tests=PytestTests(own, ("tests/test_seven.py::test_seven",)))
    verifier = TaskVerifier(provider)
    steering = {"solution.py": RIGHT.encode(), "tests/conftest.py": b"1 / 0", "conftest.py": b"1 / 0"}
    assert (await verifier.judge(with_conftest, Submission.of_files(steering))).passed
    assert not (await verifier.judge(with_conftest, Submission.code(WRONG))).passed
    writes = f"{WRONG}open('tests/nested/conftest.py', 'w').write({FORCING!r})\n"
    own["tests/nested/test_late.py"] = b"from solution import add\n\ndef test_late():\n    assert add(1, 1) == 2\n"
    ids = ("tests/test_seven.py::test_seven", "tests/nested/test_late.py::test_late")
    late = dataclasses.replace(task, tests=PytestTests(own, ids))
    verdict = await verifier.judge(late, Submission.code(writes))
    assert (verdict.status, verdict.tests[0].detail) == (
        "tampered",
        "a conftest.py was put beside the tests: tests/nested/conftest.py",
    )


async def test_the_tasks_own_configuration_of_pytest_is_used_and_the_submissions_is_not(
    provider: SandboxProvider, task: Task
) -> None:
    own = b"[tool.pytest.ini_options]\npythonpath = ['src']\naddopts = '-x -k nothing'\nmarkers = ['slow']\n"
    hidden = {
        "tests/test_own.py": b"import pytest\nfrom pack.core import add\n\n@pytest.mark.slow\n"
        b"def test_own(request):\n    assert add(1, 2) == 3\n"
        b"    assert any('slow' in marker for marker in request.config.getini('markers'))\n"
    }
    tests = PytestTests(hidden, ("tests/test_own.py::test_own",), module="pack.core")
    with_config = dataclasses.replace(task, tests=tests, files={"pyproject.toml": own})
    files = {"src/pack/__init__.py": b"", "src/pack/core.py": RIGHT.encode()}
    steering = b"[project]\nname = 'x'\n[tool.pytest.ini_options]\npython_files = 'none'\n"
    verifier = TaskVerifier(provider)
    for more in ({}, {"pyproject.toml": steering, "pytest.ini": b"[pytest]\naddopts = -k no\n"}):
        verdict = await verifier.judge(with_config, Submission.of_files({**files, **more}))
        assert verdict.passed, verdict
    wrong = {**files, "src/pack/core.py": WRONG.encode(), "pyproject.toml": steering}
    assert not (await verifier.judge(with_config, Submission.of_files(wrong))).passed


async def test_public_tests_tell_what_failed(provider: SandboxProvider, task: Task) -> None:
    shown = dataclasses.replace(task, public=task.tests)
    report = await TaskVerifier(provider).run_public_tests(shown, Submission.code("def add(a, b):\n    return 3\n"))
    assert report.status == "failed"
    assert "tests/test_add.py::test_many[10-20]: assert 3 == (10 + 20)" in report.feedback


async def test_a_reference_that_fails_is_the_users_mistake(
    provider: SandboxProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent_rl.errors import ConfigError

    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    verifier = TaskVerifier(provider)
    for oracle, why in (
        (WRONG, "the oracle solution does not pass"),
        ("import missing", "the oracle solution does not pass"),
    ):
        tests = PytestTests(HIDDEN, oracle={"solution.py": oracle.encode()})
        with pytest.raises(ConfigError, match=f"task add: {why}"):
            await verifier.prepare(dataclasses.replace(TASK, tests=tests))
