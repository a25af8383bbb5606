"""The judge of tier `values` for whole programs: they run in a sandbox, and their output is compared outside of it.

If cases are not isolated, one run executes the program once per case, each in a process of its own, in random order
(`inside/case_processes.py`). The worker server says where the output of each execution ends, so that the judge can cut
standard output into parts. If a run answers only some of the cases, another takes the rest: no case is ever executed
twice.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.blame import Blamed
from agent_rl.judging.checker_programs import answers_of, fault_of, refused
from agent_rl.judging.compare_outputs import same_output
from agent_rl.judging.judge import digest_of
from agent_rl.judging.judging_runs import (
    MAX_DETAILS,
    CallsRun,
    Runs,
    due,
    failed_run,
    invalid_program,
    tampered,
    verdict_of_cases,
)
from agent_rl.judging.result_frames import Answer, Raised, Returned, Tampered, read_frames, value_of
from agent_rl.vocabulary import (
    Isolation,
    RunCall,
    RunRequest,
    RunResult,
    StdioCase,
    StdioTests,
    Submission,
    Task,
    Verdict,
    wording,
)
from agent_rl.vocabulary.canonical import NotCanonical, encode
from agent_rl.vocabulary.runs import RunStatus

CHECK = "check"
"""Name of a checker program's entry point."""
_LARGE_BYTES = 1 << 16
_MAX_SHOWN = 60
_MAX_TRACEBACK = 1 << 14


@dataclass(frozen=True, slots=True)
class _Printed:
    """The output of one execution and how it ended. `error` is the program's own text, if it says why it failed."""

    stdout: bytes
    exit_code: int
    error: str | None


class StdioJudge:
    """Judges `StdioTests` in the workers of a provider."""

    def __init__(self, runs: Runs, *, seed: int = 0) -> None:
        self._runs = runs
        self._seed = seed

    def check(self, task: Task, tests: StdioTests) -> bytes:
        if not tests.cases:
            raise ConfigError(f"task {task.id}: no cases, so that every program would pass")
        if tests.comparison == "checker" and not tests.checker:
            raise ConfigError(f"task {task.id}: comparison 'checker' needs a checker", key="checker")
        for number, case in enumerate(() if tests.isolated else tests.cases):
            try:
                _argument(case)
            except NotCanonical as error:
                raise ConfigError(
                    f"task {task.id}: case {number}: its input cannot be sent together with the other cases ({error}); "
                    "set isolated = true, so that each case has a run of its own"
                ) from None
        if tests.comparison != "checker" and not any(_bytes(case.expected).strip() for case in tests.cases):
            raise ConfigError(f"task {task.id}: no case expects any output, so that a program that does nothing passes")
        return digest_of(task, tests)

    async def prepare(self, task: Task, tests: StdioTests) -> Task:
        """The task. Raises ConfigError if its checker does not work on the expected outputs."""
        if tests.comparison == "checker":
            fault = await _Judging(self._runs, task, tests, "", self._seed, False).checker_fault()
            if fault:
                raise refused(task, fault)
        return task

    async def judge(self, task: Task, tests: StdioTests, submission: Submission, *, public: bool) -> Verdict:
        """The verdict of `tests`. Raises SandboxError for an infrastructure failure not caused by the program."""
        invalid = invalid_program(submission)
        if invalid:
            return Verdict.invalid_submission(task.tier, invalid, public=public)
        digest = hashlib.blake2b(f"{task.id}\0{submission.text}".encode(), digest_size=16)
        draw = random.Random(b"%d:%b" % (self._seed, digest.digest()))
        order = list(range(len(tests.cases)))
        draw.shuffle(order)
        judging = _Judging(self._runs, task, tests, submission.text, draw.getrandbits(32), public)
        try:
            outcome = await (judging.isolated(order) if tests.isolated else judging.together(order))
            if isinstance(outcome, Blamed):
                isolation = self._runs.provider.isolation
                return failed_run("values", isolation, "crashed", judging.seconds, outcome.detail, public=public)
            return await judging.verdict()
        except Tampered as error:
            return tampered("values", judging.isolation, judging.seconds, str(error), public=public)


