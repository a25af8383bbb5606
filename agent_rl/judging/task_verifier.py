"""`TaskVerifier`: the one verifier of a run. It gives each task to the judge of its kind of tests and its tier.

tests         tier         judge
CallTests     values       call_judge.CallJudge
StdioTests    values       stdio_judge.StdioJudge
AnswerTests   values       answer_judge.AnswerJudge
AssertTests   values       recorded as CallTests when prepared; what no case can hold becomes PytestTests (proxied)
AssertTests   proxied      proxied.proxied_judge.ProxiedJudge
PytestTests   proxied      proxied.proxied_judge.ProxiedJudge
PytestTests   in_process   in_process_judge.InProcessJudge
ScriptTests   in_process   in_process_judge.InProcessJudge
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from agent_rl.config import SandboxConfig
from agent_rl.contracts.sandbox import Sandbox, SandboxProvider
from agent_rl.contracts.verifier import Verifier
from agent_rl.errors import ConfigError
from agent_rl.judging.answer_judge import AnswerJudge
from agent_rl.judging.call_judge import CallJudge
from agent_rl.judging.in_process_judge import InProcessJudge
from agent_rl.judging.judge import Judge
from agent_rl.judging.judging_runs import Runs, check_tier
from agent_rl.judging.proxied.asserts import as_proxied, kept_as_proxied
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.judging.recording import NotRecordable, record_tests
from agent_rl.judging.shared_verdicts import SharedVerdicts
from agent_rl.judging.stdio_judge import StdioJudge
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
_TIERS: dict[type[Tests], tuple[Tier, ...]] = {
    CallTests: ("values",),
    StdioTests: ("values",),
    AnswerTests: ("values",),
    AssertTests: ("values", "proxied"),
    PytestTests: ("proxied", "in_process"),
    ScriptTests: ("in_process",),
}


def make_verifier(config: SandboxConfig, provider: SandboxProvider, seed: int) -> TaskVerifier:
    """The judge of a run: as strict as `config` asks, with the runs of programs seeded by `seed`."""
    return TaskVerifier(
        provider,
        seed=seed,
        retries=config.retries,
        minimum_tier=config.minimum_tier,
        minimum_isolation=config.minimum_isolation,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What is made once for a task and its tests: the task as it is judged, by whom, and the digest of all of it."""

    given: Task
    tests: Tests
    judged: Task
    judge: Judge
    digest: bytes


