"""`validate`: checks whether an environment's tasks distinguish right from wrong solutions.

Environment.load ──> structure ──> spread(tasks) ──> TaskCheck.run, side by side ──> ValidationReport
                                                      oracle solution, stubs, tests, mutants
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent_rl.audit.judge_reply import SIDE_BY_SIDE
from agent_rl.audit.mutation_score import MUTANTS, of_split
from agent_rl.audit.task_checks import TaskCheck
from agent_rl.audit.validation_report import SplitReport, TaskProblem, ValidationReport
from agent_rl.audit.watching_verifier import WatchingVerifier
from agent_rl.concurrency import side_by_side
from agent_rl.contracts import Environment, SandboxProvider
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import AssertTests, CallTests, StdioTests, Task
from agent_rl.vocabulary.endless_tasks import some_of

TIMES = 28
"""How often an oracle solution is judged by default: one that fails in 8 % of its runs fails in one of 28 with a
probability of 1 - .92^28 = .903."""


async def validate(
    environment: Environment,
    verifier: WatchingVerifier,
    provider: SandboxProvider,
    *,
    name: str,
    splits: Sequence[str] | None = None,
    tasks: int | None = 20,
    times: int = TIMES,
    mutants: int = MUTANTS,
    concurrency: int = SIDE_BY_SIDE,
    say: Callable[[str], None] = print,
) -> ValidationReport:
    """The report on `splits` (None: train and test, if they exist), with `tasks` tasks of each, evenly spread.

    Every oracle solution must pass in all of `times` judgings, each with another seed and order of calls. Every stub
    must fail: no reply, and functions whose bodies do nothing, return None, return an object that equals everything,
    exit, or know the public examples by heart. Ids must be unique, a second load must give the same tasks, and no task
    may be in two splits. Of endless tasks, the first stand for all. Every task must have tests. No test may compare the
    candidate with itself or need a network, and the oracle solution may take at most half of its time limit. The
    mutation score is measured with at most `mutants` mutants of each oracle solution.

    `verifier` is the one that `environment` judges with. Raises ConfigError if a split cannot be loaded, and
    InfrastructureError if the infrastructure failed.
    """
    reports: list[SplitReport] = []
    seen: dict[str, str] = {}
    for split, all_tasks in (await _loaded(environment, splits, say)).items():
        problems = _structure(all_tasks, seen, split, verifier)
        problems += await _loads_again(environment, split, all_tasks)
        chosen = spread(all_tasks, tasks)
        chosen += [t for t in all_tasks if t.id in verifier.refused and t not in chosen]
        say(f"{split}: judging oracle solutions, stubs and mutants of {len(chosen)} of {len(all_tasks)} tasks")
        working = (TaskCheck(t, environment, verifier, provider, times, mutants).run() for t in chosen)
        checks = await side_by_side(working, concurrency)
        problems += [p for c in checks for p in c.problems]
        reports.append(
            SplitReport(
                split=split,
                tasks=len(all_tasks),
                checked=len(chosen),
                oracles=sum(c.oracles for c in checks),
                oracles_passed=sum(c.oracles_passed for c in checks),
                stubs=sum(c.stubs for c in checks),
                stubs_failed=sum(c.stubs_failed for c in checks),
                mutation_score=of_split([c.mutation_score for c in checks if c.mutation_score is not None]),
                problems=tuple(problems),
                by_task=tuple(checks),
            )
        )
    return ValidationReport(name, tuple(reports), times)


async def _loaded(
    environment: Environment, splits: Sequence[str] | None, say: Callable[[str], None]
) -> dict[str, Sequence[Task]]:
    """The tasks of each split of `splits`; if it is None, of `train` and `test`, as far as they exist."""
    loaded: dict[str, Sequence[Task]] = {}
    for split in splits or ("train", "test"):
        try:
            loaded[split] = some_of(await environment.load(split))
        except ConfigError as error:
            if splits is not None or error.key != "split":
                raise
            say(f"there is no split {split}")
    if not any(loaded.values()):
        raise ConfigError("neither train nor test has tasks: name the splits with --split", key="--split")
    return loaded


def spread(tasks: Sequence[Task], most: int | None) -> list[Task]:
    """At most `most` of `tasks`, evenly spread over them."""
    if most is None or len(tasks) <= most:
        return list(tasks)
    return [tasks[i * len(tasks) // most] for i in range(most)]


def _structure(
    tasks: Sequence[Task], seen: dict[str, str], split: str, verifier: WatchingVerifier
) -> list[TaskProblem]:
    """Problems that are visible without judging. `seen` maps each prompt with its files to the split that has it."""
    problems = [] if tasks else [TaskProblem("", f"the split {split} is empty")]
    ids: set[str] = set()
    for task in tasks:
        if task.id in ids:
            problems.append(TaskProblem(task.id, "another task has the same id"))
        ids.add(task.id)
        refused = task.id in verifier.refused
        if isinstance(task.tests, AssertTests) and task.tier == "values" and not refused:
            problems.append(
                TaskProblem(task.id, "its tests are not recorded as cases: call `verifier.prepare` in `load`")
            )
        elif isinstance(task.tests, (CallTests, StdioTests)) and not task.tests.cases and not refused:
            what = "is vacuous: it has no hidden case, so that any program passes"
            problems.append(TaskProblem(task.id, what, "vacuous"))
        asked = repr((task.prompt, sorted(task.files.items())))
        first = seen.setdefault(asked, split)
        if first != split:
            problems.append(TaskProblem(task.id, f"has the same prompt and files as a task of the split {first}"))
    return problems


async def _loads_again(environment: Environment, split: str, tasks: Sequence[Task]) -> list[TaskProblem]:
    again = some_of(await environment.load(split))
    if [t.hash for t in tasks] != [t.hash for t in again]:
        return [TaskProblem("", f"loading the split {split} again gives other tasks, or another order")]
    return []
