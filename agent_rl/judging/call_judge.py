"""The judge of tier `values` for function calls: calls go into a sandbox, values come out, and are compared outside.

CallTests ──> Prepared ──> RunRequest ──> provider.run ──> read_frames ──> compare ──> Verdict
              (once a task)  (shuffled, random ids)  (strict)            (never in the candidate's process)
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections import OrderedDict

from agent_rl.contracts.sandbox import Sandbox, SandboxProvider
from agent_rl.contracts.verifier import Verifier
from agent_rl.errors import ConfigError
from agent_rl.judging import wording
from agent_rl.judging.blame import Blamed
from agent_rl.judging.case_runs import CasePart, PreparedTests, Reading, prepare
from agent_rl.judging.checker_programs import checker_request, satisfied
from agent_rl.judging.judging_runs import Runs, check_tier, failed_run, invalid_program, invalid_submission
from agent_rl.judging.result_frames import Raised, Tampered, read_frames
from agent_rl.judging.shared_verdicts import SharedVerdicts
from agent_rl.vocabulary import (
    AnswerTests,
    AssertTests,
    CallTests,
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
from agent_rl.vocabulary.canonical import NotCanonical
from agent_rl.vocabulary.task import Tier

_LARGE_CHARS = 1 << 16
"""Frames beyond this are read in a thread, so that one large answer does not hold up the event loop."""
_PREPARED_TASKS = 4096


class CaseVerifier(Verifier):
    """Judges `CallTests` in the workers of `provider`, at tier `values`.

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
        self.minimum_tier: Tier = minimum_tier
        self._runs = Runs(provider, retries=retries, minimum_isolation=minimum_isolation)
        self._verdicts = SharedVerdicts(cache_size)
        self._prepared: OrderedDict[tuple[int, Limits, Tier], tuple[CallTests, PreparedTests]] = OrderedDict()

    @property
    def runs(self) -> int:
        """Runs asked of the provider."""
        return self._runs.count

    @property
    def minimum_isolation(self) -> Isolation:
        """What each run's isolation has to be at least."""
        return self._runs.minimum_isolation

    @property
    def reused(self) -> int:
        """Verdicts given without a run of their own."""
        return self._verdicts.reused

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        return await self._verdict(task, task.tests, submission, public=False)

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        """The verdict of the public tests; `passed` without a run where the task has none.

        `sandbox` is not used: a worker is faster, and in a place where the agent has been the feedback could lie.
        """
        if task.public is None or (isinstance(task.public, CallTests) and not task.public.cases):
            return Verdict(True, "passed", task.tier, None)
        return await self._verdict(task, task.public, submission, public=True)

    async def prepare(self, task: Task) -> Task:
        if isinstance(task.tests, AssertTests):
            from agent_rl.judging.recording import record_tests  # recording judges the reference with this class

            return await record_tests(task, self.provider, minimum_isolation=self.minimum_isolation)
        if isinstance(task.tests, CallTests):
            self._prepare(task, task.tests)
        return task

    async def _verdict(self, task: Task, tests: Tests, submission: Submission, *, public: bool) -> Verdict:
        prepared = self._prepare(task, tests)
        invalid = invalid_program(submission)
        if invalid:
            return invalid_submission(task.tier, invalid, public=public)
        program = hashlib.blake2b(submission.text.encode(), digest_size=16).digest()
        return await self._verdicts.get(
            (prepared.digest, program, public), lambda: self._judge(prepared, submission.text, program, public)
        )

    def _prepare(self, task: Task, tests: Tests) -> PreparedTests:
        """The tests ready to run, made once per object. Raises ConfigError for tests that cannot be judged here."""
        key = (id(tests), task.limits, task.tier)
        known = self._prepared.get(key)
        if known is not None and known[0] is tests:
            return known[1]
        check_tier(task, self.minimum_tier)
        if task.tier != "values":
            raise ConfigError(f"task {task.id}: tests by cases are of tier 'values'", key="tier", value=task.tier)
        if isinstance(tests, AssertTests):
            raise ConfigError(f"task {task.id}: its tests are not recorded as cases yet; call prepare(task) first")
        if isinstance(tests, AnswerTests):
            raise ConfigError(f"task {task.id}: an answer is compared by its environment, not in a sandbox")
        if not isinstance(tests, CallTests):
            raise ConfigError(f"task {task.id}: {type(tests).__name__} are no function calls: they have another judge")
        prepared = prepare(task.id, tests, task.limits)
        self._prepared[key] = (tests, prepared)  # holds `tests`, so that its id cannot be used again
        if len(self._prepared) > _PREPARED_TASKS:
            self._prepared.popitem(last=False)
        return prepared

    async def _judge(self, prepared: PreparedTests, program: str, program_digest: bytes, public: bool) -> Verdict:
        """One judging, in one run or with isolated cases one for each (and one more with a checker)."""
        draw = random.Random(b"%d:%b:%b" % (self.seed, prepared.digest, program_digest))
        order = list(range(len(prepared.cases)))
        draw.shuffle(order)
        secret = secrets.token_hex(8 * len(order))
        ids = {i: secret[16 * at : 16 * at + 16] for at, i in enumerate(order)}
        seed = draw.getrandbits(32)

        def request(indices: list[int]) -> RunRequest:
            calls = tuple(RunCall(ids[i], prepared.arguments[i]) for i in indices)
            return RunRequest(program, prepared.source.entry_point, calls, limits=prepared.limits, seed=seed)

        shares = [[i] for i in order] if prepared.source.isolated else [order]
        results = await self._results([request(share) for share in shares])
        if isinstance(results, Blamed):
            isolation = self.provider.isolation
            return failed_run("values", isolation, "crashed", 0.0, results.detail, public=public)
        parts = [CasePart({i: ids[i] for i in share}, r) for share, r in zip(shares, results, strict=False)]
        reading = Reading(prepared, parts, public)
        if sum(len(frame) for r in results for frame in r.frames) > _LARGE_CHARS:
            verdict = await asyncio.to_thread(reading.verdict)
        else:
            verdict = reading.verdict()
        if verdict is None:
            return await self._check(prepared, reading, public)
        return verdict

    async def _results(self, requests: list[RunRequest]) -> list[RunResult] | Blamed:
        if len(requests) > 1:
            return await self._runs.run_each(requests)
        result = await self._runs.run(requests[0])
        return result if isinstance(result, Blamed) else [result]

    async def _check(self, prepared: PreparedTests, reading: Reading, public: bool) -> Verdict:
        """The verdict of the checker program on the outputs that `reading` holds."""
        isolation, seconds, call_id = reading.isolation, reading.seconds, secrets.token_hex(8)
        try:
            request = checker_request(prepared.source.checker, reading.recorded, prepared.limits, call_id)
        except NotCanonical as error:
            return failed_run("values", isolation, "failed", seconds, f"outputs: {error}", public=public)
        checked = await self._runs.run(request)
        if isinstance(checked, Blamed):
            return failed_run("values", isolation, "crashed", seconds, checked.detail, public=public)
        seconds += checked.seconds
        try:
            answers = read_frames(checked.frames, [call_id])
        except Tampered as error:
            return failed_run("values", isolation, "failed", seconds, f"checker: {error}", public=public)
        if checked.status == "completed" and satisfied(answers, call_id):
            tests = (TestResult("checker", True),)
            return Verdict(True, "passed", "values", isolation, seconds, tests, {"tests_passed": 1.0})
        answer = answers.by_id.get(call_id)
        why = wording.last_line(answer.error) if isinstance(answer, Raised) else checked.status
        return failed_run("values", isolation, "failed", seconds, f"the check was not satisfied: {why}", public=public)
