"""Tests beside the candidate, attacked for real: what the tier stops, and what it only labels."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.errors import ConfigError
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


ADDS = "from solution import add\n\n\ndef test_it():\n    assert add\n"
FIVE = "    assert add(2, 3) == 5\n"
BASE = (
    "import unittest\n\n\nclass Base(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls):\n"
    "        if cls is Base:\n            raise unittest.SkipTest\n\n    def test_base(self):\n"
    "        self.assertEqual(self.function(2, 3), 5)\n"
)
COLLECTED = {
    "names of functions by pytest.ini beside the tests": (
        {"tests/pytest.ini": "[pytest]\npython_functions = test_* check_*\n"},
        {"tests/test_x.py": f"{ADDS}\ndef check_it():\n{FIVE}"},
        ("test_x.py::test_it", "test_x.py::check_it"),
    ),
    "names of files by the task's own pytest.ini": (
        {"pytest.ini": "[pytest]\npython_files = test_*.py check_*.py\n"},
        {"tests/test_x.py": ADDS, "tests/check_y.py": f"from solution import add\ndef test():\n{FIVE}"},
        ("test_x.py::test_it", "check_y.py::test"),
    ),
    "the path by pytest.ini beside the tests": (
        {"tests/pytest.ini": "[pytest]\npythonpath = lib\n", "tests/lib/known.py": "FIVE = 5\n"},
        {"tests/test_x.py": f"import known\n{ADDS}    assert add(2, 3) == known.FIVE\n"},
        ("test_x.py::test_it",),
    ),
    "what the tests skip themselves, or expect to fail": (
        {},
        {
            "tests/base.py": BASE,
            "tests/test_x.py": f"import pytest\nimport solution\nfrom base import Base\n{ADDS}{FIVE}\n"
            "def test_skipped():\n    pytest.skip('not here')\n\n"
            "@pytest.mark.xfail\ndef test_later():\n    assert 0\n\n"
            "class TestAdd(Base):\n    function = staticmethod(solution.add)\n",
        },
        ("test_x.py::test_it", "test_x.py::TestAdd::test_base"),
    ),
    "names that are drawn at random": (
        {},
        {
            "tests/test_x.py": "import random\nimport pytest\nfrom solution import add\n\n\n"
            "@pytest.mark.parametrize('a', [random.random() for _ in range(3)])\n"
            "def test_it(a):\n    assert add(a, 1) == a + 1\n"
        },
        None,
    ),
}
"""Name -> (files of the task, hidden tests, the node ids below tests/; None: the task is refused)."""


@pytest.mark.parametrize("name", COLLECTED)
async def test_the_tests_that_count_are_those_that_pytest_finds_and_the_oracle_solution_passes_twice(
    provider: SandboxProvider, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    given, tests, ids = COLLECTED[name]
    hidden = {path: text.encode() for path, text in {**given, **tests}.items() if path.startswith("tests/")}
    files = {path: text.encode() for path, text in given.items() if not path.startswith("tests/")}
    found = PytestTests(hidden, oracle={"solution.py": RIGHT.encode()})
    task = Task("found", (), found, files=files, limits=TASK.limits, tier="in_process")
    verifier = TaskVerifier(provider)
    if ids is None:
        with pytest.raises(ConfigError, match=r"run again by the node ids that were found: .* was not run"):
            await verifier.prepare(task)
        return
    task = await verifier.prepare(task)
    assert isinstance(task.tests, PytestTests)
    assert set(task.tests.tests) == {f"tests/{test}" for test in ids}
    # What another file of the same name says is not the task's.
    steering = {"pytest.ini": b"[pytest]\npython_functions = none\n", "tests/pytest.ini": b"[pytest]\naddopts = --co\n"}
    for program, passes in ((RIGHT, True), (WRONG, False)):
        verdict = await verifier.judge(task, Submission.of_files({"solution.py": program.encode(), **steering}))
        assert verdict.passed == passes, verdict


async def test_public_tests_tell_what_failed(provider: SandboxProvider, task: Task) -> None:
    shown = dataclasses.replace(task, public=task.tests)
    report = await TaskVerifier(provider).run_public_tests(shown, Submission.code("def add(a, b):\n    return 3\n"))
    assert report.status == "failed"
    assert "tests/test_add.py::test_many[10-20]: assert 3 == (10 + 20)" in report.feedback


async def test_a_reference_that_fails_is_the_users_mistake(
    provider: SandboxProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    verifier = TaskVerifier(provider)
    for oracle, why in (
        (WRONG, "the oracle solution does not pass"),
        ("import missing", "the oracle solution does not pass"),
    ):
        tests = PytestTests(HIDDEN, oracle={"solution.py": oracle.encode()})
        with pytest.raises(ConfigError, match=f"task add: {why}"):
            await verifier.prepare(dataclasses.replace(TASK, tests=tests))
