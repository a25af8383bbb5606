"""`agent-rl verify TASKS SOLUTIONS`: verdicts for given solutions, with no model and no training."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent_rl.audit.judge_reply import judge_reply
from agent_rl.concurrency import side_by_side
from agent_rl.config.schema import EnvironmentEntry
from agent_rl.contracts import Environment, InvalidSubmission, SandboxProvider
from agent_rl.environments import make_environments
from agent_rl.errors import ConfigError, InfrastructureError
from agent_rl.file_sets import InvalidArchive
from agent_rl.formats import InvalidRow, InvalidRows, OnInvalid, UnfinishedThinking, read_tasks, submission_of
from agent_rl.formats.humaneval import read_json_lines
from agent_rl.formats.prepare_tasks import together
from agent_rl.judging import TIERS, TaskVerifier, read_archive
from agent_rl.vocabulary import Isolation, Submission, Task
from agent_rl.vocabulary.task import Tier

SCHEMA_VERSION = 2
_FORMS = ("completion", "files", "patch", "archive")
_AT_ONCE = 64
"""The largest number of concurrent judgings. The provider's workers are the real bound."""


@dataclass(frozen=True, slots=True)
class Solution:
    """One line of SOLUTIONS as a submission. `invalid` says why the line cannot be made into one."""

    task_id: str
    submission: Submission
    where: str
    invalid: str = ""
    reply: str | None = None
    """To a task of a folder: its script is run in the task's sandbox, and what it leaves there is judged."""


