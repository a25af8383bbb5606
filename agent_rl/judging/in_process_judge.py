"""The judge of tier `in_process`: hidden tests run in the candidate's process, in a sandbox that no agent has touched.

What this tier stops:

- everything that an agent leaves behind: the sandbox is new and receives only the agent's declared files;
- submitted files that would steer pytest or the interpreter (see `staging`), and trojans on PATH;
- rewritten, deleted, skipped or deselected tests: the tests are staged last and read back afterwards, and every exact
  node id has to be reported as passed in all its phases;
- results that are printed or written to files that other harnesses use, and early exits, also of the Python programs
  that a script starts (see `script_guard`);
- broad patches of assertions or of pytest's reports: they flip a canary, a test of ours that must fail or pass and that
  runs first or last.

What it cannot stop: code that runs in the process of its own tests can change whatever that process knows. A submission
written against this very judge can walk the frames to its reporter and forge single results, or read the tests'
expected values and return them. Every verdict therefore names its tier, and a config can demand a stronger one.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TypeVar

from agent_rl.contracts.environment import InvalidSubmission
from agent_rl.contracts.sandbox import Sandbox, SandboxProvider
from agent_rl.errors import ConfigError, SandboxError, SandboxStartError
from agent_rl.judging.blame import Blamed
from agent_rl.judging.canaries import Canaries
from agent_rl.judging.collected_node_ids import collected, require_tests
from agent_rl.judging.judge import digest_of
from agent_rl.judging.judged_place import (
    ENVIRONMENT,
    Aftermath,
    aftermath,
    conftests,
    guarded,
)
from agent_rl.judging.judging_runs import (
    ISOLATIONS,
    Runs,
    failed_run,
    feedback_lines,
    reasons,
    tampered,
)
from agent_rl.judging.pytest_report import Late, PytestReport, TamperedReport, asked_of_all, read_report
from agent_rl.judging.ready_place import Staging, has_own_image, own_config, read_file
from agent_rl.judging.repeated_runs import ended_command
from agent_rl.vocabulary import (
    ExecResult,
    Isolation,
    PytestTests,
    SandboxSpec,
    ScriptTests,
    Submission,
    Task,
    TestResult,
    Verdict,
    wording,
)

_MAX_REPORT = 16 << 20
_MAX_REWARD = 64
_MAX_LOG = 1 << 20
_NOT_FOUND = 127
_MARGIN_SECONDS = 120.0
"""A sandbox lives this much longer than pytest may take to start, and the tests."""
T = TypeVar("T")
_log = logging.getLogger(__name__)


class InProcessJudge:
    """Judges `PytestTests` and `ScriptTests` in fresh sandboxes of a provider."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._provider = runs.provider
        self._probed: set[SandboxSpec | None] = set()
        self._staging = Staging(lambda task: self._provider.sandbox(self._spec(task)))

    @property
    def isolation(self) -> Isolation:
        """`container`, since each judging has a sandbox of its own; `memory` if the provider isolates nothing."""
        return "memory" if self._provider.isolation == "memory" else "container"

    def check(self, task: Task, tests: PytestTests | ScriptTests) -> bytes:
        demanded = self._runs.minimum_isolation
        if ISOLATIONS.index("container") < ISOLATIONS.index(demanded):
            raise ConfigError(
                f"task {task.id} is judged at isolation 'container', which is weaker than {demanded!r}",
                key="sandbox.minimum_isolation",
                value=demanded,
            )
        if not tests.files:
            raise ConfigError(f"task {task.id}: no test files")
        if isinstance(tests, ScriptTests) and not (tests.command and tests.command[0].startswith("/")):
            raise ConfigError(
                f"task {task.id}: the command of the tests must begin with an absolute path, so that no file of a "
                f"submission can replace it: {tests.command[:1]}",
                key="command",
            )
        return digest_of(task, tests)

    async def prepare(self, task: Task, tests: PytestTests | ScriptTests) -> Task:
        """The task with its tests' node ids, all of which the oracle solution passes; a script task is unchanged."""
        if isinstance(tests, ScriptTests):
            return task
        require_tests(task, tests)
        await self._probe(task)
        return await collected(task, tests, lambda: self._collect(task, tests))

    async def judge(
        self, task: Task, tests: PytestTests | ScriptTests, submission: Submission, *, public: bool
    ) -> Verdict:
        """The verdict of `tests`. Raises SandboxError for an infrastructure failure not caused by the submission."""
        self._runs.check(self.isolation)
        if isinstance(tests, ScriptTests):
            outcome = await self._in_a_fresh_place(task, lambda sandbox: self._script(sandbox, task, tests, submission))
        else:
            if not tests.tests:
                raise ConfigError(f"task {task.id}: the node ids of its tests are not known; call prepare(task) first")
            outcome = await self._in_a_fresh_place(task, lambda sandbox: self._pytest(sandbox, task, tests, submission))
        if isinstance(outcome, Blamed):
            outcome = failed_run("in_process", self.isolation, "crashed", 0.0, outcome.detail, public=True)
        return outcome if public else dataclasses.replace(outcome, feedback="")

    async def _probe(self, task: Task) -> None:
        """Ensures that the task's sandbox has pytest; checked once per kind of sandbox. Raises ConfigError."""
        if task.sandbox in self._probed:
            return

        async def has_pytest(sandbox: Sandbox) -> bool:
            command = ["python3", "-I", "-c", "import pytest"]
            environment = None if has_own_image(task) else ENVIRONMENT
            result = await sandbox.exec(command, timeout=60.0, environment=environment)
            if result.status != "completed":
                raise SandboxError(f"a sandbox could not be asked for pytest: {result.status}")
            return result.exit_code == 0

        if not await self._in_a_fresh_place(task, has_pytest):
            raise ConfigError(f"task {task.id}: its sandbox has no pytest: {self._runs.provider.pytest_remedy}")
        self._probed.add(task.sandbox)

    async def _collect(self, task: Task, tests: PytestTests) -> tuple[str, ...]:
        """The node ids of the tests, all passed by the oracle solution. Raises ConfigError (naming the task)."""
        self._runs.check(self.isolation)
        oracle = Submission.of_files(tests.oracle)
        found = tests.tests
        # Once more as candidates will be judged: ids that are drawn at random are not there the second time.
        for again in ("", ", run again by the node ids that were found"):
            asked = dataclasses.replace(tests, tests=found)

            async def once(sandbox: Sandbox, asked: PytestTests = asked) -> tuple[Verdict, tuple[str, ...]]:
                return await self._run_pytest(sandbox, task, asked, oracle)

            outcome = await self._in_a_fresh_place(task, once)
            why = outcome.detail if isinstance(outcome, Blamed) else reasons(outcome[0])
            if isinstance(outcome, Blamed) or not outcome[0].passed:
                raise ConfigError(f"task {task.id}: the oracle solution does not pass its own tests{again}: {why}")
            found = outcome[1]
        return found

    async def _in_a_fresh_place(self, task: Task, work: Callable[[Sandbox], Awaitable[T]]) -> T | Blamed:
        """The result of `work` in a sandbox of its own, or `Blamed`. Raises SandboxError (infrastructure failure)."""
        spec = self._spec(task)

        async def once(place: SandboxProvider) -> T:
            sandbox = place.sandbox(spec)
            try:
                return await work(sandbox)
            finally:
                try:
                    await sandbox.close()
                except (SandboxError, OSError) as error:  # it changes no verdict
                    _log.warning("a sandbox of task %s could not be closed: %s", task.id, error)

        return await self._runs.work(once, task.limits)

    def _spec(self, task: Task) -> SandboxSpec:
        return dataclasses.replace(
            task.sandbox or SandboxSpec(),
            lifetime_seconds=_longest(task) + _MARGIN_SECONDS,
            output_bytes=task.limits.output_bytes,
        )

    async def _pytest(self, sandbox: Sandbox, task: Task, tests: PytestTests, submission: Submission) -> Verdict:
        verdict, _ = await self._run_pytest(sandbox, task, tests, submission)
        return verdict

    async def _run_pytest(
        self, sandbox: Sandbox, task: Task, tests: PytestTests, submission: Submission
    ) -> tuple[Verdict, tuple[str, ...]]:
        """(verdict, collected node ids without canaries). If the task names no node ids, all that the program does
        not skip count."""
        canaries = Canaries.new()
        hidden = {**tests.files, **canaries.files}
        try:
            place = await self._staging.stage(sandbox, task, submission, hidden, tests.module)
        except InvalidSubmission as error:
            return Verdict.invalid_submission("in_process", str(error), public=True), ()
        nonce, name = secrets.token_hex(16), f".report-{secrets.token_hex(8)}.json"
        facts = place.facts
        programs = sorted(path for path in tests.files if path.endswith(".py"))
        paths = tests.tests or tuple(path for path in programs if _is_test_file(path))
        order = {
            "root": facts.root,
            "report": f"{facts.root}/{name}",
            "nonce": nonce,
            "tests": [canaries.first, *paths, canaries.last],
            "more": [] if tests.tests else [path for path in programs if path not in paths],
            "conftest": bool(place.conftests),
            "config": await own_config(sandbox, paths or programs),
            "python_path": [p for p in facts.python_path.split(":") if p],
            "seconds": task.limits.wall_seconds,
        }
        command = ["python3", "-I", "-B", "-c", _runner_source()]
        result = await sandbox.exec(
            command, stdin=json.dumps(order).encode(), timeout=_longest(task), environment=facts.environment
        )
        if result.status != "completed":
            return self._ended(result, result.status.replace("_", " ")), ()
        changed = await _changed(sandbox, hidden)
        if not changed and place.conftests:
            strays = sorted(await conftests(sandbox, facts) - place.conftests)
            changed = f"a conftest.py was put beside the tests: {strays[0]}" if strays else ""
        if changed:
            return tampered("in_process", self.isolation, result.seconds, changed, public=True), ()
        raw = await read_file(sandbox, name, _MAX_REPORT)
        if raw is None:
            return self._ended(result, f"no test was reported: it ended early, exit code {result.exit_code}"), ()
        try:
            report = read_report(raw, nonce)
            if isinstance(report, Late):
                return self._ended(report.ended(result, task.limits.wall_seconds), "timeout"), ()
            expected = tests.tests or asked_of_all(report, canaries.ids)
            known = expected if tests.tests else report.collected
            return self._verdict(report, expected, known, canaries, result), expected
        except TamperedReport as error:
            return tampered("in_process", self.isolation, result.seconds, str(error), public=True), ()

    def _ended(self, result: ExecResult, why: str) -> Verdict:
        """The verdict if pytest did not run to its end."""
        ended_command(result)
        status = "failed" if result.status == "completed" else result.status
        said = wording.last_line(result.stderr.decode("utf-8", "replace"))
        detail = f"{why} ({said})" if result.stderr.strip() else why
        verdict = failed_run("in_process", self.isolation, status, result.seconds, detail, public=True)
        tests = (TestResult("run", False, _with_output(verdict.tests[0].detail, result)),)
        return dataclasses.replace(verdict, tests=tests)

    def _verdict(
        self,
        report: PytestReport,
        expected: tuple[str, ...],
        known: tuple[str, ...],
        canaries: Canaries,
        result: ExecResult,
    ) -> Verdict:
        """The verdict on the `expected` tests, which are among the `known` ones.

        Raises TamperedReport for a flipped canary or a contradictory report.
        """
        if result.exit_code != 0:
            raise TamperedReport(f"a report, and then exit code {result.exit_code}")
        details = {test: report.why_not_passed(test) for test in expected}
        all_claimed = bool(expected) and not any(details.values())
        for test, must_pass in canaries.ids.items():
            if test not in report.phases:
                if all_claimed:
                    raise TamperedReport("all tests passed, but a canary was not run")
                continue
            if (report.why_not_passed(test) == "") != must_pass:
                raise TamperedReport(f"a test that must {'pass' if must_pass else 'fail'} did not")
        unknown = [test for test in report.phases if test not in known and test not in canaries.ids]
        if unknown:
            raise TamperedReport(f"a result of a test that was not asked for: {unknown[0]}")
        if all_claimed and report.exit_code != 1:
            # An honest exit code is 1, because some canaries must fail.
            raise TamperedReport(f"all tests passed, and pytest ended with {report.exit_code}")
        passed = sum(not why for why in details.values())
        results = tuple(TestResult(wording.printable(t), not why, wording.printable(why)) for t, why in details.items())
        if not results:
            why = report.errors[0][1] if report.errors else "no test was found"
            results = (TestResult("collection", False, wording.last_line(why)),)
        return Verdict(
            all_claimed,
            "passed" if all_claimed else "failed",
            "in_process",
            self.isolation,
            result.seconds,
            results,
            {"tests_passed": passed / max(len(details), 1)},
            feedback_lines([f"{r.name}: {r.detail}" for r in results if not r.passed]),
        )

    async def _script(self, sandbox: Sandbox, task: Task, tests: ScriptTests, submission: Submission) -> Verdict:
        try:
            place = await self._staging.stage(
                sandbox, task, submission, tests.files, "solution", without=tests.reward_file
            )
        except InvalidSubmission as error:
            return Verdict.invalid_submission("in_process", str(error), public=True)
        facts, reward_file = place.facts, str(PurePosixPath(place.facts.root, tests.reward_file))
        guard = await guarded(sandbox, facts, tests.files, place.staged.write, tests.reward_file)
        result = await sandbox.exec(tests.command, timeout=task.limits.wall_seconds, environment=guard.environment)
        if result.status != "completed":
            return self._ended(result, result.status.replace("_", " "))
        if result.exit_code == _NOT_FOUND and (names := await self._staging.lacking(task, tests.command, facts.root)):
            why = f"the sandbox has no {', '.join(names)}"
            raise SandboxStartError(f"the tests of task {task.id} cannot be started: {why}")
        paths = [guard.log, *([reward_file] if tests.reward_file else [])]
        after = await aftermath(sandbox, facts, paths, most=_MAX_LOG)
        changed = await _changed(sandbox, tests.files)
        if after.left and not changed:
            changed = "processes that it left behind cannot be ended"
        if changed:
            return tampered("in_process", self.isolation, result.seconds, changed, public=True)
        detail = "" if result.exit_code == 0 else f"exit code {result.exit_code}"
        scores: dict[str, float] = {}
        if tests.reward_file:
            reward = _reward(after.texts[1])
            scores = {} if reward is None else {"reward": reward}
            if reward is None or reward < 1:
                detail = f"reward {reward}"
            elif not detail and _killed(after):
                detail = "a program of the tests was ended before the reward was written"
        output = (result.stdout + result.stderr).decode("utf-8", "replace")
        said = [wording.printable(line) for line in output.strip().splitlines()[-5:]]
        told = _with_output(detail, result, place.staged.left_out) if detail else ""
        return Verdict(
            not detail,
            "failed" if detail else "passed",
            "in_process",
            self.isolation,
            result.seconds,
            (TestResult(PurePosixPath(tests.command[-1]).name, not detail, told),),
            scores,
            "" if not detail else "\n".join([detail, *said]),
        )


