"""The training tasks of a run, without those whose tests are too weak; a resumed run gets the same tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from agent_rl.atomic_files import write_atomically
from agent_rl.audit.weak_tasks import SCHEMA_VERSION, Selection, select
from agent_rl.contracts import SandboxProvider
from agent_rl.environments import NamedEnvironment
from agent_rl.errors import ConfigError
from agent_rl.loop.sampler import LoadedEnvironment
from agent_rl.vocabulary import EndlessTasks


async def without_weak_tasks(
    environments: Sequence[NamedEnvironment],
    sources: Sequence[LoadedEnvironment],
    provider: SandboxProvider,
    file: Path,
    say: Callable[[str], None],
) -> list[LoadedEnvironment]:
    """`sources` without the tasks whose mutation score is below their environment's `minimum_mutation_score`.

    The removed tasks and the reasons go to `say` and to `file`. Tasks already listed in `file` are removed again
    without measuring them anew, since the sampler of a resumed run needs the same tasks. Raises ConfigError when an
    environment has no tasks left.
    """
    if not any(e.minimum_mutation_score > 0 for e in environments):
        return list(sources)
    earlier = _read(file)
    kept: list[LoadedEnvironment] = []
    selections: list[Selection] = []
    for named, source in zip(environments, sources, strict=True):
        if named.minimum_mutation_score <= 0:
            kept.append(source)
            continue
        if isinstance(source.tasks, EndlessTasks):
            raise ConfigError(
                f"the tasks of {named.name} have no end: they cannot all be measured", key="minimum_mutation_score"
            )
        selection = earlier.get(named.name)
        if selection is None or selection.tasks != len(source.tasks):
            threshold = named.minimum_mutation_score
            selection = await select(named.name, source.environment, source.tasks, threshold, provider, say)
        say(selection.line())
        selections.append(selection)
        kept.append(replace(source, tasks=selection.keep(source.tasks)))
    rows = {"schema_version": SCHEMA_VERSION, "environments": [asdict(s) for s in selections]}
    write_atomically(file, json.dumps(rows, indent=1) + "\n")
    return kept


def _read(file: Path) -> dict[str, Selection]:
    """The tasks that an earlier start of the run removed, by environment; empty if there was none."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        if rows["schema_version"] != SCHEMA_VERSION:
            return {}
        return {row["environment"]: Selection.from_json(row) for row in rows["environments"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
