"""What a person should know of a run's tasks: rows that were left out, and held-out tasks that are trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import write_atomically
from agent_rl.evaluation.split_overlap import overlap_note
from agent_rl.formats.invalid_rows import lines_of
from agent_rl.loop.sampler import LoadedEnvironment
from agent_rl.vocabulary.endless_tasks import some_of

SCHEMA_VERSION = 1


def note_tasks(
    sources: Sequence[LoadedEnvironment],
    held_out: Sequence[LoadedEnvironment],
    split: str,
    file: Path,
    say: Callable[[str], None],
) -> None:
    """The rows that were left out and the tasks in both splits are told to `say`, and `file` holds them; else no file.

    `split` is the held-out one.
    """
    rows: list[dict[str, Any]] = []
    for name, loaded in (("train", sources), (split, held_out)):
        for source in loaded:
            left_out = list(source.environment.left_out(name))
            for line in lines_of(left_out, len(source.tasks)):
                say(f"{source.name}, split {name}: {line}" if not line.startswith(" ") else line)
            if left_out:
                rows.append({"environment": source.name, "split": name, "left_out": left_out})
    training = {source.name: some_of(source.tasks) for source in sources}
    for source in held_out:
        note = overlap_note(training.get(source.name, ()), source.tasks, split)
        if note:
            say(f"{source.name}: WARNING: {note}")
            rows.append({"environment": source.name, "split": split, "note": note})
    if rows:
        write_atomically(file, json.dumps({"schema_version": SCHEMA_VERSION, "environments": rows}, indent=1) + "\n")
