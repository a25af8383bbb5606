"""The training tasks of a run without those that are too weak, the same when the run is taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from agent_rl.atomic_files import write_atomically
from agent_rl.audit.weak_tasks import SCHEMA_VERSION, Selection, select
from agent_rl.contracts import SandboxProvider
from agent_rl.environments import NamedEnvironment
from agent_rl.loop.sampler import LoadedEnvironment


async def strong_sources(
    environments: Sequence[NamedEnvironment],
    sources: Sequence[LoadedEnvironment],
    provider: SandboxProvider,
    file: Path,
    say: Callable[[str], None],
) -> list[LoadedEnvironment]:
    """`sources` without the tasks that are weaker than their environment's `minimum_mutation_score`.

    What is dropped, and why, is said and stands in `file`; what stands there already is dropped again, measured or
    not: the sampler of a resumed run counts on the same tasks. Raises ConfigError where an environment has none left.
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
    """What an earlier start of the run dropped, by environment; nothing where there was none."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        if rows["schema_version"] != SCHEMA_VERSION:
            return {}
        return {row["environment"]: Selection.from_json(row) for row in rows["environments"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