def _longest(task: Task) -> float:
    """Seconds of the tests, and of pytest's start, which may take what a case may take, as loading a program may."""
    return 2 * task.limits.wall_seconds


def _with_output(detail: str, result: ExecResult, left_out: Sequence[str] = ()) -> str:
    """`detail`, and for people the end of what the tests printed, and which files of the submission were not used."""
    output = wording.block((result.stdout + b"\n" + result.stderr).decode("utf-8", "replace"))
    unused = f"not used of the submission: {wording.printable(', '.join(left_out))}" if left_out else ""
    return "\n".join(part for part in (detail, unused, output) if part)


def _killed(after: Aftermath) -> bool:
    """Whether a watched Python program of the tests ended early, or neither ended nor ran until the script had."""
    words = [line.split() for line in (after.texts[0] or b"").decode("utf-8", "replace").splitlines()]
    begun = {line[1] for line in words if line[:1] == ["start"] and len(line) == 2}
    ended = {line[1] for line in words if line[:1] == ["end"] and len(line) == 2}
    early = any(line[:1] == ["early"] for line in words)
    return early or bool(begun - ended - {str(pid) for pid in after.alive})


def _is_test_file(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


async def _changed(sandbox: Sandbox, staged_tests: Mapping[str, bytes]) -> str:
    """Names the first test file that changed since it was staged; empty if none did."""
    for path, content in staged_tests.items():
        if await read_file(sandbox, path, len(content) + 1) != content:
            return f"the tests' file {path} was changed"
    return ""


def _reward(text: bytes | None) -> float | None:
    """The number in the reward file; None if there is no file, or no number from 0 to 1 in it."""
    try:
        reward = float((text or b"")[:_MAX_REWARD])
    except ValueError:
        return None
    return reward if 0 <= reward <= 1 else None


@cache
def _runner_source() -> str:
    return files("agent_rl.judging").joinpath("pytest_runner.py").read_text()