@dataclass(frozen=True, slots=True)
class SolutionResult:
    """The result of one solution. `passed` is None if there is no verdict.

    Its status is then "excluded" (the infrastructure failed) or "left_out" (its task's row cannot be used).
    """

    task_id: str
    passed: bool | None
    status: str
    tier: Tier | None
    seconds: float
    reason: str = ""
    """For a person: the first failing case, the message of the infrastructure failure, or why the row was left out."""

    def line(self) -> str:
        """The line that describes a solution that did not pass."""
        return f"task {self.task_id}: {self.status.replace('_', ' ')}{f': {self.reason}' if self.reason else ''}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All results, in the order of SOLUTIONS; and the rows of TASKS that were left out."""

    results: tuple[SolutionResult, ...]
    left_out: tuple[InvalidRow, ...] = ()
    tasks: int = 0
    """How many tasks could be used."""

    @property
    def num_passed(self) -> int:
        return sum(r.passed is True for r in self.results)

    @property
    def num_failed(self) -> int:
        return sum(r.passed is False for r in self.results)

    @property
    def num_excluded(self) -> int:
        return sum(r.status == "excluded" for r in self.results)

    @property
    def tiers(self) -> dict[Tier, int]:
        """How many verdicts were reached at each tier, the strongest first."""
        counts = Counter(r.tier for r in self.results)
        return {tier: counts[tier] for tier in reversed(TIERS) if counts[tier]}

    @property
    def failing(self) -> list[str]:
        """For each solution that failed, what a terminal shows; of several of a task, also which one it is."""
        given = Counter(r.task_id for r in self.results)
        lines: list[str] = []
        for number, result in enumerate(self.results, 1):
            if result.passed is False:
                which = f"solution {number}, " if given[result.task_id] > 1 else ""
                lines.append(which + result.line().replace("\n", "\n    "))
        return lines

    def to_json(self) -> dict[str, Any]:
        """The content of `--json FILE`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "num_passed": self.num_passed,
            "num_failed": self.num_failed,
            "num_excluded": self.num_excluded,
            "num_left_out": len(self.left_out),
            "left_out": [asdict(row) for row in self.left_out],
            "results": [asdict(r) for r in self.results],
        }

    def write(self, path: str | Path) -> None:
        """`path` holds the report as JSON. Raises ConfigError if it cannot be written."""
        try:
            Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error}", key="--json") from None

    def exit_code(self, *, require_all: bool = False) -> int:
        """0: all were judged | 3: some could not be judged | 1: `require_all` is true and one failed."""
        if self.num_excluded:
            return 3
        return 1 if require_all and self.num_failed else 0


def read_solutions(
    path: str | Path,
    tasks: dict[str, Task],
    invalid: Sequence[InvalidRow] = (),
    on_invalid: OnInvalid = "error",
    unfinished_thinking: UnfinishedThinking = "invalid",
) -> list[Solution | SolutionResult]:
    """The solutions in `path`. Raises ConfigError (file and line) for a malformed line or an unknown task.

    A solution whose task is one of the rows `invalid` is an error too; with `on_invalid` "skip", it is a result with
    the status "left_out".
    """
    left_out = {row.task_id: row for row in invalid}
    solutions: list[Solution | SolutionResult] = []
    for where, content in read_json_lines(path):
        given = [name for name in _FORMS if name in content]
        if "task_id" not in content or not given:
            missing = "completion" if "task_id" in content else "task_id"
            raise ConfigError(f"{where}: {missing!r} is missing", value=missing, valid=content)
        if len(given) > 1:
            raise ConfigError(f"{where}: only one of {', '.join(_FORMS)} can be judged, got {' and '.join(given)}")
        if type(content["task_id"]) is int:
            content = {**content, "task_id": str(content["task_id"])}  # MBPP's task ids are numbers
        for name in ("task_id", *(n for n in given if n != "files")):
            if not isinstance(content[name], str):
                raise ConfigError(f"{where}: {name!r} should be a string, got {type(content[name]).__name__}")
        task_id = content["task_id"]
        if task_id not in tasks and (row := left_out.get(task_id, left_out.get(""))) is not None:
            # The id of a row that is not even JSON is unknown: any solution without a task may belong to it.
            if on_invalid == "error":
                raise ConfigError(row.reason)
            solutions.append(SolutionResult(task_id, None, "left_out", None, 0.0, row.line()))
            continue
        if task_id not in tasks:
            raise ConfigError(f"{where}: there is no task {task_id!r}", value=task_id, valid=tasks)
        if given[0] == "completion":
            solutions.append(_completed(tasks[task_id], content["completion"], where, unfinished_thinking))
        else:
            solutions.append(_solution(tasks[task_id], given[0], content[given[0]], where, Path(path).parent))
    if not solutions:
        raise ConfigError(f"{path} holds no solutions")
    return solutions


def _completed(task: Task, completion: str, where: str, unfinished_thinking: UnfinishedThinking) -> Solution:
    """The solution that a completion is, read like a reply in training."""
    if task.metadata.get("format") == "folders":
        return Solution(task.id, Submission.of_files({}), where, reply=completion)
    try:
        return Solution(task.id, submission_of(task, completion, unfinished_thinking=unfinished_thinking), where)
    except InvalidSubmission as error:
        return Solution(task.id, Submission.code(""), where, str(error))


def _solution(task: Task, form: str, given: Any, where: str, folder: Path) -> Solution:
    """The solution that a line gives in `form`. Raises ConfigError."""
    if form == "patch":
        return Solution(task.id, Submission.patch(given), where)
    if form == "files":
        if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
            raise ConfigError(f"{where}: 'files' should be an object of texts by path")
        return Solution(task.id, Submission.of_files({path: text.encode() for path, text in given.items()}), where)
    try:
        data = (folder / given).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: the archive cannot be read: {error}") from None
    try:
        return Solution(task.id, Submission.of_files(read_archive(data)), where)
    except InvalidArchive as error:
        return Solution(task.id, Submission.of_files({}), where, str(error))


async def verify_files(
    tasks_path: str | Path,
    solutions_path: str | Path,
    provider: SandboxProvider,
    *,
    retries: int = 2,
    minimum_isolation: Isolation = "container",
    minimum_tier: Tier = "in_process",
    on_invalid: OnInvalid = "error",
    unfinished_thinking: UnfinishedThinking = "invalid",
    on_result: Callable[[int, int, SolutionResult], None] | None = None,
) -> VerifyReport:
    """A verdict for each line of `solutions_path`, in a started `provider`.

    `on_result(done, total, result)` is called after each verdict. Only tasks with a solution are prepared and judged.
    Raises ConfigError for malformed files, and one ConfigError for all tasks whose oracle solutions fail their tests.
    A row that cannot be used is an error if a solution names it, or if its id cannot be read; else it is left out, and
    the report names it. With `on_invalid` "skip", that holds for all such rows and tasks, and their solutions have no
    verdict.
    """
    tasks, invalid = _tasks(tasks_path, on_invalid)
    read = read_solutions(solutions_path, tasks, invalid.rows, on_invalid, unfinished_thinking)
    solutions = [s for s in read if isinstance(s, Solution)]
    verifier = TaskVerifier(provider, retries=retries, minimum_isolation=minimum_isolation, minimum_tier=minimum_tier)
    replies = any(solution.reply is not None for solution in solutions)
    scripts = _environment(tasks_path, verifier, unfinished_thinking) if replies else None
    gate = asyncio.Semaphore(_AT_ONCE)
    needed = {s.task_id for s in solutions}
    done = 0
    wrong: dict[str, ConfigError] = {}

    async def one(solution: Solution) -> SolutionResult:
        nonlocal done
        result = SolutionResult(solution.task_id, None, "excluded", None, 0.0)
        try:
            task = await asyncio.shield(prepared[solution.task_id])
            async with gate:
                # Once one task cannot be used, nothing is judged: only the errors of other tasks matter.
                if not wrong or on_invalid == "skip":
                    result = await _judge(verifier, scripts, provider, task, solution)
        except ConfigError as error:
            wrong[solution.task_id] = error
            where = invalid.places[solution.task_id]
            result = SolutionResult(solution.task_id, None, "left_out", None, 0.0, f"{where}: {error}")
        except InfrastructureError as error:
            result = SolutionResult(solution.task_id, None, "excluded", None, 0.0, str(error))
        done += 1
        if on_result is not None:
            on_result(done, len(solutions), result)
        return result

    async with _preparing(verifier, gate, [tasks[task_id] for task_id in needed]) as prepared:
        judged = iter(await side_by_side(map(one, solutions)))
    failed = [task_id for task_id in tasks if task_id in wrong]
    if failed and on_invalid == "error":
        raise together([wrong[task_id] for task_id in failed], len(needed))
    for task_id in failed:
        invalid.add(invalid.places[task_id], wrong[task_id], task_id)
    in_order = (next(judged) if isinstance(s, Solution) else s for s in read)
    return VerifyReport(tuple(in_order), tuple(invalid.rows), len(tasks) - len(failed))


def _tasks(path: str | Path, on_invalid: OnInvalid) -> tuple[dict[str, Task], InvalidRows]:
    """The usable tasks by id, and the other rows. Raises ConfigError, unless "skip" also for a row without an id."""
    invalid = InvalidRows()
    try:
        tasks = {t.id: t for t in read_tasks(path, split=None, invalid=invalid)}
    except ConfigError:
        if on_invalid == "skip" or not invalid.rows:
            raise
        raise ConfigError(invalid.rows[0].reason) from None
    nameless = [ConfigError(row.reason) for row in invalid.rows if not row.task_id]
    if nameless and on_invalid == "error":
        raise together(nameless, len(tasks) + len(invalid.rows))
    return tasks, invalid


@asynccontextmanager
async def _preparing(
    verifier: TaskVerifier, gate: asyncio.Semaphore, tasks: Sequence[Task]
) -> AsyncIterator[Mapping[str, asyncio.Task[Task]]]:
    """The preparations of `tasks` by id, side by side. At the end, all is closed."""
    preparations = {task.id: asyncio.create_task(_gated(gate, verifier, task)) for task in tasks}
    try:
        yield preparations
    finally:
        for preparation in preparations.values():
            preparation.cancel()
        await asyncio.gather(*preparations.values(), return_exceptions=True)
        await verifier.close()


async def _gated(gate: asyncio.Semaphore, verifier: TaskVerifier, task: Task) -> Task:
    async with gate:
        return await verifier.prepare(task)


def _environment(folder: str | Path, verifier: TaskVerifier, unfinished_thinking: UnfinishedThinking) -> Environment:
    """The environment in which replies to the tasks of `folder` are run, as evaluation runs them."""
    options: dict[str, Any] = {"folder": str(folder), "unfinished_thinking": unfinished_thinking}
    return make_environments([EnvironmentEntry(environment="folder", options=options)], verifier)[0].environment


async def _judge(
    verifier: TaskVerifier, scripts: Environment | None, provider: SandboxProvider, task: Task, solution: Solution
) -> SolutionResult:
    if solution.invalid:
        return SolutionResult(task.id, False, "invalid_submission", task.tier, 0.0, solution.invalid)
    if solution.reply is not None and scripts is not None:
        verdict = await judge_reply(task, solution.reply, scripts, provider, command="verify")
    else:
        verdict = await verifier.judge(task, solution.submission)
    first = next((t for t in verdict.tests if not t.passed), None)
    reason = "" if first is None else f"{first.name}: {first.detail}" if "::" in first.name else first.detail
    return SolutionResult(task.id, verdict.passed, verdict.status, verdict.tier, round(verdict.seconds, 6), reason)
