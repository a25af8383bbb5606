"""The judge of tier `values` for whole programs: they run in a sandbox, and their output is compared outside of it.

If cases are not isolated, one run executes the program once per case, in random order (`inside/stdio_programs.py`). A
secret mark, known only to the run, ends the output of each execution, so that the judge can cut standard output into
parts. A program that forges marks only changes its own answers. If a program ends its process (`os._exit`), that was
its answer to the current case, and another run takes the remaining cases: no case is ever executed twice.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
import secrets
from dataclasses import dataclass

from agent_rl.errors import ConfigError
from agent_rl.judging.blame import Blamed
from agent_rl.judging.compare_outputs import same_output
from agent_rl.judging.judge import digest_of
from agent_rl.judging.judging_runs import (
    MAX_DETAILS,
    Runs,
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


@dataclass(frozen=True, slots=True)
class _Printed:
    """The output of one execution and how it ended. `error` is the program's own text."""

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
        self._task = task
        self._tests = tests
        self._program = program
        self._seed = seed
        self._public = public
        self._printed: dict[int, _Printed] = {}
        self._load_error: str | None = None
        self._status: RunStatus = "completed"
        self.isolation: Isolation = runs.provider.isolation
        self.seconds = 0.0

    async def together(self, order: list[int]) -> Blamed | None:
        """Runs all cases in one run, or in several if the program ends its process; one time limit covers all of them.

        Raises Tampered.
        """
        left = order
        while left:
            limits = self._task.limits
            if self.seconds:
                limits = dataclasses.replace(limits, wall_seconds=limits.wall_seconds - self.seconds)
            if limits.wall_seconds <= 0:
                self._status = "timeout"
                return None
            secret = secrets.token_hex(8 * len(left))
            calls = tuple(
                RunCall(secret[16 * at : 16 * at + 16], _argument(self._tests.cases[i])) for at, i in enumerate(left)
            )
            request = RunRequest(self._program, calls=calls, limits=limits, seed=self._seed)
            result = await self._runs.run(request)
            if isinstance(result, Blamed):
                return result
            self._take(result)
            ids = {call.id: index for call, index in zip(calls, left, strict=True)}
            if len(result.stdout) > _LARGE_BYTES:
                await asyncio.to_thread(self._read, result, ids)
            else:
                self._read(result, ids)
            left = [i for i in left if i not in self._printed]
            if self._status != "completed" or self._load_error is not None:
                return None
            if left and any(p.exit_code != 0 for p in self._printed.values()):
                return None
        return None

    async def isolated(self, order: list[int]) -> Blamed | None:
        """Runs each case in a run of its own. Raises Tampered."""
        requests = [
            RunRequest(
                self._program,
                stdin=_bytes(self._tests.cases[i].stdin),
                limits=self._task.limits,
                seed=self._seed,
            )
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
        if result.anomalies:
            raise Tampered("; ".join(result.anomalies))
        if self._status == "completed":
            self._status = result.status

    def _read(self, result: RunResult, ids: dict[str, int]) -> None:
        """Reads the output of each execution from a run with several executions. Raises Tampered."""
        answers = read_frames(result.frames, list(ids))
        if answers.load_error is not None:
            self._load_error = answers.load_error
            return
        at = 0
        for call_id, index in ids.items():
            answer = answers.by_id.get(call_id)
            if answer is None:
                if result.status == "completed" and result.exit_code is not None:
                    # The program ended its own process; the rest of the output is its.
                    self._printed[index] = _Printed(result.stdout[at:], result.exit_code, None)
                return
            mark = b"\0%b\0" % call_id.encode()
            end = result.stdout.find(mark, at)
            if end < 0:
                if result.status == "completed":
                    raise Tampered("an execution whose output has no end")
                return
            exit_code, error = _ending(answer)
            self._printed[index] = _Printed(result.stdout[at:end], exit_code, error)
            at = end + len(mark)

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
            self._status, details, self.isolation, self.seconds, public=self._public, load_error=self._load_error
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
        """Case -> why the checker program rejects its output; only called if all executions ended well."""
        cases = self._tests.cases
        if self._status != "completed" or any(self._detail(i) for i in range(len(cases))):
            return {}
        ids = {i: secrets.token_hex(8) for i in range(len(cases))}
        rejected: dict[int, str] = {}
        calls: list[RunCall] = []
        for index, case in enumerate(cases):
            values = _value(case.stdin), _value(self._printed[index].stdout), _value(case.expected)
            try:
                calls.append(RunCall(ids[index], encode([values, {}])))
            except NotCanonical as error:
                rejected[index] = f"the output cannot be checked: {error}"
        request = RunRequest(self._tests.checker, CHECK, tuple(calls), limits=self._task.limits, seed=self._seed)
        result = await self._runs.run(request)
        if isinstance(result, Blamed):
            return result
        self.seconds += result.seconds
        try:
            answers = read_frames(result.frames, [call.id for call in calls])
        except Tampered as error:
            return dict.fromkeys(range(len(cases)), f"checker: {error}")
        for index in range(len(cases)):
            answer = answers.by_id.get(ids[index])
            if answer != Returned("true"):
                why = wording.last_line(answer.error) if isinstance(answer, Raised) else "not accepted"
                rejected.setdefault(index, f"for input {_shown(_bytes(cases[index].stdin))} the checker said: {why}")
        return rejected


def _ending(answer: Answer) -> tuple[int, str | None]:
    """(exit code, error) of an execution, as its run reports them. Raises Tampered."""
    value = value_of(answer) if isinstance(answer, Returned) else None
    if type(value) is tuple and len(value) == 2:
        exit_code, error = value
        if type(exit_code) is int and (error is None or type(error) is str):
            return exit_code, error
    raise Tampered("an execution that ended in no known way")


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