class TaskVerifier(Verifier):
    """Judges tasks of every kind in the sandboxes of `provider`; environments may mix them.

    A task weaker than `minimum_tier`, or one whose judging cannot be isolated as `minimum_isolation` asks, is refused
    with ConfigError when it is prepared.

    One judging stands: a verdict is given once for a submission and its tests and is kept for the run (the `cache_size`
    latest; 0 switches this off), also for rollouts that ask while it is being made. This is sound since nothing but
    the submission, the tests, the limits and `seed` enters a judging; its price is that a program that draws from the
    clock or the machine's entropy gets one draw for the run, as if all its copies had been judged in the same moment.
    Errors of the machinery are never kept.
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
        self.minimum_tier: Tier = minimum_tier
        self.verdicts = 0
        """Verdicts given, of hidden and of public tests."""
        self._runs = Runs(provider, retries=retries, minimum_isolation=minimum_isolation)
        self._calls = CallJudge(self._runs, seed=seed)
        self._stdio = StdioJudge(self._runs, seed=seed)
        self._answers = AnswerJudge()
        self._proxied = ProxiedJudge(self._runs, seed=seed)
        self._in_process = InProcessJudge(self._runs)
        self._shared = SharedVerdicts(cache_size)
        self._known: OrderedDict[tuple[int, int], _Known] = OrderedDict()

    @property
    def runs(self) -> int:
        """Runs, pairs of runs and sandboxes asked of the provider, those of `prepare` too."""
        return self._runs.count

    @property
    def reused(self) -> int:
        """Verdicts given without a judging of their own."""
        return self._shared.reused

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        return await self._verdict(task, task.tests, submission, public=False)

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        """The verdict of the public tests, in a place of its own; `passed` without a run where the task has none.

        They are judged at their own kind's tier where that is another than the hidden ones'. `sandbox` is not used: a
        worker is faster, and in a place where the agent has been the feedback could lie.
        """
        tests = task.public
        if tests is None or (isinstance(tests, (CallTests, StdioTests)) and not tests.cases):
            return Verdict(True, "passed", task.tier, None)
        return await self._verdict(task, tests, submission, public=True)

    async def prepare(self, task: Task) -> Task:
        """The task ready to be judged: `AssertTests` recorded as cases, the node ids of `PytestTests` found.

        Asserts that cannot become cases become `PytestTests`, and the task's tier is `proxied` from then on. Raises
        ConfigError (naming the task) where its reference fails, or it is weaker than demanded.
        """
        if isinstance(task.tests, AssertTests) and task.tier == "values":
            check_tier(task, self.minimum_tier)
            return await self._recorded(task)
        known = self._knows(task, task.tests)
        return await known.judge.prepare(task, task.tests)

    async def _recorded(self, task: Task) -> Task:
        """The task with its asserts as cases, or else as hidden tests that reach the program from outside."""
        if self.minimum_tier != "values" and (kept := kept_as_proxied(task)) is not None:
            return kept
        try:
            return await record_tests(task, self._runs)
        except NotRecordable as error:
            if self.minimum_tier != "values":
                return await as_proxied(task, self._runs, error)
            message = f"{error}, so that it is judged at tier 'proxied'"
            raise ConfigError(message, key="sandbox.minimum_tier", value=self.minimum_tier) from None

    async def _verdict(self, task: Task, tests: Tests, submission: Submission, *, public: bool) -> Verdict:
        known = self._knows(task, tests)
        key = (known.digest, _submission_digest(submission), public)
        verdict = await self._shared.get(key, lambda: known.judge.judge(known.judged, tests, submission, public=public))
        self.verdicts += 1
        return verdict

    def _knows(self, task: Task, tests: Tests) -> _Known:
        """Who judges, and all that a judging depends on but the submission; made once for a task and its tests.

        Raises ConfigError that names the task where nobody can judge it, or not as strictly as demanded.
        """
        key = (id(task), id(tests))
        known = self._known.get(key)
        if known is not None and known.given is task and known.tests is tests:
            return known
        check_tier(task, self.minimum_tier)
        judged = task
        if tests is task.public and _TIERS[type(tests)] == ("values",):
            judged = dataclasses.replace(task, tier="values")
        judge = self._judge_of(judged, tests)
        known = _Known(task, tests, judged, judge, judge.check(judged, tests))
        self._known[key] = known  # holds both, so that their ids cannot be used again
        if len(self._known) > _KNOWN_TASKS:
            self._known.popitem(last=False)
        return known

    def _judge_of(self, task: Task, tests: Tests) -> Judge:
        """Who judges. Raises ConfigError that names the task where nobody can at its tier."""
        kind, tiers = type(tests), _TIERS[type(tests)]
        if isinstance(tests, AssertTests) and task.tier == "values":
            raise ConfigError(f"task {task.id}: its tests are not recorded as cases yet; call prepare(task) first")
        if task.tier not in tiers:
            among = " or ".join(repr(tier) for tier in tiers)
            raise ConfigError(f"task {task.id}: {kind.__name__} are of tier {among}", key="tier", value=task.tier)
        if isinstance(tests, CallTests):
            return self._calls
        if isinstance(tests, StdioTests):
            return self._stdio
        if isinstance(tests, AnswerTests):
            return self._answers
        return self._proxied if task.tier == "proxied" else self._in_process


def _submission_digest(submission: Submission) -> bytes:
    digest = hashlib.blake2b(submission.kind.encode(), digest_size=16)
    for path, content in (("", submission.text.encode("utf-8", "surrogatepass")), *sorted(submission.files.items())):
        name = path.encode("utf-8", "surrogatepass")
        digest.update(b"%d,%d:" % (len(name), len(content)) + name + content)
    return digest.digest()
