"""The judge of tier `values`: calls go into a sandbox, values come out, and are compared here, outside.

CallTests ──> _Prepared ──> RunRequest ──> provider.run ──> read_frames ──> compare ──> Verdict
              (once a task)  (shuffled, random ids)  (strict)            (never in the candidate's process)
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from agent_rl.contracts.sandbox import Sandbox, SandboxProvider
from agent_rl.contracts.verifier import Verifier
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.verify import wording
from agent_rl.verify.blame import Blamed, run_or_blame
from agent_rl.verify.canonical import NotCanonical, decode, encode
from agent_rl.verify.checker import Recorded, checker_request, recorded_call, satisfied
from agent_rl.verify.compare import equal
from agent_rl.verify.frames import Answers, Raised, Returned, Tampered, read_frames, value_of
from agent_rl.verify.shared import SharedVerdicts
from agent_rl.vocabulary import (
    AnswerTests,
    AssertTests,
    CallTests,
    Case,
    Isolation,
    Limits,
    RunCall,
    RunRequest,
    RunResult,
    Submission,
    Task,
    TestResult,
    Tests,
    Verdict,
)
from agent_rl.vocabulary.task import Tier
from agent_rl.vocabulary.verdict import VerdictStatus

MAX_PROGRAM_CHARS = 1 << 18
MAX_FEEDBACK_LINES = 5
MAX_DETAILS = 20
"""Failed cases that are described; the others only count."""
_LARGE_CHARS = 1 << 16
"""Frames beyond this are read in a thread, so that one large answer does not hold up the event loop."""
_PREPARED_TASKS = 4096
_TIERS: tuple[Tier, ...] = ("in_process", "proxied", "values")
_ISOLATIONS: tuple[Isolation, ...] = ("memory", "container", "uid", "namespaces")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One `CallTests` with everything that does not depend on a submission; `cases` hold normalised values."""

    source: CallTests
    limits: Limits
    cases: tuple[Case, ...]
    arguments: tuple[str, ...]
    expected: tuple[str | None, ...]
    """Canonical text of each expected value, where equal texts mean equal values (not so for nan under ==)."""
    digest: bytes


