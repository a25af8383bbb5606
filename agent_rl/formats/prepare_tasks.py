"""Prepares many tasks at a time for judging, with one error for all tasks that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from agent_rl.concurrency import side_by_side
from agent_rl.contracts.verifier import Verifier
from agent_rl.errors import ConfigError
from agent_rl.formats.invalid_rows import InvalidRows
from agent_rl.vocabulary import Task

_MOST_ERRORS = 20


async def prepare_all(verifier: Verifier, tasks: Sequence[Task], invalid: InvalidRows | None = None) -> list[Task]:
    """The result of `verifier.prepare` for each task, prepared concurrently. Nothing is left running.

    Raises one ConfigError that names every task that cannot be used; with `invalid`, these tasks are left out and added
    to it, and only if none is left, it is raised. Any other error ends all and is raised itself.
    """

    async def one(task: Task) -> Task | ConfigError:
        try:
            return await verifier.prepare(task)
        except ConfigError as error:
            return error

    prepared = await side_by_side(map(one, tasks))
    wrong = [(task, p) for task, p in zip(tasks, prepared, strict=True) if isinstance(p, ConfigError)]
    if wrong and (invalid is None or len(wrong) == len(tasks)):
        raise together([error for _, error in wrong], len(tasks))
    if invalid is not None:
        for task, error in wrong:
            invalid.add(invalid.places.get(task.id, f"task {task.id}"), error, task.id)
    return [p for p in prepared if isinstance(p, Task)]


def together(errors: Sequence[ConfigError], tasks: int) -> ConfigError:
    """One error for the errors of several tasks; a single error is returned unchanged."""
    if len(errors) == 1:
        return errors[0]
    lines = [f"  {error}" for error in errors[:_MOST_ERRORS]]
    more = [f"  and {len(errors) - _MOST_ERRORS} more"] if len(errors) > _MOST_ERRORS else []
    return ConfigError("\n".join([f"{len(errors)} of {tasks} tasks cannot be used:", *lines, *more]))
