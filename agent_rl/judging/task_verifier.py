"""`TaskVerifier`: the one verifier of a run. It gives each task to the judge of its kind of tests and its tier.

tests         tier         judge
CallTests     values       judge.CaseVerifier
StdioTests    values       stdio.StdioJudge
AssertTests   values       recorded as CallTests when prepared; what no case can hold becomes PytestTests (proxied)
AssertTests   proxied      proxied.judge.ProxiedJudge
PytestTests   proxied      proxied.judge.ProxiedJudge
PytestTests   in_process   in_process.InProcessJudge
ScriptTests   in_process   in_process.InProcessJudge
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict

from agent_rl.contracts.sandbox import Sandbox, SandboxProvider
from agent_rl.contracts.verifier import Verifier
from agent_rl.errors import ConfigError
from agent_rl.judging.call_judge import CaseVerifier
from agent_rl.judging.in_process_judge import InProcessJudge
from agent_rl.judging.judging_runs import Runs, check_tier
from agent_rl.judging.proxied.asserts import as_proxied, kept_as_proxied
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.judging.recording import NotRecordable
from agent_rl.judging.shared_verdicts import SharedVerdicts
from agent_rl.judging.stdio_judge import StdioJudge
from agent_rl.judging.test_collection import JudgeOfTests, collect_tests
from agent_rl.vocabulary import (
    AnswerTests,
    AssertTests,
    CallTests,
    Isolation,
    PytestTests,
    ScriptTests,
    StdioTests,
    Submission,
    Task,
    Tests,
    Verdict,
)
from agent_rl.vocabulary.task import Tier

_KNOWN_TASKS = 4096


class TaskVerifier(Verifier):
    """Judges tasks of every kind in the sandboxes of `provider`; environments may mix them.

    A task weaker than `minimum_tier`, or one whose judging cannot be isolated as `minimum_isolation` asks, is refused
    with ConfigError when it is prepared. One judging stands, as in `CaseVerifier`: equal submissions to one task share
    a verdict (the `cache_size` latest; 0 switches this off). `verdicts` counts those given, `reused` those that needed
    no judging.
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
        self.verdicts = 0
        self._runs = Runs(provider, retries=retries, minimum_isolation=minimum_isolation)
        self._calls = CaseVerifier(
            provider,
            seed=seed,
            retries=retries,
            minimum_tier=minimum_tier,
            minimum_isolation=minimum_isolation,
            cache_size=cache_size,
        )
        self._stdio = StdioJudge(self._runs, seed=seed)
        self._in_process = InProcessJudge(self._runs)
        self._proxied: JudgeOfTests | None = None
        self._shared = SharedVerdicts(cache_size)
        self._known: OrderedDict[tuple[int, int], tuple[Task, Tests, JudgeOfTests, bytes]] = OrderedDict()

    @property
    def runs(self) -> int:
        """Runs and sandboxes asked of the provider by tests of tiers `values` and `in_process`."""
        return self._runs.count + self._calls.runs

    @property
    def reused(self) -> int:
        """Verdicts given without a judging of their own."""
        return self._shared.reused + self._calls.reused

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        if isinstance(task.tests, CallTests):
            verdict = await self._calls.judge(task, submission)
        else:
            verdict = await self._verdict(task, task.tests, submission, public=False)
        self.verdicts += 1
        return verdict

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        """The verdict of the public tests, in a place of its own; `passed` without a run where the task has none.

        Visible tests are judged at their own kind's tier where that is another than the hidden ones'.
        """
        tests = task.public
        if tests is None or (isinstance(tests, (CallTests, StdioTests)) and not tests.cases):
            return Verdict(True, "passed", task.tier, None)
        if isinstance(tests, (CallTests, StdioTests)) and task.tier != "values":
            task = dataclasses.replace(task, tier="values")
        if isinstance(tests, CallTests):
            verdict = await self._calls.run_public_tests(task, submission, sandbox)
        else:
            verdict = await self._verdict(task, tests, submission, public=True)
        self.verdicts += 1
        return verdict

    async def prepare(self, task: Task) -> Task:
        """The task ready to be judged: `AssertTests` recorded as cases, the node ids of `PytestTests` found.

        Asserts that cannot become cases become `PytestTests`, and the task's tier is `proxied` from then on. Raises
        ConfigError (naming the task) where its reference fails, or it is weaker than demanded.
        """
        check_tier(task, self.minimum_tier)
        tests = task.tests
        if isinstance(tests, AnswerTests):
            return task
        if isinstance(tests, AssertTests) and task.tier == "values":
            return await self._recorded(task)
        if isinstance(tests, CallTests):
            return await self._calls.prepare(task)
        judge = self._judge_of(task, tests)
        if isinstance(tests, (PytestTests, AssertTests)):
            return await collect_tests(task, tests, judge)
        return task

    async def _recorded(self, task: Task) -> Task:
        """The task with its asserts as cases, or else as hidden tests that reach the program from outside."""
        if self.minimum_tier == "values":
            try:
                return await self._calls.prepare(task)
            except NotRecordable as error:
                message = f"{error}, so that it is judged at tier 'proxied'"
                raise ConfigError(message, key="sandbox.minimum_tier", value=self.minimum_tier) from None
        if (known := kept_as_proxied(task)) is not None:
            return known
        try:
            return await self._calls.prepare(task)
        except NotRecordable as error:
            return await as_proxied(
                task, self.provider, error, retries=self.retries, minimum_isolation=self.minimum_isolation
            )

    async def _verdict(self, task: Task, tests: Tests, submission: Submission, *, public: bool) -> Verdict:
        judge, digest = self._knows(task, tests)
        key = (digest, _submission_digest(submission), public)
        return await self._shared.get(key, lambda: judge.judge(task, tests, submission, public=public))

    def _knows(self, task: Task, tests: Tests) -> tuple[JudgeOfTests, bytes]:
        """Who judges, and a digest of everything but the submission that a judging depends on; made once for a task."""
        key = (id(task), id(tests))
        known = self._known.get(key)
        if known is not None and known[0] is task and known[1] is tests:
            return known[2], known[3]
        judge = self._judge_of(task, tests)
        judged = dataclasses.replace(task, tests=tests, prompt=(), oracle=None, public=None, metadata={})
        digest = judged.hash.encode()
        self._known[key] = (task, tests, judge, digest)  # holds both, so that their ids cannot be used again
        if len(self._known) > _KNOWN_TASKS:
            self._known.popitem(last=False)
        return judge, digest

    def _judge_of(self, task: Task, tests: Tests) -> JudgeOfTests:
        """Who judges. Raises ConfigError that names the task where nobody can, or not as strictly as demanded."""
        check_tier(task, self.minimum_tier)
        where = f"task {task.id}"
        if isinstance(tests, AnswerTests):
            raise ConfigError(f"{where}: an answer is compared by its environment, not in a sandbox")
        if isinstance(tests, StdioTests):
            self._demand(task, "values")
            self._stdio.check(task, tests)
            return self._stdio
        if isinstance(tests, ScriptTests):
            self._demand(task, "in_process")
            self._in_process.check(task, tests)
            return self._in_process
        if isinstance(tests, AssertTests) and task.tier == "values":
            raise ConfigError(f"{where}: its tests are not recorded as cases yet; call prepare(task) first")
        self._demand(task, "proxied", *(("in_process",) if isinstance(tests, PytestTests) else ()))
        if task.tier == "proxied":
            return self._proxied_judge()
        assert isinstance(tests, PytestTests)
        self._in_process.check(task, tests)
        return self._in_process

    @staticmethod
    def _demand(task: Task, *tiers: Tier) -> None:
        if task.tier not in tiers:
            kind, among = type(task.tests).__name__, " or ".join(repr(t) for t in tiers)
            raise ConfigError(f"task {task.id}: {kind} are of tier {among}", key="tier", value=task.tier)

    def _proxied_judge(self) -> JudgeOfTests:
        judge = self._proxied
        if judge is None:
            judge = self._proxied = ProxiedJudge(
                self.provider, seed=self.seed, retries=self.retries, minimum_isolation=self.minimum_isolation
            )
        return judge


def _submission_digest(submission: Submission) -> bytes:
    digest = hashlib.blake2b(submission.kind.encode(), digest_size=16)
    for path, content in (("", submission.text.encode("utf-8", "surrogatepass")), *sorted(submission.files.items())):
        name = path.encode("utf-8", "surrogatepass")
        digest.update(b"%d,%d:" % (len(name), len(content)) + name + content)
    return digest.digest()
