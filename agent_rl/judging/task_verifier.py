"""`TaskVerifier`: the one verifier of a run. It picks the judge by a task's kind of tests and its tier.

tests         tier         judge
CallTests     values       call_judge.CallJudge
StdioTests    values       stdio_judge.StdioJudge
AnswerTests   values       answer_judge.AnswerJudge
AssertTests   values       recorded as CallTests when prepared; if that is impossible, made PytestTests (proxied)
AssertTests   proxied      proxied.proxied_judge.ProxiedJudge
PytestTests   proxied      proxied.proxied_judge.ProxiedJudge
PytestTests   in_process   in_process_judge.InProcessJudge
ScriptTests   in_process   in_process_judge.InProcessJudge
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent_rl.config import SandboxConfig
from agent_rl.contracts.sandbox import Sandbox, SandboxProvider
from agent_rl.contracts.verifier import Verifier
from agent_rl.errors import ConfigError
from agent_rl.judging.answer_judge import AnswerJudge
from agent_rl.judging.blind_spots.blind_spot import blind_spot, may_check_more_than_values
from agent_rl.judging.call_judge import CallJudge
from agent_rl.judging.imported_modules import ImportedModules
from agent_rl.judging.in_process_judge import InProcessJudge
from agent_rl.judging.judge import Judge
from agent_rl.judging.judging_runs import Runs, TooSlow, check_tier
from agent_rl.judging.missing_package import debian_package_of, missing_module, package_of
from agent_rl.judging.proxied.asserts import NotCarried, as_proxied, forms_of, kept_as_proxied
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge, as_pytest
from agent_rl.judging.ready_place import has_own_image
from agent_rl.judging.recording import NotRecordable, record_tests
from agent_rl.judging.repeated_runs import doubts
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
    """The verifier of a run, as strict as `config` demands; `seed` seeds the runs of programs."""
    return TaskVerifier(
        provider,
        seed=seed,
        retries=config.retries,
        minimum_tier=config.minimum_tier,
        minimum_isolation=config.minimum_isolation,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """Made once for a task and its tests: the task as it is judged, its judge, and the digest of all of it."""

    given: Task
    tests: Tests
    judged: Task
    judge: Judge
    digest: bytes


class TaskVerifier(Verifier):
    """Judges tasks of every kind in the sandboxes of `provider`; an environment may mix kinds.

    `prepare` raises ConfigError for a task whose tier is weaker than `minimum_tier`, or whose judging cannot be
    isolated as strongly as `minimum_isolation`.

    Each pair of submission and tests is judged once. The verdict is kept for the run (the `cache_size` latest; 0
    switches this off), and rollouts that ask during the judging wait for it. This is sound because a judging depends
    only on the submission, the tests, the limits and `seed`. The price: a program that reads the clock or the
    machine's entropy is drawn once per run, as if all its copies had been judged at the same moment. Infrastructure
    failures are never kept, nor is a verdict on a program that had no processor, even when it ran alone.
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
        """Number of verdicts: on hidden tests, on public tests, and those that environments gave themselves."""
        self.lowered: dict[str, str] = {}
        """The ids of tasks that `prepare` gave tier `in_process`, and why their tests need it."""
        self._runs = Runs(provider, retries=retries, minimum_isolation=minimum_isolation)
        self._calls = CallJudge(self._runs, seed=seed)
        self._stdio = StdioJudge(self._runs, seed=seed)
        self._answers = AnswerJudge(self._runs)
        self._proxied = ProxiedJudge(self._runs, seed=seed)
        self._in_process = InProcessJudge(self._runs)
        self._modules = ImportedModules(self._runs)
        self._shared = SharedVerdicts(cache_size)
        self._known: OrderedDict[tuple[int, int], _Known] = OrderedDict()

    @property
    def runs(self) -> int:
        """Number of runs, pairs of runs and sandboxes requested from the provider, including those of `prepare`, and of
        final answers that were compared in a process of their own."""
        return self._runs.count

    @property
    def repeated(self) -> int:
        """Number of these that exceeded their time for want of a processor, and were made once more, alone."""
        return self._runs.repeated

    @property
    def reused(self) -> int:
        """Number of verdicts taken from an earlier or concurrent judging."""
        return self._shared.reused

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        return await self._verdict(task, task.tests, submission, public=False)

    async def accept(self, task: Task, verdict: Verdict) -> Verdict:
        check_tier(task, self.minimum_tier)
        if verdict.tier != task.tier:
            message = f"task {task.id} is of tier {task.tier!r}, and its environment gave a verdict of another tier"
            raise ConfigError(message, key="tier", value=verdict.tier)
        if verdict.isolation is not None:
            self._runs.check(verdict.isolation)
        self.verdicts += 1
        return verdict

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        """The verdict of the public tests, judged in a fresh place; `passed` without a run if the task has none.

        If public and hidden tests are of different kinds, the public ones are judged at the tier of their own kind.
        `sandbox` is not used: a worker is faster, and the agent could have falsified the feedback in its own sandbox.
        """
        tests = task.public
        if tests is None or (isinstance(tests, (CallTests, StdioTests)) and not tests.cases):
            return Verdict(True, "passed", task.tier, None)
        return await self._verdict(task, tests, submission, public=True)

    async def prepare(self, task: Task) -> Task:
        """The task ready to be judged: `AssertTests` recorded as cases, the node ids of `PytestTests` found.

        Asserts that cannot become cases become `PytestTests`, and the task's tier becomes `proxied`. Where this tier
        cannot show or carry what its tests need, the task's tier becomes `in_process` (`lowered` says why). Raises
        ConfigError (naming the task) if its oracle solution fails, or its tier or isolation is weaker than demanded. If
        the sandbox lacks a package, the error says how to add it.
        """
        try:
            return await self._prepared(task)
        except ConfigError as error:
            missing = missing_module(str(error))
            if missing is None:
                raise
            raise self._lacks(task, str(error), [missing]) from None

    def _lacks(self, task: Task, error: str, modules: Sequence[str]) -> ConfigError:
        packages = ",".join(map(package_of, modules))
        debian = " ".join(map(debian_package_of, modules))
        remedy = self.provider.packages_remedy.format(packages=packages, debian=debian)
        if task.tier == "in_process" and has_own_image(task):
            remedy = "add it to the task's own image, for instance to its environment/Dockerfile"
        return ConfigError(f"{error}. The sandbox has no {packages.replace(',', ', ')}: {remedy}")

    async def _prepared(self, task: Task) -> Task:
        if isinstance(task.tests, AssertTests) and task.tier == "values":
            check_tier(task, self.minimum_tier)
            return await self._recorded(task)
        known = self._knows(task, task.tests)
        try:
            prepared = await known.judge.prepare(task, task.tests)
        except ConfigError as error:
            if task.tier != "proxied" or not isinstance(task.tests, (AssertTests, PytestTests)):
                raise
            return await self._not_carried(task, [as_pytest(task.id, task.tests)], error)
        if isinstance(prepared.tests, (CallTests, StdioTests)) and (lacking := await self._modules.missing(task)):
            why = f"task {task.id}: its oracle solution imports {', '.join(lacking)}"
            raise self._lacks(task, why, lacking)
        if prepared.tier != "proxied" or not isinstance(prepared.tests, PytestTests):
            return prepared
        spot = await self._blind_spot(prepared, prepared.tests)
        return await self._in_process_task(task, [prepared.tests], _unseen("proxied", spot)) if spot else prepared

    async def close(self) -> None:
        await asyncio.to_thread(self._answers.close)

    async def _recorded(self, task: Task) -> Task:
        """The task with its asserts as cases, or as `PytestTests`: at the strongest tier that shows what they check."""
        assert isinstance(task.tests, AssertTests)
        forms = forms_of(task.tests)
        try:
            made = await self._as_cases(task)
            if made.tier == "values" and may_check_more_than_values(task.tests):
                spot = await self._blind_spot(made, as_pytest(task.id, task.tests))
                if spot:
                    made = await self._as_proxied(task, NotRecordable(f"task {task.id}: {_unseen('values', spot)}"))
        except NotCarried as error:
            return await self._not_carried(task, forms, error)
        if made.tier == "proxied" and isinstance(made.tests, PytestTests):
            spot = await self._blind_spot(made, made.tests)
            if spot:
                return await self._in_process_task(task, forms, _unseen("proxied", spot))
        return made

    async def _as_cases(self, task: Task) -> Task:
        """The task with its asserts as cases, or else as `PytestTests` of tier `proxied`."""
        if self.minimum_tier != "values" and (kept := kept_as_proxied(task)) is not None:
            return kept
        try:
            return await record_tests(task, self._runs)
        except NotRecordable as error:
            return await self._as_proxied(task, error)

    async def _as_proxied(self, task: Task, why: NotRecordable) -> Task:
        """The task at tier `proxied`, because of `why`. Raises ConfigError if a stronger tier is demanded."""
        if self.minimum_tier != "values":
            return await as_proxied(task, self._runs, why)
        message = f"{why}, so that it is judged at tier 'proxied'"
        raise ConfigError(message, key="sandbox.minimum_tier", value=self.minimum_tier) from None

    async def _not_carried(self, task: Task, forms: Iterable[PytestTests], why: ConfigError) -> Task:
        """The task at tier `in_process`, if its oracle solution passes its tests there each time; else raises `why`."""
        if self.minimum_tier != "in_process" or isinstance(why, TooSlow):
            raise why
        told = str(why).removeprefix(f"task {task.id}: ")
        told = f"its tests need one process with the program (at tier 'proxied': {told})"
        made = await self._in_process_task(task, forms, told)
        assert isinstance(made.tests, PytestTests)
        # Once more: where chance decides, it may have decided here and not there.
        again = await self._in_process.judge(made, made.tests, Submission.of_files(made.tests.oracle), public=False)
        if not again.passed:
            raise why
        return made

    async def _in_process_task(self, task: Task, forms: Iterable[PytestTests], why: str) -> Task:
        """The task at tier `in_process`, because of `why`. Raises ConfigError if a stronger tier is demanded."""
        if self.minimum_tier != "in_process":
            message = f"task {task.id}: {why}, so that it is judged at tier 'in_process'"
            raise ConfigError(message, key="sandbox.minimum_tier", value=self.minimum_tier)
        refused = ""
        for form in forms:
            tests = dataclasses.replace(form, tests=())
            try:
                lowered = dataclasses.replace(task, tests=tests, tier="in_process")
                made = await self._in_process.prepare(lowered, tests)
            except ConfigError as error:
                refused = refused or str(error).removeprefix(f"task {task.id}: ")
                continue
            self.lowered[task.id] = why
            return made
        raise ConfigError(f"task {task.id}: {why}; at tier 'in_process' {refused}")

    async def _blind_spot(self, task: Task, tests: PytestTests) -> str:
        """What the tests check and the task's tier does not show; "" if nothing was found."""
        judge = self._calls if task.tier == "values" else self._proxied

        async def judged(program: str) -> Verdict:
            return await judge.judge(task, task.tests, Submission.code(program), public=False)  # pyright: ignore

        return await blind_spot(task, tests, judged, self._runs)

    async def _verdict(self, task: Task, tests: Tests, submission: Submission, *, public: bool) -> Verdict:
        known = self._knows(task, tests)
        key = (known.digest, _submission_digest(submission), public)

        async def judged() -> tuple[Verdict, bool]:
            with doubts() as doubtful:
                verdict = await known.judge.judge(known.judged, tests, submission, public=public)
            return verdict, not doubtful

        verdict = await self._shared.get(key, judged)
        self.verdicts += 1
        return verdict

    def _knows(self, task: Task, tests: Tests) -> _Known:
        """The judge and all that a judging depends on except the submission; made once for a task and its tests.

        Raises ConfigError (naming the task) if no judge can judge it, or none as strictly as demanded.
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
        self._known[key] = known  # keeps task and tests alive, so that Python cannot reuse their ids
        if len(self._known) > _KNOWN_TASKS:
            self._known.popitem(last=False)
        return known

    def _judge_of(self, task: Task, tests: Tests) -> Judge:
        """The judge of these tests. Raises ConfigError (naming the task) if there is none at the task's tier."""
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


def _unseen(tier: Tier, spot: str) -> str:
    return f"its tests fail a solution that {spot}, which tier {tier!r} does not show"
