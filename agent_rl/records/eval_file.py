"""`eval.json` of a run: a list of rows in time order, written atomically; a resume removes later rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import write_atomically
from agent_rl.errors import ConfigError
from agent_rl.records.eval_row import EvalRow


def read_rows(path: Path) -> list[EvalRow]:
    """The rows of `path` in time order; none if the file does not exist. Raises ConfigError for another format."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} is not a readable JSON file: {error}") from None
    try:
        return [EvalRow.from_json(row) for row in data]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is not a list of evaluation rows: {type(error).__name__}: {error}") from None


def append_row(path: Path, row: EvalRow) -> None:
    """`row` is the last row of `path`; a reader sees the old file or the new one, never a half-written one."""
    write_rows(path, [*read_rows(path), row])


def cut_back(path: Path, version: int) -> None:
    """No row of a policy version above `version` is left, so that a resumed run adds each row only once."""
    rows = read_rows(path)
    kept = [row for row in rows if row.policy_version is None or row.policy_version <= version]
    if len(kept) != len(rows):
        write_rows(path, kept)


def write_rows(path: Path, rows: Sequence[EvalRow]) -> None:
    """`path` holds exactly `rows`, replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps([row.to_json() for row in rows], indent=1) + "\n")