class _Judging:
    """One submission's executions and their results."""

    def __init__(self, runs: Runs, task: Task, tests: StdioTests, program: str, seed: int, public: bool) -> None:
        self._runs = runs
        self._limits = due(task.limits, (len(_bytes(case.expected)) for case in tests.cases))
        self._tests = tests
        self._program = program
        self._seed = seed
        self._public = public
        self._printed: dict[int, _Printed] = {}
        self._load_error: str | None = None
        self._status: RunStatus = "completed"
        self.isolation: Isolation = runs.provider.isolation
        self.seconds = 0.0
        self.slowest = 0.0

    async def together(self, order: list[int]) -> Blamed | None:
        """Runs all cases in as few runs as possible. Raises Tampered."""
        secret = secrets.token_hex(8 * len(order))
        ids = {secret[16 * at : 16 * at + 16]: i for at, i in enumerate(order)}
        calls = tuple(RunCall(call_id, _argument(self._tests.cases[i])) for call_id, i in ids.items())
        runs = await self._runs.run_calls(self._request(self._program, None, calls))
        if isinstance(runs, Blamed):
            return runs
        for run in runs:
            self._take(run.result)
            if len(run.result.stdout) > _LARGE_BYTES:
                await asyncio.to_thread(self._read, run, ids)
            else:
                self._read(run, ids)
        return None

    def _request(self, program: str, entry_point: str | None, calls: tuple[RunCall, ...] = ()) -> RunRequest:
        return RunRequest(program, entry_point, calls, limits=self._limits, seed=self._seed)

    async def isolated(self, order: list[int]) -> Blamed | None:
        """Runs each case in a run of its own. Raises Tampered."""
        requests = [
            dataclasses.replace(self._request(self._program, None), stdin=_bytes(self._tests.cases[i].stdin))
            for i in order
        ]
        results = await self._runs.run_each(requests)
        if isinstance(results, Blamed):
            return results
        for index, result in zip(order, results, strict=False):
            self._take(result)
            load_error = read_frames(result.frames, []).load_error
            if result.status == "completed":
                assert result.exit_code is not None
                self._printed[index] = _Printed(result.stdout, result.exit_code, load_error)
        return None

    def _take(self, result: RunResult) -> None:
        """Takes over what concerns the whole run. Raises Tampered."""
        self.isolation = result.isolation
        self.seconds += result.seconds
        self.slowest = max(self.slowest, result.slowest_seconds)
        if result.anomalies:
            raise Tampered("; ".join(result.anomalies))
        if self._status == "completed":
            self._status = result.status

    def _read(self, run: CallsRun, ids: dict[str, int]) -> None:
        """Reads the output of each execution of a run. Raises Tampered."""
        result = run.result
        answers = read_frames(result.frames, [call.id for call in run.calls])
        if answers.load_error is not None:
            self._load_error = self._load_error or answers.load_error
            return
        # The first frame says that the program was loaded.
        for number, call in enumerate(run.calls, start=1):
            answer = answers.by_id.get(call.id)
            if answer is None:
                return
            if number >= len(result.ends):
                raise Tampered("an execution whose output has no end")
            (out, err), (out_end, err_end) = result.ends[number - 1 : number + 1]
            exit_code = _exit_code(answer)
            error = _error(result.stderr[err:err_end]) if exit_code == 1 else None
            self._printed[ids[call.id]] = _Printed(result.stdout[out:out_end], exit_code, error)

    async def verdict(self) -> Verdict:
        """The verdict of all cases. If a run did not complete, its status stands, whatever was printed before."""
        rejected = await self._rejected_by_checker() if self._tests.comparison == "checker" else {}
        if isinstance(rejected, Blamed):
            detail = f"checker: {rejected.detail}"
            return failed_run("values", self.isolation, "crashed", self.seconds, detail, public=self._public)
        details: list[str] = []
        failed = 0
        for index in range(len(self._tests.cases)):
            detail = rejected.get(index) or self._detail(index)
            failed += detail != ""
            details.append(detail if failed <= MAX_DETAILS else "failed" if detail else "")
        return verdict_of_cases(
            self._status,
            details,
            self.isolation,
            self.seconds,
            public=self._public,
            load_error=self._load_error,
            slowest=self.slowest,
        )

    def _detail(self, index: int) -> str:
        """Empty if the case passed (or only a checker can decide that), else what came out instead."""
        tests, case = self._tests, self._tests.cases[index]
        printed = self._printed.get(index)
        given = f"for input {_shown(_bytes(case.stdin))}"
        if printed is None:
            if self._load_error is not None:
                return wording.last_line(self._load_error)
            why = "not run" if self._status == "completed" else self._status.replace("_", " ")
            return wording.printable(f"{given} no output ({why})")
        if printed.exit_code != 0:
            why = wording.last_line(printed.error) if printed.error else f"exit code {printed.exit_code}"
            return wording.printable(f"{given} the program failed: {why}")
        expected = _bytes(case.expected)
        if tests.comparison == "checker" or same_output(printed.stdout, expected, tests.comparison, tests.tolerance):
            return ""
        return wording.printable(f"{given} printed {_shown(printed.stdout)}, expected {_shown(expected)}")

    async def _rejected_by_checker(self) -> dict[int, str] | Blamed:
        """Case -> why the checker program rejects its output; only called if all executions ended well.

        Raises SandboxError if it gives no answer, not even about the expected outputs.
        """
        cases = self._tests.cases
        if self._status != "completed" or any(self._detail(i) for i in range(len(cases))):
            return {}
        said, missing, unfit = await self._checked([_value(self._printed[i].stdout) for i in range(len(cases))])
        if (missing or isinstance(said, Blamed)) and (fault := await self.checker_fault()):
            raise SandboxError(f"the checker does not work, even on the expected outputs: {fault}")
        if isinstance(said, Blamed):
            return said
        rejected = {index: f"the output cannot be checked: {why}" for index, why in unfit.items()}
        for index, case in enumerate(cases):
            answer = said.get(index)
            if answer != Returned("true"):
                none = "not accepted" if answer is not None else f"nothing ({missing})"
                why = wording.last_line(answer.error) if isinstance(answer, Raised) else none
                rejected.setdefault(index, f"for input {_shown(_bytes(case.stdin))} the checker said: {why}")
        return rejected

    async def _checked(
        self, outputs: Sequence[str | bytes]
    ) -> tuple[dict[int, Answer] | Blamed, str, dict[int, NotCanonical]]:
        """(case -> what the checker says of its output, why answers are missing, outputs that it cannot be given)."""
        said: dict[int, Answer] = {}
        missing, unfit = "", dict[int, NotCanonical]()
        ids: dict[str, int] = {}
        calls: list[RunCall] = []
        for index, (case, output) in enumerate(zip(self._tests.cases, outputs, strict=True)):
            call_id = secrets.token_hex(8)
            try:
                calls.append(RunCall(call_id, encode([(_value(case.stdin), output, _value(case.expected)), {}])))
                ids[call_id] = index
            except NotCanonical as error:
                unfit[index] = error
        runs = await self._runs.run_calls(self._request(self._tests.checker, CHECK, tuple(calls)))
        if isinstance(runs, Blamed):
            return runs, runs.detail, unfit
        for run in runs:
            self.seconds += run.result.seconds
            self.slowest = max(self.slowest, run.result.slowest_seconds)
            answers, why = answers_of(run.result, [call.id for call in run.calls])
            said.update({ids[call_id]: answer for call_id, answer in answers.items()})
            missing = missing or why
        return said, missing, unfit

    async def checker_fault(self) -> str:
        """What is wrong with the checker program, which is run on the expected outputs; "" if it works."""
        cases = self._tests.cases
        said, missing, _ = await self._checked([_value(case.expected) for case in cases])
        given = all(_bytes(case.expected).strip() for case in cases)
        return fault_of(() if isinstance(said, Blamed) else said.values(), missing, given=given)


def _exit_code(answer: Answer) -> int:
    """The exit code of an execution, as its run reports it. Raises Tampered."""
    value = value_of(answer) if isinstance(answer, Returned) else None
    if type(value) is not int:
        raise Tampered("an execution that ended in no known way")
    return value


def _error(stderr: bytes) -> str | None:
    """The last line of a traceback, with which an interpreter ends."""
    text = stderr[-_MAX_TRACEBACK:].decode("utf-8", "replace")
    return text if "Traceback (most recent call last)" in text else None


def _argument(case: StdioCase) -> str:
    """The canonical text of the program's input. Raises NotCanonical if it is too large."""
    return encode(_value(case.stdin))


def _value(text: str | bytes) -> str | bytes:
    """`text` as str if it is UTF-8, since the canonical form of a str is half as long as that of bytes."""
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _shown(text: bytes) -> str:
    return wording.show(text[: 4 * _MAX_SHOWN].decode("utf-8", "replace"))[: _MAX_SHOWN + 4]
