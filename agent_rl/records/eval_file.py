"""`eval.json` of a run: a list of rows in order of time, written atomically, cut back on resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import write_atomically
from agent_rl.errors import ConfigError
from agent_rl.records.eval_row import EvalRow


def read_rows(path: Path) -> list[EvalRow]:
    """The rows of `path` in order of time; none where there is no such file. Raises ConfigError for another format."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} is no readable JSON file: {error}") from None
    try:
        return [EvalRow.from_json(row) for row in data]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is no list of evaluation rows: {type(error).__name__}: {error}") from None


def append_row(path: Path, row: EvalRow) -> None:
    """`row` stands last in `path`; a reader sees the file before or after, never in between."""
    write_rows(path, [*read_rows(path), row])


def cut_back(path: Path, version: int) -> None:
    """No row of a policy version above `version` is left: what a resumed run will measure again stands once."""
    rows = read_rows(path)
    kept = [row for row in rows if row.policy_version is None or row.policy_version <= version]
    if len(kept) != len(rows):
        write_rows(path, kept)


def write_rows(path: Path, rows: Sequence[EvalRow]) -> None:
    """`path` holds exactly `rows`, replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps([row.to_json() for row in rows], indent=1) + "\n")
