"""Drops weak tasks from training: those whose tests have a lower mutation score than `minimum_mutation_score`.

Two kinds of tests get score 0, however many mutants they kill: tests that a guess passes (an empty reply, None, the
public examples learned by heart), and tests that expect the same value in every case. (The second kind kills most
mutants of a constant function, because these return another constant.)

A task is measured once. The result is kept in the folder `mutation_scores` of the cache, under the task's hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import write_atomically
from agent_rl.audit.judge_reply import SIDE_BY_SIDE, judge_reply
from agent_rl.audit.mutants import VERSION
from agent_rl.audit.mutation_score import MUTANTS, JudgeReply, MutationScore, mutation_score_of, not_measurable
from agent_rl.audit.null_agents import guesses_of, one_expected
from agent_rl.cache import cache_folder
from agent_rl.concurrency import side_by_side
from agent_rl.contracts import Environment, SandboxProvider
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import CallTests, StdioTests, Task, Verdict
from agent_rl.vocabulary.wording import printable

SCHEMA_VERSION = 2
_REPORTS = 10
"""How often progress is printed while many tasks are measured."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One task's mutation score. `why` says why it is 0 without mutants, or why it cannot be measured (None)."""

    task: str
    killed: int = 0
    mutants: int = 0
    score: float | None = None
    why: str = ""
    broken: bool = False
    """Whether the oracle solution fails. Such a task is dropped, whatever the threshold is."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of an environment's tasks are dropped. Tasks without a measurable mutation score are kept and listed."""

    environment: str
    minimum_mutation_score: float
    tasks: int
    dropped: tuple[Measured, ...]
    not_measured: tuple[Measured, ...]

    def keep(self, tasks: Sequence[Task]) -> list[Task]:
        """`tasks` without the dropped ones, in order."""
        gone = {m.task for m in self.dropped}
        return [t for t in tasks if t.id not in gone]

    def line(self) -> str:
        """The line that describes the selection to the user."""
        kept = self.tasks - len(self.dropped)
        more = f" ({len(self.not_measured)} of them without a mutation score)" if self.not_measured else ""
        return (
            f"{self.environment}: {len(self.dropped)} of {self.tasks} training tasks have a mutation score below "
            f"{self.minimum_mutation_score:g} and are dropped; {kept} are kept{more}"
        )

    @staticmethod
    def from_json(row: dict[str, Any]) -> Selection:
        """The selection from a row made by `asdict`. Raises TypeError or KeyError for anything else."""
        lists = {name: tuple(Measured(**m) for m in row[name]) for name in ("dropped", "not_measured")}
        return Selection(row["environment"], row["minimum_mutation_score"], row["tasks"], **lists)


