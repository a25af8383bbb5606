"""The judge of tier `values` for function calls: they run in a sandbox, and their values are compared outside of it.

CallTests ──> Prepared ──> RunRequest ──> provider.run ──> read_frames ──> compare ──> Verdict
              (once a task)  (shuffled, random ids)  (strict)            (never in the candidate's process)
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections import OrderedDict
from collections.abc import Callable

from agent_rl.errors import SandboxError
from agent_rl.judging.blame import Blamed
from agent_rl.judging.case_runs import CasePart, PreparedTests, Reading, prepare
from agent_rl.judging.checker_programs import answers_of, checker_request, fault_of, recorded_call, refused
from agent_rl.judging.judging_runs import Runs, failed_run, invalid_program
from agent_rl.judging.result_frames import Raised, Returned
from agent_rl.vocabulary import (
    CallTests,
    Limits,
    RunCall,
    RunRequest,
    Submission,
    Task,
    TestResult,
    Verdict,
    wording,
)
from agent_rl.vocabulary.canonical import NotCanonical

_LARGE_CHARS = 1 << 16
"""Longer frames are read in a thread, so that one large answer does not hold up the event loop."""
_PREPARED_TASKS = 4096


class CallJudge:
    """Judges `CallTests` in the workers of a provider, at tier `values`.

    A run depends only on the program, the tests, the limits and `seed`; the order of calls and the random seed are
    derived from them.
    """

    def __init__(self, runs: Runs, *, seed: int = 0) -> None:
        self._runs = runs
        self._seed = seed
        self._prepared: OrderedDict[tuple[int, Limits], tuple[CallTests, PreparedTests]] = OrderedDict()

    def check(self, task: Task, tests: CallTests) -> bytes:
        """A digest of tests and limits: equal tests of different tasks share their verdicts."""
        return self._ready(task, tests).digest

    async def prepare(self, task: Task, tests: CallTests) -> Task:
        """The task. Raises ConfigError if its checker does not work on the expected outputs."""
        if tests.comparison == "checker" and (fault := await self._checker_fault(self._ready(task, tests))):
            raise refused(task, fault)
        return task

    async def judge(self, task: Task, tests: CallTests, submission: Submission, *, public: bool) -> Verdict:
        """The verdict of `tests`, from as few runs as possible, or one per case if cases are isolated.

        A checker adds one run.
        """
        prepared = self._ready(task, tests)
        invalid = invalid_program(submission)
        if invalid:
            return Verdict.invalid_submission(task.tier, invalid, public=public)
        return await self._judge(prepared, submission.text, public)

    def _ready(self, task: Task, tests: CallTests) -> PreparedTests:
        """The tests ready to run, made once per `tests` object. Raises ConfigError if they cannot be judged."""
        key = (id(tests), task.limits)
        known = self._prepared.get(key)
        if known is not None and known[0] is tests:
            return known[1]
        prepared = prepare(task.id, tests, task.limits)
        self._prepared[key] = (tests, prepared)  # keeps `tests` alive, so that Python cannot reuse its id
        if len(self._prepared) > _PREPARED_TASKS:
            self._prepared.popitem(last=False)
        return prepared

    async def _judge(self, prepared: PreparedTests, program: str, public: bool) -> Verdict:
        digest = hashlib.blake2b(program.encode(), digest_size=16).digest()
        draw = random.Random(b"%d:%b:%b" % (self._seed, prepared.digest, digest))
        order = list(range(len(prepared.cases)))
        draw.shuffle(order)
        secret = secrets.token_hex(8 * len(order))
        ids = {i: secret[16 * at : 16 * at + 16] for at, i in enumerate(order)}
        seed = draw.getrandbits(32)

        def request(indices: list[int]) -> RunRequest:
            calls = tuple(RunCall(ids[i], prepared.arguments[i]) for i in indices)
            return RunRequest(program, prepared.source.called, calls, limits=prepared.limits, seed=seed)

        parts = await self._parts(prepared, request, order, ids)
        if isinstance(parts, Blamed):
            isolation = self._runs.provider.isolation
            return failed_run("values", isolation, "crashed", 0.0, parts.detail, public=public)
        reading = Reading(prepared, parts, public)
        if sum(len(frame) for part in parts for frame in part.result.frames) > _LARGE_CHARS:
            verdict = await asyncio.to_thread(reading.verdict)
        else:
            verdict = reading.verdict()
        if verdict is None:
            return await self._check(prepared, reading, public)
        return verdict

    async def _parts(
        self,
        prepared: PreparedTests,
        request: Callable[[list[int]], RunRequest],
        order: list[int],
        ids: dict[int, str],
    ) -> list[CasePart] | Blamed:
        """The runs of the cases, in this order."""
        if prepared.source.isolated:
            results = await self._runs.run_each([request([i]) for i in order])
            if isinstance(results, Blamed):
                return results
            return [CasePart({i: ids[i]}, result) for i, result in zip(order, results, strict=False)]
        runs = await self._runs.run_calls(request(order))
        if isinstance(runs, Blamed):
            return runs
        indices = {call_id: i for i, call_id in ids.items()}
        return [CasePart({indices[call.id]: call.id for call in run.calls}, run.result) for run in runs]

    async def _check(self, prepared: PreparedTests, reading: Reading, public: bool) -> Verdict:
        """The checker program's verdict on the outputs in `reading`."""
        isolation, seconds, call_id = reading.isolation, reading.seconds, secrets.token_hex(8)
        try:
            request = checker_request(prepared.source.checker, reading.recorded, prepared.limits, call_id)
        except NotCanonical as error:
            return failed_run("values", isolation, "failed", seconds, f"outputs: {error}", public=public)
        checked = await self._runs.run(request)
        answers, missing = answers_of(checked, [call_id])
        if missing and (fault := await self._checker_fault(prepared)):
            raise SandboxError(f"the checker does not work, even on the expected outputs: {fault}")
        if isinstance(checked, Blamed):
            return failed_run("values", isolation, "crashed", seconds, checked.detail, public=public)
        seconds += checked.seconds
        answer = answers.get(call_id)
        if checked.status == "completed" and answer == Returned("true"):
            tests = (TestResult("checker", True),)
            slowest = max(reading.slowest, checked.slowest_seconds)
            scores = {"tests_passed": 1.0}
            return Verdict(True, "passed", "values", isolation, seconds, tests, scores, slowest_case_seconds=slowest)
        why = missing or (wording.last_line(answer.error) if isinstance(answer, Raised) else "it was not True")
        return failed_run("values", isolation, "failed", seconds, f"the check was not satisfied: {why}", public=public)

    async def _checker_fault(self, prepared: PreparedTests) -> str:
        """What is wrong with the checker, which is run on the expected outputs; "" if it works."""
        call_id, cases = secrets.token_hex(8), prepared.cases
        outputs = [recorded_call(case, None, case.expected) for case in cases]
        try:
            request = checker_request(prepared.source.checker, outputs, prepared.limits, call_id)
        except NotCanonical:
            return ""
        answers, missing = answers_of(await self._runs.run(request), [call_id])
        return fault_of(answers.values(), missing, given=all(case.expected is not None for case in cases))
