"""Makes tasks from data sets. A row's keys decide its format, and one file may hold rows of several formats.

    HumanEval   task_id, prompt, entry_point, canonical_solution, test     agent_rl.formats.humaneval
    MBPP        task_id, text or prompt, code, test_list                   formats.mbpp
    calls       task_id, prompt, entry_point, cases                        formats.function_calls
    stdio       task_id, prompt, inputs, outputs (or APPS, CodeContests)   formats.stdio_rows
    pytest      task_id, prompt, test_files, solution                      formats.pytest_files
    folders     a folder of tasks, each with instruction.md and tests/     formats.task_folders

Keys that change how a row is judged are read or refused: see `formats.judging_keys`. No code of a data set is run
here; it is at most parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent_rl.errors import ConfigError
from agent_rl.formats import function_calls, humaneval, mbpp, pytest_files, stdio_rows, task_folders
from agent_rl.formats.humaneval import PromptStyle
from agent_rl.formats.invalid_rows import InvalidRow, InvalidRows, OnInvalid, usable
from agent_rl.formats.judging_keys import check_keys, limits_of, refuse_judging_keys, refuse_rules
from agent_rl.formats.prepare_tasks import prepare_all
from agent_rl.formats.reply_program import program_of
from agent_rl.formats.reply_script import ShellScript, script_in
from agent_rl.formats.row_fields import Fields, Settings, is_long
from agent_rl.formats.unfinished_thinking import UnfinishedThinking
from agent_rl.formats.vacuous_tests import check_asserts
from agent_rl.vocabulary import AnswerTests, Limits, Submission, Task

__all__ = [
    "InvalidRow",
    "InvalidRows",
    "OnInvalid",
    "PromptStyle",
    "ShellScript",
    "UnfinishedThinking",
    "prepare_all",
    "program_of",
    "read_tasks",
    "refuse_judging_keys",
    "script_in",
    "submission_of",
]

_HUMANEVAL = ("entry_point", "canonical_solution", "test")
_READERS: tuple[tuple[str, tuple[tuple[str, ...], ...], Callable[[Fields, Settings], Task]], ...] = (
    ("MBPP", (("test_list",),), mbpp.task_of),
    ("pytest files", (("test_files",),), pytest_files.task_of),
    ("calls", (("cases",),), function_calls.task_of),
    ("stdio", (("inputs", "outputs"), ("input_output",), ("private_tests",), ("public_tests",)), stdio_rows.task_of),
)
"""Name of the format, its sets of keys (a row with all keys of one set has this format), and the reader of a row."""


def read_tasks(
    source: str | Path,
    split: str | None = "test",
    *,
    style: PromptStyle = "instruct",
    limits: Limits | None = None,
    invalid: InvalidRows | None = None,
) -> list[Task]:
    """The tasks of a file (.jsonl, .jsonl.gz, .json.gz, .parquet), a folder of tasks, or a hub's data set.

    `split` selects from a hub's data set or a folder's tasks (None: all of them). All rows of a file get this split.
    `style` is of HumanEval's prompts; `limits` takes the place of each format's own, and a row's own limits go before
    both. Raises ConfigError that names file and line for a malformed row, a repeated id, or a row of no known format;
    with `invalid`, such rows are left out and added to it.
    """
    settings = Settings(split or "test", limits)
    if Path(source).is_dir():
        return task_folders.read_folder(Path(source), split, settings, invalid)
    seen: dict[str, str] = {}
    found = 0 if invalid is None else -len(invalid.rows)

    def read(content: Mapping[str, Any], where: str) -> Task:
        task = _task(content, where, settings, style)
        if task.id in seen:
            raise ConfigError(f"{where}: task_id {task.id!r} is already in {seen[task.id]}", key="task_id")
        seen[task.id] = where
        return task

    rows = humaneval.read_contents(str(source), settings.split, invalid)
    tasks = list(usable(rows, read, invalid, _id_of))
    if invalid is not None:
        invalid.places.update(seen)
        found += len(invalid.rows)
    if not tasks:
        why = f" that can be used; the first of {found}: {invalid.rows[-found].line()}" if invalid and found else ""
        raise ConfigError(f"{source} holds no rows{why}")
    return tasks


def _id_of(content: Mapping[str, Any]) -> str:
    """The row's id, for a person; "" if it has none."""
    found = (content.get(name) for name in ("task_id", "problem_id", "id", "name"))
    return next((str(value) for value in found if isinstance(value, (str, int)) and not is_long(value)), "")


def submission_of(task: Task, completion: str, *, unfinished_thinking: UnfinishedThinking = "invalid") -> Submission:
    """The submission made from a completion, as a model wrote it. Raises InvalidSubmission, as `program_of` does."""
    if isinstance(task.tests, AnswerTests):
        return Submission.answer(completion)
    return Submission.code(program_of(task, completion, unfinished_thinking=unfinished_thinking))


def _task(content: Mapping[str, Any], where: str, settings: Settings, style: PromptStyle) -> Task:
    present = {name for name, value in content.items() if value is not None}
    if not {"canonical_solution", "test"} & present:
        for _, signs, reader in _READERS:
            if any(present.issuperset(keys) for keys in signs):
                return reader(Fields(content, where), settings)
    if not present.intersection(_HUMANEVAL):
        formats = "; ".join(f"{name}: {' or '.join('+'.join(keys) for keys in signs)}" for name, signs, _ in _READERS)
        if {"task_id", "completion"} <= present:
            raise ConfigError(f"{where}: a solution (task_id, completion) where a task is expected: TASKS come first")
        raise ConfigError(
            f"{where}: a row of no known format: its keys are {', '.join(sorted(content)) or 'none'}. "
            f"A format is told by these keys: HumanEval: {'+'.join(_HUMANEVAL)}; {formats}"
        )
    fields = Fields(content, where)
    check_keys(fields, (), free=("atol",))
    refuse_rules(fields, "HumanEval's tests compare by themselves")
    row = humaneval.row_of(content, where)
    check_asserts(fields, "test", row.test)
    limits = limits_of(fields, settings.limits or Limits())
    return humaneval.tasks_from_rows([row], split=settings.split, style=style, limits=limits)[0]