class CaseVerifier(Verifier):
    """Judges `CallTests` in the slots of `provider`, at tier `values`.

    One judging stands: a verdict is given once for a program and its tests and is kept for the run (the `cache_size`
    latest; 0 switches this off), also for rollouts that ask while it is being made. This is sound since nothing but
    the program, the tests, the limits and `seed` enters a run (order of calls and random seed are derived from
    them); its price is that a program that draws from the clock or the machine's entropy gets one draw for the run,
    as if all its copies had been judged in the same moment. Errors of the machinery are never kept.

    `runs` counts the runs asked of the provider, `reused` the verdicts that needed none.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        *,
        seed: int = 0,
        retries: int = 2,
        minimum_tier: Tier = "in_process",
        minimum_isolation: Isolation = "container",
        cache_size: int = 4096,
    ) -> None:
        self.provider = provider
        self.seed = seed
        self.retries = retries
        self.minimum_tier: Tier = minimum_tier
        self.minimum_isolation: Isolation = minimum_isolation
        self.runs = 0
        self._verdicts = SharedVerdicts(cache_size)
        self._prepared: OrderedDict[tuple[int, Limits, Tier], tuple[CallTests, _Prepared]] = OrderedDict()

    @property
    def reused(self) -> int:
        """Verdicts given without a run of their own."""
        return self._verdicts.reused

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        return await self._verdict(task, task.tests, submission, visible=False)

    async def run_visible(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        """The verdict of the visible tests; `passed` without a run where the task has none.

        `sandbox` is not used: a slot is faster, and in a place where the agent has been the feedback could lie.
        """
        if task.visible is None or (isinstance(task.visible, CallTests) and not task.visible.cases):
            return Verdict(True, "passed", task.tier, None)
        return await self._verdict(task, task.visible, submission, visible=True)

    async def prepare(self, task: Task) -> Task:
        if isinstance(task.tests, AssertTests):
            from agent_rl.verify.recording import record_tests  # recording judges the reference with this class

            return await record_tests(task, self.provider, minimum_isolation=self.minimum_isolation)
        if isinstance(task.tests, CallTests):
            self._prepare(task, task.tests)
        return task

    async def _verdict(self, task: Task, tests: Tests, submission: Submission, *, visible: bool) -> Verdict:
        prepared = self._prepare(task, tests)
        invalid = _invalid(submission)
        if invalid:
            tests_failed = (TestResult("submission", False, invalid),)
            feedback = invalid if visible else ""
            return Verdict(False, "invalid_submission", task.tier, None, tests=tests_failed, feedback=feedback)
        program = hashlib.blake2b(submission.text.encode(), digest_size=16).digest()
        return await self._verdicts.get(
            (prepared.digest, program, visible), lambda: self._judge(prepared, submission.text, program, visible)
        )

    def _prepare(self, task: Task, tests: Tests) -> _Prepared:
        """The tests ready to run, made once per object. Raises ConfigError for tests that cannot be judged here."""
        key = (id(tests), task.limits, task.tier)
        known = self._prepared.get(key)
        if known is not None and known[0] is tests:
            return known[1]
        if _TIERS.index(task.tier) < _TIERS.index(self.minimum_tier):
            raise ConfigError(
                f"task {task.id} is judged at tier {task.tier!r}", key="sandbox.minimum_tier", value=self.minimum_tier
            )
        if task.tier != "values":
            raise ConfigError(f"task {task.id}: tests by cases are of tier 'values'", key="tier", value=task.tier)
        if isinstance(tests, AssertTests):
            raise ConfigError(f"task {task.id}: its tests are not recorded as cases yet; call prepare(task) first")
        if isinstance(tests, AnswerTests):
            raise ConfigError(f"task {task.id}: an answer is compared by its environment, not in a sandbox")
        prepared = _prepare(task.id, tests, task.limits)
        self._prepared[key] = (tests, prepared)  # holds `tests`, so that its id cannot be used again
        if len(self._prepared) > _PREPARED_TASKS:
            self._prepared.popitem(last=False)
        return prepared

    async def _judge(self, prepared: _Prepared, program: str, program_digest: bytes, visible: bool) -> Verdict:
        """One judging, in one run (two with a checker)."""
        tests = prepared.source
        draw = random.Random(b"%d:%b:%b" % (self.seed, prepared.digest, program_digest))
        order = list(range(len(prepared.cases)))
        draw.shuffle(order)
        secret = secrets.token_hex(8 * len(order))
        ids = [secret[16 * i : 16 * i + 16] for i in order]
        calls = tuple(RunCall(ids[at], prepared.arguments[i]) for at, i in enumerate(order))
        request = RunRequest(program, tests.entry_point, calls, limits=prepared.limits, seed=draw.getrandbits(32))
        result = await self._run(request)
        if isinstance(result, Blamed):
            return self._failed(self.provider.isolation, "crashed", 0.0, result.detail, visible)
        reading = _Reading(prepared, dict(zip(order, ids, strict=True)), result, visible)
        if sum(map(len, result.frames)) > _LARGE_CHARS:
            verdict = await asyncio.to_thread(reading.verdict)
        else:
            verdict = reading.verdict()
        if verdict is None:
            return await self._check(prepared, reading, visible)
        return verdict

    async def _check(self, prepared: _Prepared, reading: _Reading, visible: bool) -> Verdict:
        """The verdict of the checker program on the outputs that `reading` holds."""
        result, call_id = reading.result, secrets.token_hex(8)
        try:
            request = checker_request(prepared.source.checker, reading.recorded, prepared.limits, call_id)
        except NotCanonical as error:
            return self._failed(result.isolation, "failed", result.seconds, f"outputs: {error}", visible)
        checked = await self._run(request)
        if isinstance(checked, Blamed):
            return self._failed(result.isolation, "crashed", result.seconds, checked.detail, visible)
        seconds = result.seconds + checked.seconds
        try:
            answers = read_frames(checked.frames, [call_id])
        except Tampered as error:
            return self._failed(result.isolation, "failed", seconds, f"checker: {error}", visible)
        if checked.status == "completed" and satisfied(answers, call_id):
            tests = (TestResult("checker", True),)
            return Verdict(True, "passed", "values", result.isolation, seconds, tests, {"tests_passed": 1.0})
        answer = answers.by_id.get(call_id)
        why = wording.last_line(answer.error) if isinstance(answer, Raised) else checked.status
        return self._failed(result.isolation, "failed", seconds, f"the check was not satisfied: {why}", visible)

    async def _run(self, request: RunRequest) -> RunResult | Blamed:
        self.runs += 1
        result = await run_or_blame(self.provider, request, retries=self.retries)
        if isinstance(result, RunResult) and _ISOLATIONS.index(result.isolation) < _ISOLATIONS.index(
            self.minimum_isolation
        ):
            raise SandboxError(
                f"a run was isolated at level {result.isolation!r} only, and sandbox.minimum_isolation is "
                f"{self.minimum_isolation!r}; `agent-rl sandbox doctor` says what blocks more"
            )
        return result

    @staticmethod
    def _failed(isolation: Isolation, status: VerdictStatus, seconds: float, detail: str, visible: bool) -> Verdict:
        detail = wording.printable(detail)
        tests = (TestResult("run", False, detail),)
        return Verdict(False, status, "values", isolation, seconds, tests, feedback=detail if visible else "")


class _Reading:
    """One run's result, read and compared. With a checker, `verdict` is None and `recorded` holds the outputs."""

    def __init__(self, prepared: _Prepared, ids: dict[int, str], result: RunResult, visible: bool) -> None:
        self.prepared = prepared
        self.ids = ids
        self.result = result
        self.visible = visible
        self.recorded: list[Recorded] = []

    def verdict(self) -> Verdict | None:
        """The verdict, where no checker is needed for it."""
        if self.result.anomalies:
            return self._tampered("; ".join(self.result.anomalies))
        try:
            answers = read_frames(self.result.frames, list(self.ids.values()))
            complete = self.result.status == "completed" and len(answers.by_id) == len(self.ids)
            if complete and self.prepared.source.comparison == "checker":
                self._record(answers)
                return None
            return self._compared(answers)
        except Tampered as error:
            return self._tampered(str(error))

    def _record(self, answers: Answers) -> None:
        for index, case in enumerate(self.prepared.cases):
            answer = answers.by_id[self.ids[index]]
            if isinstance(answer, Raised):
                self.recorded.append(recorded_call(case, answer.error, None))
            else:
                self.recorded.append(recorded_call(case, None, value_of(answer)))

    def _compared(self, answers: Answers) -> Verdict:
        """Each case's result. A run that did not complete keeps its status, whatever it answered before."""
        status = self.result.status
        if answers.load_error is not None:
            missing = wording.last_line(answers.load_error)
        elif status != "completed":
            missing = status.replace("_", " ")
        else:
            missing = f"the program ended early, exit code {self.result.exit_code}"
        details: list[str] = []
        failed = 0
        for index in range(len(self.prepared.cases)):
            details.append(self._detail(index, answers, missing if failed < MAX_DETAILS else None))
            failed += details[-1] != ""
        passed = len(details) - failed
        if status == "completed":
            final: VerdictStatus = "passed" if passed == len(details) else "failed"
        else:
            final = status
        tests = tuple(TestResult(f"case {i}", not d, d) for i, d in enumerate(details))
        return Verdict(
            final == "passed",
            final,
            "values",
            self.result.isolation,
            self.result.seconds,
            tests,
            {"tests_passed": passed / len(details)},
            self._feedback(details, answers.load_error),
        )

    def _detail(self, index: int, answers: Answers, missing: str | None) -> str:
        """Empty where the case passed, else what came out instead; only "failed" where `missing` is None."""
        tests, case = self.prepared.source, self.prepared.cases[index]
        answer = answers.by_id.get(self.ids[index])
        if isinstance(answer, Returned):
            if answer.text == self.prepared.expected[index]:
                return ""
            value = value_of(answer)
            if tests.comparison != "checker" and equal(value, case.expected, tests.comparison, tests.tolerance):
                return ""
            return "failed" if missing is None else wording.gave(tests.entry_point, case, value)
        if missing is None:
            return "failed"
        if isinstance(answer, Raised):
            return wording.raised(tests.entry_point, case, answer.error)
        return wording.unanswered(tests.entry_point, case, missing)

    def _feedback(self, details: list[str], load_error: str | None) -> str:
        if not self.visible:
            return ""
        if load_error is not None:
            return wording.last_line(load_error)
        failing = [d for d in details if d]
        more = [f"and {len(failing) - MAX_FEEDBACK_LINES} more"] if len(failing) > MAX_FEEDBACK_LINES else []
        return "\n".join([*failing[:MAX_FEEDBACK_LINES], *more])

    def _tampered(self, why: str) -> Verdict:
        detail = wording.printable(why)
        tests = (TestResult("result channel", False, detail),)
        feedback = "the program interfered with its tests" if self.visible else ""
        return Verdict(
            False, "tampered", "values", self.result.isolation, self.result.seconds, tests, feedback=feedback
        )


