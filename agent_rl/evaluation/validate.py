"""`validate`: whether an environment's tasks tell right from wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent_rl.contracts import Environment, SandboxProvider
from agent_rl.errors import ConfigError, EnvironmentFailure
from agent_rl.evaluation.stubs import stub_replies
from agent_rl.rollouts.agent import ScriptedAgent
from agent_rl.rollouts.run import run_rollout
from agent_rl.vocabulary import AssertTests, CallTests, Task, Verdict

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a task, or with a split (`task` is then empty)."""

    task: str
    what: str


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What was found in one split.

    tasks: how many it holds; checked: of how many the replies were judged. references: judged references, `times`
    per task; stubs: judged stubs.
    """

    split: str
    tasks: int
    checked: int
    references: int
    references_passed: int
    stubs: int
    stubs_failed: int
    problems: tuple[Problem, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Of all splits; `passed` where no split has a problem."""

    environment: str
    splits: tuple[SplitReport, ...]

    @property
    def passed(self) -> bool:
        return all(split.passed for split in self.splits)

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, "passed": self.passed, **asdict(self)}


async def validate(
    environment: Environment,
    provider: SandboxProvider,
    *,
    name: str,
    splits: Sequence[str] | None = None,
    tasks: int | None = 20,
    times: int = 3,
    concurrency: int = 8,
    say: Callable[[str], None] = print,
) -> ValidationReport:
    """What was found in `splits` (None: those of train and test that there are), `tasks` tasks of each, evenly spread.

    Every reference has to pass `times` times of `times`; every stub (no reply, and functions whose bodies do nothing,
    return None, return what equals everything, or exit) has to fail. Ids are unique, loading again gives the same
    tasks, no task is in two splits, and each has tests.

    Raises ConfigError where a split cannot be loaded, InfrastructureError where the machinery failed.
    """
    loaded: dict[str, Sequence[Task]] = {}
    for split in splits or ("train", "test"):
        try:
            loaded[split] = await environment.load(split)
        except ConfigError as error:
            if splits is not None or error.key != "split":
                raise
            say(f"there is no split {split}")
    if not loaded or not any(loaded.values()):
        raise ConfigError("neither train nor test can be loaded: name the splits with --split", key="--split")
    slots = asyncio.Semaphore(concurrency)
    reports: list[SplitReport] = []
    seen: dict[str, str] = {}
    for split, all_tasks in loaded.items():
        problems = [*_structure(all_tasks, seen, split), *await _loads_again(environment, split, all_tasks)]
        chosen = spread(all_tasks, tasks)
        say(f"{split}: judging references and stubs of {len(chosen)} of {len(all_tasks)} tasks")
        checks = await asyncio.gather(*(_check(t, environment, provider, times, slots) for t in chosen))
        problems += [p for check in checks for p in check.problems]
        reports.append(
            SplitReport(
                split=split,
                tasks=len(all_tasks),
                checked=len(chosen),
                references=sum(c.references for c in checks),
                references_passed=sum(c.references_passed for c in checks),
                stubs=sum(c.stubs for c in checks),
                stubs_failed=sum(c.stubs_failed for c in checks),
                problems=tuple(problems),
            )
        )
    return ValidationReport(name, tuple(reports))


def spread(tasks: Sequence[Task], most: int | None) -> list[Task]:
    """At most `most` of `tasks`, evenly spread over them."""
    if most is None or len(tasks) <= most:
        return list(tasks)
    return [tasks[i * len(tasks) // most] for i in range(most)]


@dataclass(frozen=True, slots=True)
class _Check:
    """What was found on one task."""

    references: int
    references_passed: int
    stubs: int
    stubs_failed: int
    problems: tuple[Problem, ...]


async def _check(
    task: Task, environment: Environment, provider: SandboxProvider, times: int, slots: asyncio.Semaphore
) -> _Check:
    """The references and stubs of one task, judged."""
    if task.reference is None:
        return _Check(0, 0, 0, 0, (Problem(task.id, "has no reference"),))
    problems: list[Problem] = []
    passed = stubs_failed = 0
    async with slots:
        for _ in range(times):
            verdict = await _judge(task, task.reference, environment, provider)
            passed += verdict.passed
            if not verdict.passed and not problems:
                details = "; ".join(f"{t.name}: {t.detail}" for t in verdict.tests if not t.passed)[:300]
                problems.append(
                    Problem(task.id, f"the reference is judged {verdict.status} ({details or 'no detail'})")
                )
        stubs = stub_replies(task.reference)
        for name, reply in stubs.items():
            verdict = await _judge(task, reply, environment, provider)
            stubs_failed += not verdict.passed
            if verdict.passed:
                problems.append(Problem(task.id, f"a stub passes: {name}"))
    return _Check(times, passed, len(stubs), stubs_failed, tuple(problems))


async def _judge(task: Task, text: str, environment: Environment, provider: SandboxProvider) -> Verdict:
    """The verdict of one episode in which the agent says `text` each time. Raises EnvironmentFailure without one."""
    trajectory = await run_rollout(
        environment, "validate", task, lambda task, name: ScriptedAgent(lambda messages: text), provider, retries=2
    )
    if trajectory.verdict is None:
        raise EnvironmentFailure(f"task {task.id} could not be judged ({trajectory.boundary}): {trajectory.error}")
    return trajectory.verdict


def _structure(tasks: Sequence[Task], seen: dict[str, str], split: str) -> list[Problem]:
    """Problems that can be seen without judging; `seen` maps what a task asks to where it was seen first."""
    problems = [] if tasks else [Problem("", f"the split {split} is empty")]
    ids: set[str] = set()
    for task in tasks:
        if task.id in ids:
            problems.append(Problem(task.id, "this id stands twice"))
        ids.add(task.id)
        if isinstance(task.tests, AssertTests):
            problems.append(Problem(task.id, "its tests are not recorded as cases: call `verifier.prepare` in `load`"))
        elif isinstance(task.tests, CallTests) and not task.tests.cases:
            problems.append(Problem(task.id, "has no hidden case: anything that can be called passes"))
        asked = repr((task.prompt, sorted(task.files.items())))
        first = seen.setdefault(asked, split)
        if first != split:
            problems.append(Problem(task.id, f"asks the same as a task of the split {first}"))
    return problems


async def _loads_again(environment: Environment, split: str, tasks: Sequence[Task]) -> list[Problem]:
    again = await environment.load(split)
    if [t.hash for t in tasks] != [t.hash for t in again]:
        return [Problem("", f"loading the split {split} again gives other tasks, or another order")]
    return []