async def select(
    name: str,
    environment: Environment,
    tasks: Sequence[Task],
    minimum_mutation_score: float,
    provider: SandboxProvider,
    say: Callable[[str], None],
) -> Selection:
    """The selection of `tasks` whose mutation score is at least `minimum_mutation_score`.

    Raises ConfigError if no task is left or no mutation score can be measured, and InfrastructureError
    if the infrastructure failed.
    """
    folder = cache_folder() / "mutation_scores"
    files = [folder / f"{_key(environment, task)}.json" for task in tasks]
    known = await asyncio.to_thread(lambda: [_known(*each) for each in zip(files, tasks, strict=True)])
    missing = [i for i, measured in enumerate(known) if measured is None]
    if missing:
        say(f"{name}: measuring the mutation scores of {len(missing)} tasks, once, with {MUTANTS} mutants each …")
    done = 0

    async def measure(index: int) -> Measured:
        nonlocal done
        measured = await _measure(tasks[index], environment, provider)
        if not measured.broken:
            await asyncio.to_thread(_write, files[index], measured)
        done += 1
        if done % max(1, len(missing) // _REPORTS) == 0 and len(missing) >= 10 * _REPORTS:
            say(f"  {done} of {len(missing)}")
        return measured

    new = dict(zip(missing, await side_by_side(map(measure, missing), SIDE_BY_SIDE), strict=True))
    found = [measured or new[index] for index, measured in enumerate(known)]
    return _selected(name, minimum_mutation_score, found)


def _selected(name: str, minimum_mutation_score: float, found: Sequence[Measured]) -> Selection:
    measured = [m for m in found if m.score is not None]
    dropped = [m for m in found if m.broken or (m.score is not None and m.score < minimum_mutation_score)]
    if found and len(dropped) == len(found):
        strongest = max((m.score for m in measured if m.score is not None), default=0.0)
        raise ConfigError(
            f"environment {name}: the tests of all {len(found)} training tasks are too weak, the best mutation score "
            f"is {strongest:.2f}; `agent-rl envs validate` shows what they miss",
            key="minimum_mutation_score",
        )
    if not measured:
        raise ConfigError(
            f"environment {name}: no mutation score can be measured for any of its {len(found)} training tasks "
            f"({found[0].why if found else 'there are none'}): leave minimum_mutation_score out",
            key="minimum_mutation_score",
        )
    not_measured = tuple(m for m in found if m.score is None and not m.broken)
    return Selection(name, minimum_mutation_score, len(found), tuple(dropped), not_measured)


async def _measure(task: Task, environment: Environment, provider: SandboxProvider) -> Measured:
    assert task.oracle is not None  # without one, `_known` has already answered

    async def judge(task: Task, text: str) -> Verdict:
        return await judge_reply(task, text, environment, provider)

    try:
        verdict = await judge(task, task.oracle)
    except ConfigError as error:
        return Measured(task.id, why=str(error).removeprefix(f"task {task.id}: "), broken=True)
    if not verdict.passed:
        return Measured(task.id, why=f"the oracle solution is judged {verdict.status}", broken=True)
    if (why := await _guessed(task, judge)) is not None:
        return Measured(task.id, score=0.0, why=why)
    mutation_score = await mutation_score_of(task, judge, verdict.limited_seconds)
    if not isinstance(mutation_score, MutationScore):
        return Measured(task.id, why=mutation_score)
    return Measured(task.id, mutation_score.killed, mutation_score.mutants, mutation_score.score)


async def _guessed(task: Task, judge: JudgeReply) -> str | None:
    """The guess that passes the tests without solving the task; None if no guess passes."""
    tests, value = task.tests, one_expected(task)
    if value and isinstance(tests, (CallTests, StdioTests)) and len(tests.cases) > 1:
        return f"all {len(tests.cases)} hidden cases expect {printable(value, 60)}"
    for name, reply in guesses_of(task).items():
        if (await judge(task, reply)).passed:
            return f"a stub passes: {name}"
    return None


def _key(environment: Environment, task: Task) -> str:
    """A key of all that a mutation score depends on: the task, how the environment submits a reply, and the mutants."""
    cls = type(environment)
    options = environment.config.model_dump_json() if hasattr(environment.config, "model_dump_json") else ""
    content = json.dumps([VERSION, MUTANTS, f"{cls.__module__}.{cls.__qualname__}", options, task.hash])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _known(file: Path, task: Task) -> Measured | None:
    """The result for the task if it needs no judging; else None."""
    measured = _read(file)
    why = not_measurable(task) if measured is None else ""
    return Measured(task.id, why=why) if why else measured


def _read(file: Path) -> Measured | None:
    """The measurement in `file`, or None if the file does not exist or is damaged."""
    try:
        kept = json.loads(file.read_text())
        if kept.pop("schema_version") != SCHEMA_VERSION:
            return None
        return Measured(**kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, measured: Measured) -> None:
    """Writes `measured` to `file`; a cache that cannot be written is not an error."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"schema_version": SCHEMA_VERSION, **asdict(measured)}))
    except OSError:
        return