def _prepare(task_id: str, tests: CallTests, limits: Limits) -> _Prepared:
    """The tests in canonical form. Raises ConfigError that names the task and the case."""
    if not tests.cases:
        raise ConfigError(f"task {task_id}: no cases, so that every program would pass")
    if tests.comparison == "checker" and not tests.checker:
        raise ConfigError(f"task {task_id}: comparison 'checker' needs a checker", key="checker")
    cases: list[Case] = []
    arguments: list[str] = []
    expected: list[str | None] = []
    digest = hashlib.blake2b(digest_size=16)
    for number, case in enumerate(tests.cases):
        try:
            arguments.append(encode([case.args, dict(case.kwargs)]))
            text = encode(case.expected)
        except NotCanonical as error:
            raise ConfigError(f"task {task_id}: case {number} cannot be held in canonical form: {error}") from None
        value = decode(text)
        cases.append(Case(case.args, value, case.kwargs))
        same = equal(value, decode(text), tests.comparison, tests.tolerance) if tests.comparison != "checker" else False
        expected.append(text if same else None)
        digest.update(f"{len(arguments[-1])},{len(text)}:{arguments[-1]}{text}".encode())
    settings = (tests.entry_point, tests.comparison, tests.tolerance, tests.checker, limits)
    digest.update(repr(settings).encode())
    return _Prepared(tests, limits, tuple(cases), tuple(arguments), tuple(expected), digest.digest())


def _invalid(submission: Submission) -> str:
    """Why the submission is no program that can be run; empty where it is one. Never parsed here: it is untrusted."""
    if submission.kind != "code":
        return f"a submission of kind {submission.kind!r}, where a program is judged"
    text = submission.text
    if not text.strip():
        return "an empty program"
    if len(text) > MAX_PROGRAM_CHARS:
        return f"a program of more than {MAX_PROGRAM_CHARS} characters"
    if "\0" in text:
        return "a program with a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a program that is no valid Unicode"
    return ""
