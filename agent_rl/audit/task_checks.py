"""The checks of one task: its oracle solution, replies that solve nothing, its tests, and their mutation score."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent_rl.audit.judge_reply import judge_reply
from agent_rl.audit.mutation_score import MutationScore, mutation_score_of
from agent_rl.audit.null_agents import one_expected, stubs_of
from agent_rl.audit.probes import (
    identical_sides,
    network_calls,
    network_imports,
    network_use,
    run_as_written,
    vacuous_asserts,
)
from agent_rl.audit.validation_report import ProblemKind, TaskProblem, TaskReport
from agent_rl.audit.watching_verifier import WatchingVerifier, watching
from agent_rl.contracts import Environment, SandboxProvider
from agent_rl.errors import ConfigError
from agent_rl.judging import TooSlow
from agent_rl.vocabulary import (
    AssertTests,
    CallTests,
    PytestTests,
    ScriptTests,
    StdioTests,
    Submission,
    Task,
    TestResult,
    Verdict,
)
from agent_rl.vocabulary.wording import printable

_UNSTEADY = "the oracle solution does not pass each time"


@dataclass(slots=True)
class TaskCheck:
    """The check of one task of an environment; `run` returns the report.

    times: how often the oracle solution is judged, each time with another seed and order of calls. mutants: the largest
    number of its mutants that are judged; 0 measures no mutation score.
    """

    task: Task
    environment: Environment
    verifier: WatchingVerifier
    provider: SandboxProvider
    times: int
    mutants: int
    _problems: list[TaskProblem] = field(default_factory=list[TaskProblem])

    async def run(self) -> TaskReport:
        """The report on the task. Raises InfrastructureError if the infrastructure failed."""
        report = await self._run()
        return dataclasses.replace(report, tier_reason=self.verifier.lowered.get(self.task.id, ""))

    async def _run(self) -> TaskReport:
        task = self.task
        if task.id in self.verifier.refused:
            await self._refused(self.verifier.refused[task.id])
            return self._unmeasured("its tests cannot be judged")
        if task.oracle is None:
            self._add("oracle", "has no oracle solution")
            return self._unmeasured("has no oracle solution")
        try:
            return await self._judged(task, task.oracle)
        except ConfigError as error:
            self._add("structure", f"cannot be judged: {_without_id(error, task)}")
            return self._unmeasured("cannot be judged")

    def _unmeasured(self, why: str) -> TaskReport:
        # An oracle solution that cannot be judged counts as one that failed each time.
        times = 0 if self.task.oracle is None else self.times
        return TaskReport(self.task.id, self.task.tier, times, not_measured=why, problems=tuple(self._problems))

    async def _judged(self, task: Task, oracle: str) -> TaskReport:
        """The report, with what judging found. Raises ConfigError if the tests cannot be judged."""
        verdicts, submission = await self._oracles(oracle)
        passed, seconds = sum(v.passed for v in verdicts), max(v.seconds for v in verdicts)
        if passed < self.times and self.task.tier == "proxied":
            # Chance decides whether the oracle solution passes, and so whether the tests can be used at all.
            return dataclasses.replace(self._unmeasured(_UNSTEADY), oracles_passed=passed, seconds=seconds)
        await self._tests(submission, verdicts)
        stubs = stubs_of(task)
        failed = await self._stubs(stubs)
        self._constant()
        mutation_score: MutationScore | str = _UNSTEADY
        if not self.mutants:
            mutation_score = "no mutants were asked for"
        elif passed == self.times:
            mutation_score = await mutation_score_of(
                task, self._judge, max(v.limited_seconds for v in verdicts), self.mutants
            )
            if isinstance(mutation_score, MutationScore) and mutation_score.killed == 0:
                self._add(
                    "vacuous", f"is vacuous: its tests pass all {mutation_score.mutants} mutants of the oracle solution"
                )
        return TaskReport(
            task=task.id,
            tier=task.tier,
            oracles=self.times,
            oracles_passed=passed,
            seconds=seconds,
            stubs=len(stubs),
            stubs_failed=failed,
            mutation_score=mutation_score if isinstance(mutation_score, MutationScore) else None,
            not_measured=mutation_score if isinstance(mutation_score, str) else "",
            problems=tuple(self._problems),
        )

    def _add(self, kind: ProblemKind, what: str) -> None:
        self._problems.append(TaskProblem(self.task.id, what, kind))

    async def _judge(self, task: Task, text: str) -> Verdict:
        return await judge_reply(task, text, self.environment, self.provider)

    async def _oracles(self, oracle: str) -> tuple[list[Verdict], Submission | None]:
        """The oracle solution's verdicts, and the submission that the environment made from it."""
        verdicts: list[Verdict] = []
        submission = None
        refused: list[ConfigError] = []
        for seed in range(self.times):
            with watching(seed) as watched:
                try:
                    verdicts.append(await self._judge(self.task, oracle))
                except ConfigError as error:
                    # Tests of tier `proxied` are first tried with the oracle solution: flaky ones fail already here.
                    refused.append(error)
                    result = TestResult("oracle", False, _without_id(error, self.task))
                    verdicts.append(Verdict(False, "failed", self.task.tier, None, tests=(result,)))
            submission = watched.submission or submission
        if len(refused) == self.times:
            raise refused[0]
        wrong = [v for v in verdicts if not v.passed]
        if wrong:
            said = f"judged {wrong[0].status} ({_details(wrong[0])})"
            if len(wrong) < self.times:
                passed = self.times - len(wrong)
                self._add(
                    "flaky", f"is flaky: the oracle solution passes {passed} of {self.times} times, else it is {said}"
                )
            else:
                self._add("oracle", f"the oracle solution is {said}")
        slowest, limit = max(v.limited_seconds for v in verdicts), self.task.limits.wall_seconds
        if slowest > limit / 2:
            self._add(
                "slow", f"is too slow: the oracle solution takes {slowest:.2f} s, more than half of its {limit:g} s"
            )
        return verdicts, submission

    async def _tests(self, submission: Submission | None, verdicts: Sequence[Verdict]) -> None:
        """Adds problems of the tests themselves: they use a network, or compare the candidate with itself."""
        given = self.verifier.given.get(self.task.id, self.task).tests
        network, program, vacuous, asked = "", "", [], ""
        if submission is not None and submission.kind == "code":
            program = submission.text
            network = await network_use(self.provider, program, self.task.tests, self.task.limits)
        sources, scripts = [program], list[str]()
        if isinstance(given, AssertTests):
            sources.append(given.source)
            vacuous, asked = await vacuous_asserts(self.provider, given.source, given.oracle, given.entry_point)
            vacuous = list(dict.fromkeys([*vacuous, *identical_sides(given.source)]))
        elif isinstance(given, CallTests) and given.comparison == "checker":
            sources.append(given.checker)
            vacuous, asked = await vacuous_asserts(self.provider, given.checker, program, given.entry_point)
        elif isinstance(given, PytestTests):
            files = [content.decode("utf-8", "replace") for path, content in given.files.items() if path[-3:] == ".py"]
            sources += files
            vacuous = [text for source in files for text in identical_sides(source)]
        elif isinstance(given, ScriptTests):
            scripts = [content.decode("utf-8", "replace") for content in given.files.values()]
        for text in vacuous:
            self._add("vacuous", f"is vacuous: an assertion compares the candidate with itself: {text}")
        self._network(network or asked, sources, any(not v.passed for v in verdicts), scripts)

    def _network(self, reached: str, sources: Sequence[str], failed: bool, scripts: Sequence[str] = ()) -> None:
        imports = network_imports(*sources) if failed else []
        calls = network_calls("\n".join(scripts)) if failed else []
        if reached:
            self._add("network", f"needs a network: it asks for {reached}")
        elif imports:
            self._add("network", f"may need a network: it imports {', '.join(imports)}, and its oracle solution fails")
        elif calls:
            self._add(
                "network", f"may need a network: its script calls {', '.join(calls)}, and its oracle solution fails"
            )

    async def _stubs(self, stubs: dict[str, str]) -> int:
        """How many of the stubs fail."""
        failed = 0
        for name, reply in stubs.items():
            verdict = await self._judge(self.task, reply)
            failed += not verdict.passed
            if verdict.passed:
                self._add("stub", f"a stub passes: {name}")
        if stubs and not failed:
            self._add("vacuous", "is vacuous: its tests pass all that solves nothing")
        return failed

    def _constant(self) -> None:
        """Adds a problem if all hidden cases expect the same value: a program that always returns it would pass."""
        tests, value = self.task.tests, one_expected(self.task)
        if value and isinstance(tests, (CallTests, StdioTests)):
            count = len(tests.cases)
            cases = "its one hidden case expects" if count == 1 else f"all {count} hidden cases expect"
            self._add("vacuous", f"is vacuous: {cases} {printable(value, 60)}")

    async def _refused(self, error: ConfigError) -> None:
        """Adds why the tests could not be prepared, and which of the known causes applies."""
        slow = isinstance(error, TooSlow)
        self._add("slow" if slow else "oracle", f"{'is too slow: ' * slow}{_without_id(error, self.task)}")
        tests = self.task.tests
        if isinstance(tests, PytestTests) and not slow:
            await self._refused_files(tests)
        if not isinstance(tests, AssertTests) or slow:
            return
        found = await run_as_written(self.provider, tests, self.times)
        if found.uncalled:
            self._add("vacuous", "is vacuous: its tests pass whatever the function does")
        elif 0 < found.passed < self.times:
            said = f"its tests, as they are written, let the oracle solution pass {found.passed} of {self.times} times"
            self._add("flaky", f"is flaky: {said}")
        self._network(found.network, [tests.oracle, tests.source], failed=not found.passed)

    async def _refused_files(self, tests: PytestTests) -> None:
        """Adds a problem if tests in files fail by chance, or because there is no network."""
        passed = 0
        for seed in range(self.times):
            with watching(seed):
                # The id is changed so that the tests run each time: results of a task that passed are cached.
                passed += await self.verifier.prepares(dataclasses.replace(self.task, id=f"{self.task.id} ({seed})"))
        if 0 < passed < self.times:
            self._add("flaky", f"is flaky: the oracle solution passes its tests {passed} of {self.times} times")
        program = tests.oracle.get(f"{tests.module.replace('.', '/')}.py", b"").decode("utf-8", "replace")
        asked = await network_use(self.provider, program, tests, self.task.limits) if program else ""
        sources = [content.decode("utf-8", "replace") for content in (*tests.files.values(), *tests.oracle.values())]
        self._network(asked, sources, failed=not passed)


def _without_id(error: object, task: Task) -> str:
    return str(error).removeprefix(f"task {task.id}: ")


def _details(verdict: Verdict) -> str:
    return "; ".join(f"{t.name}: {t.detail}" for t in verdict.tests if not t.passed)[:300] or "no detail"
