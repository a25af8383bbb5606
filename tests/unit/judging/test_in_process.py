"""The judge of tests beside the candidate, with a scripted runner: what it stages, and which reports it believes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent_rl.contracts import Sandbox
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.judged_place import PlaceFacts
from agent_rl.judging.pytest_report import Phase, PytestReport, asked_of_all
from agent_rl.judging.ready_place import own_config
from agent_rl.judging.staging import staged
from agent_rl.judging.steering_files import with_own_pytest_part
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import ExecResult, PytestTests, SandboxSpec, ScriptTests, Submission, Task, Verdict

IDS = ("tests/test_f.py::test_one", "tests/test_f.py::test_two")
HIDDEN = {"tests/test_f.py": b"hidden"}
TASK = Task("t", (), PytestTests(HIDDEN, IDS), files={"README": b"read me"}, tier="in_process")
PHASES = ("setup", "call", "teardown")
Change = Callable[[dict[str, Any], dict[str, bytes]], None]


def ran(exit_code: int = 0, status: Any = "completed", stdout: bytes = b"") -> ExecResult:
    return ExecResult(status, exit_code if status == "completed" else None, stdout, b"", 0.5)


def around_the_tests(stdin: bytes, files: dict[str, bytes]) -> ExecResult | None:
    """What a sandbox answers where the judge looks at it, prepares it or reads what is left; None for the tests."""
    order: dict[str, Any] = json.loads(stdin) if stdin else {}
    if "digests" in order:
        facts = {"root": "/work", "path": "/bin", "python_path": "", "installed": ["yaml"], "top": {}, "same": []}
        facts["writable"] = True
        return ran(stdout=json.dumps(facts).encode())
    if "place" in order:
        return ran()
    if "most" in order:
        texts = [files.get(path.removeprefix("/work/"), b"").decode() or None for path in order["paths"]]
        return ran(stdout=json.dumps({"alive": [], "left": 0, "texts": texts}).encode())
    return None


def honest(order: dict[str, Any], files: dict[str, bytes], failing: Sequence[str] = ()) -> dict[str, Any]:
    """What the runner reports where all tests pass but `failing`; the canaries as they must."""
    phases: list[list[Any]] = []
    for path in (order["tests"][0], order["tests"][-1]):
        names = [
            line.split("def ")[1].split("(")[0] for line in files[path].decode().splitlines() if "def test" in line
        ]
        kind = next(line for line in files[path].decode().splitlines() if line.startswith("class"))[6:].split("(")[0]
        for name in names:
            inside = name[-1] in "25"
            test = f"{path}::{kind}::{name}" if inside else f"{path}::{name}"
            outcome = "passed" if name[-1] in "12" else "failed"
            phases += [[test, when, outcome if when == "call" else "passed", False, ""] for when in PHASES]
    for test in order["tests"][1:-1]:
        outcome = "failed" if test in failing else "passed"
        text = f"E   {test} is wrong" if test in failing else ""
        phases += [[test, when, outcome if when == "call" else "passed", False, text] for when in PHASES]
    return {"nonce": order["nonce"], "exit": 1, "collected": [], "errors": [], "phases": phases}


async def judged(
    change: Change = lambda report, files: None,
    *,
    failing: Sequence[str] = (),
    result: ExecResult | None = None,
    submission: Submission | None = None,
    task: Task = TASK,
) -> Verdict:
    def python(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
        if (answer := around_the_tests(stdin, files)) is not None:
            return answer
        order = json.loads(stdin)
        report = honest(order, files, failing)
        change(report, files)
        if report:
            files[order["report"].removeprefix("/work/")] = json.dumps(report).encode()
        return result or ran()

    async with InMemoryProvider(commands={"python3": python}) as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory", retries=0)
        return await verifier.judge(task, submission or Submission.code("x = 1\n"))


async def test_a_report_in_order_is_believed() -> None:
    verdict = await judged()
    assert (verdict.status, verdict.tier, verdict.isolation, verdict.seconds) == ("passed", "in_process", "memory", 0.5)
    assert [t.name for t in verdict.tests] == list(IDS)
    verdict = await judged(failing=IDS[1:])
    assert (verdict.status, verdict.scores, verdict.feedback) == ("failed", {"tests_passed": 0.5}, "")
    assert verdict.tests[1].detail == "tests/test_f.py::test_two is wrong"


def canaries(report: dict[str, Any]) -> list[list[Any]]:
    return [phase for phase in report["phases"] if phase[0].startswith("test_t")]


def flip(outcome: str) -> Change:
    def change(report: dict[str, Any], files: dict[str, bytes]) -> None:
        for phase in canaries(report):
            phase[2] = outcome

    return change


def remove_canaries(report: dict[str, Any], files: dict[str, bytes]) -> None:
    report["phases"] = [phase for phase in report["phases"] if not phase[0].startswith("test_t")]


def set_in(**values: Any) -> Change:
    return lambda report, files: report.update(values)


TAMPERING: dict[str, Change] = {
    "all canaries pass": flip("passed"),
    "all canaries fail": flip("failed"),
    "no canary ran": remove_canaries,
    "another nonce": set_in(nonce="0" * 32),
    "no nonce": lambda report, files: report.pop("nonce"),
    "another exit code": set_in(exit=0),
    "a phase of another form": lambda report, files: report["phases"].append(["x"]),
    "phases that are none": set_in(phases=3),
    "a test that was not asked for": lambda report, files: report["phases"].append(["x", "call", "passed", False, ""]),
    "a changed test": lambda report, files: files.update({"tests/test_f.py": b"weak"}),
    "a deleted test": lambda report, files: files.pop("tests/test_f.py") and None,
    "a longer test": lambda report, files: files.update({"tests/test_f.py": b"hidden\n"}),
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_what_the_runner_never_reports_is_tampering(name: str) -> None:
    assert (await judged(TAMPERING[name])).status == "tampered"


def first_phases(change: Callable[[list[Any]], None]) -> Change:
    """`change` is made to each phase of the first test."""
    return lambda report, files: [change(phase) for phase in report["phases"] if phase[0] == IDS[0]] and None


FAILING: dict[str, Change] = {
    "skipped": first_phases(lambda phase: phase.__setitem__(2, "skipped")),
    "expected to fail": first_phases(lambda phase: phase.__setitem__(3, True)),
    "failed in its teardown": lambda report, files: report["phases"][-1].__setitem__(2, "failed"),
    "run twice": lambda report, files: report["phases"].extend(report["phases"][-3:]),
    "not torn down": lambda report, files: report["phases"].pop() and None,
    "not run": lambda report, files: report.update(phases=canaries(report)),
    "nothing reported": lambda report, files: report.clear(),
    "cut short": lambda report, files: report.update(phases=[], exit=0),
}


@pytest.mark.parametrize("name", FAILING)
async def test_a_test_that_did_not_pass_in_all_its_phases_fails(name: str) -> None:
    assert (await judged(FAILING[name])).status == "failed"


async def test_how_the_runner_ended_is_how_the_judging_ended() -> None:
    for status in ("timeout", "out_of_memory", "output_limit", "crashed"):
        assert (await judged(result=ran(status=status))).status == status
    assert (await judged(result=ran(3))).status == "tampered"  # a report is followed by exit code 0


async def test_who_kills_its_sandboxes_is_blamed_and_a_sick_machine_is_not_a_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Dying(InMemoryProvider):
        """Sandboxes die under every program; runs in workers, by which blame is tested, work or not."""

        def sandbox(self, spec: SandboxSpec) -> Any:
            sandbox: Sandbox = super().sandbox(spec)

            async def dies(command: Sequence[str], *, stdin: bytes = b"", **options: Any) -> ExecResult:
                if (answer := around_the_tests(stdin, {})) is not None:
                    return answer
                raise SandboxError("gone")

            sandbox.exec = dies  # type: ignore[method-assign]
            return sandbox

        async def run(self, request: Any, *, fresh: bool = False) -> Any:
            if not self.healthy:
                raise SandboxError("gone too")
            if request.entry_point is None:
                await asyncio.Event().wait()
            return await super().run(request, fresh=fresh)

        healthy = True

    monkeypatch.setattr("agent_rl.judging.blame._GRACE_SECONDS", 0.01)
    async with Dying() as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory", retries=0, cache_size=0)
        assert (await verifier.judge(TASK, Submission.code("x"))).status == "crashed"
        provider.healthy = False
        with pytest.raises(SandboxError, match="this program did not cause it"):
            await verifier.judge(TASK, Submission.code("x"))


async def test_the_tests_are_staged_last_and_the_submission_cannot_replace_them() -> None:
    seen: dict[str, bytes] = {}
    files = {"tests/test_f.py": b"weak", "README": b"changed", "tests/conftest.py": b"evil", "src/new.py": b"1"}
    await judged(lambda report, now: seen.update(now), submission=Submission.of_files(files))
    left = {path: content for path, content in seen.items() if not path.startswith(("test_t", ".report"))}
    assert left == {"README": b"changed", "tests/test_f.py": b"hidden", "src/new.py": b"1"}


def test_what_would_steer_the_tests_is_dropped() -> None:
    task = dataclasses.replace(TASK, files={"setup.cfg": b"own", "code/__init__.py": b"own", "a.py": b"old"})
    submitted: dict[str, bytes | None] = {
        "conftest.py": b"",
        "pkg/conftest.py": b"",
        "setup.cfg": b"[metadata]\n[tool:pytest]\naddopts = -k x\n",
        "sitecustomize.py": b"",
        "x.pth": b"",
        "x.dist-info/entry_points.txt": b"",
        "__pycache__/solution.cpython-311.pyc": b"",
        "unittest.py": b"",
        "unittest/__init__.py": b"",
        "tests/json.py": b"",
        "tests/more.txt": b"",
        "pytest.so": b"",
        "helpers.py": b"",
        "src/helpers/__init__.py": b"",
        "yaml.py": b"",
        ".venv/bin/pytest": b"",
        "code/__init__.py": b"new",  # the task's own package, though the standard library has a module of that name
        "pkg/json.py": b"",  # below a folder of its own it shadows nothing
        "pkg/helpers.py": b"",
        "numpy.py": b"",  # neither imported by a test nor installed
        "test/helper.py": b"",  # no package, so that the standard library's stays what it is
        "latest/a.txt": b"",
        "tests/test_f.py": None,
        "a.py": None,
        "b.py": None,
    }
    hidden = {**HIDDEN, "tests/test_g.py": b"import yaml, os\nfrom helpers import x\n", "tests/helpers.py": b""}
    facts = PlaceFacts(installed=frozenset({"yaml"}), tools=(".venv/bin",))
    files = staged(task, submitted, hidden, facts, {"setup.cfg": b"own"})
    assert files.write == {
        "setup.cfg": b"[metadata]\n",
        "code/__init__.py": b"new",
        "pkg/json.py": b"",
        "pkg/helpers.py": b"",
        "numpy.py": b"",
        "test/helper.py": b"",
        "latest/a.txt": b"",
    }
    assert sorted(files.remove) == ["a.py", "b.py"]
    assert {"helpers.py", "yaml.py", "tests/more.txt"} <= {*files.left_out}


def test_whose_folder_it_is_decides_what_may_lie_beside_the_tests() -> None:
    beside = {"pkg/test_core.py": b"", "pkg/sub/tests/test_sub.py": b""}
    submitted: dict[str, bytes | None] = {"pkg/core.py": b"1", "pkg/sub/a.py": b"1", "pkg/sub/tests/b.py": b"1"}
    by_module = Task("t", (), PytestTests(beside, module="pkg.core"), tier="in_process")
    assert set(staged(by_module, submitted, beside, PlaceFacts(), {}).write) == {"pkg/core.py", "pkg/sub/a.py"}
    # What the task declares as an artifact is used wherever it lies; what only lies beside it is not.
    hidden = {"tests/test.sh": b""}
    declared = Task("t", (), ScriptTests(hidden, artifacts=("tests/mine.py",)), tier="in_process")
    both: dict[str, bytes | None] = {"tests/mine.py": b"1", "tests/more.py": b"1"}
    assert set(staged(declared, both, hidden, PlaceFacts(), {}).write) == {"tests/mine.py"}
    # A file of the image is the task's own, and what the submission holds of it unchanged is not the submission's.
    facts = PlaceFacts(top={".": ["queue", "app.py"]}, same=frozenset({"app.py"}))
    more: dict[str, bytes | None] = {"queue/__init__.py": b"1", "app.py": b"1", "select.py": b"1"}
    files = staged(declared, more, hidden, facts, {})
    assert set(files.write) == {"queue/__init__.py"}


OWN_PART = b"[tool.pytest.ini_options]\nmarkers = [\n  'slow',\n]\n"
OWN_TOML = b"[project]\nname = 'x'\n" + OWN_PART
MERGED = {
    "kept as it is": (OWN_TOML + b"# more\n", OWN_TOML + b"# more\n"),
    "another project": (OWN_TOML.replace(b"'x'", b"'y'"), OWN_TOML.replace(b"'x'", b"'y'")),
    "another order": (b"[tool.pytest.ini_options]\na = 1\n[project]\n", b"[project]\n" + OWN_PART),
    "quoted": (b"[tool.'pytest'.\"ini_options\"]\na = 1\n[x]\n", b"[x]\n" + OWN_PART),
    "removed": (b"[project]\n", b"[project]\n" + OWN_PART),
    "dotted": (b"tool.pytest.ini_options.addopts = '-k x'\n", None),
    "inline": (b"[tool]\npytest = { ini_options = { addopts = '-k x' } }\n", None),
    "hidden in a text": (b"x = '''\n[tool.pytest]\n'''\n", None),
    "no TOML": (b"[tool.pytest\n", None),
    "no text": (b"\xff", None),
}


@pytest.mark.parametrize("name", MERGED)
def test_only_the_part_for_pytest_of_a_shared_file_is_the_tasks_own(name: str) -> None:
    submitted, expected = MERGED[name]
    assert with_own_pytest_part("pyproject.toml", submitted, OWN_TOML) == expected


async def test_a_script_passes_by_its_exit_code_or_by_its_reward() -> None:
    async def script(exit_code: int, reward: bytes | None, submission: dict[str, bytes], **options: Any) -> Verdict:
        def sh(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
            if reward is not None:
                files["reward.txt"] = reward
            return ran(exit_code)

        tests = ScriptTests({"tests/test.sh": b"true"}, **options)

        def python(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
            return around_the_tests(stdin, files) or ran(1)

        commands = {"sh": sh, "python3": python, "rm": lambda *given: ran()}
        async with InMemoryProvider(commands=commands) as provider:
            verifier = TaskVerifier(provider, minimum_isolation="memory")
            return await verifier.judge(dataclasses.replace(TASK, tests=tests), Submission.of_files(submission))

    assert (await script(0, None, {})).passed
    assert (await script(1, None, {})).tests[0].detail == "exit code 1"
    by_reward: dict[str, Any] = {"reward_file": "reward.txt"}
    assert (await script(0, b"1.0\n", {}, **by_reward)).passed
    verdict = await script(1, b"1.0\n", {}, **by_reward)
    assert (verdict.status, verdict.tests[0].detail, verdict.scores) == ("failed", "exit code 1", {"reward": 1.0})
    verdict = await script(0, b"0.5", {}, **by_reward)
    assert (verdict.status, verdict.scores) == ("failed", {"reward": 0.5})
    for reward in (b"", b"nan", b"-1", b"2", b"inf", b"passed", None):
        assert (await script(0, reward, {"reward.txt": b"1"}, **by_reward)).status == "failed"


async def test_tests_whose_ids_are_not_known_are_not_judged() -> None:
    with pytest.raises(ConfigError, match=r"task t: the node ids of its tests are not known; call prepare\(task\)"):
        await judged(task=dataclasses.replace(TASK, tests=PytestTests(HIDDEN)))


async def test_a_sandbox_without_pytest_is_the_users_mistake_at_load_and_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    asked: list[Sequence[str]] = []

    def python(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
        asked.append(command)
        return ran(1 if len(asked) == 1 else 0)

    async with InMemoryProvider(commands={"python3": python}) as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory")
        with pytest.raises(ConfigError, match="task t: its sandbox has no pytest"):
            await verifier.prepare(TASK)
        for _ in range(3):
            assert await verifier.prepare(TASK) is TASK
    assert asked == [["python3", "-I", "-c", "import pytest"]] * 2


def test_what_the_oracle_solution_skips_says_nothing_of_a_candidate() -> None:
    phases = {
        "a": [Phase(when, "passed", False, "") for when in PHASES],
        "b": [Phase("setup", "skipped", False, "")],
        "c": [Phase("call", "skipped", True, "")],
        "d": [Phase("call", "passed", True, "")],
        "e": [Phase("call", "failed", False, "")],
    }
    report = PytestReport(1, ("z", "a", "b", "c", "d", "e", "f"), (), phases)
    assert asked_of_all(report, {"z"}) == ("a", "e", "f")


async def test_the_configuration_is_searched_for_as_pytest_does() -> None:
    files = {
        "setup.cfg": b"[tool:pytest]\n",
        "a/pytest.ini": b"",
        "a/b/tox.ini": b"[tox]\n",
        "a/c/tox.ini": b"[pytest]\n",
    }
    async with InMemoryProvider() as provider:
        sandbox = provider.sandbox(SandboxSpec())
        await sandbox.write_files(files)
        for tests, config in (
            (["test_x.py"], "setup.cfg"),
            (["d/test_x.py::test"], "setup.cfg"),
            (["a/test_x.py", "a/c/test_y.py"], "a/pytest.ini"),
            (["a/b/test_x.py::test[a/b]"], "a/pytest.ini"),
            (["a/c/test_x.py"], "a/c/tox.ini"),
            (["a/c/test_x.py", "d/test_x.py"], "setup.cfg"),
            ([], "setup.cfg"),
        ):
            assert await own_config(sandbox, tests) == config
