"""A run's mark: the file that says which run wrote a folder. Whatever does not carry it is not the run's to delete."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from agent_rl.atomic_files import write_atomically

MARK = "run.json"
_SCHEMA_VERSION = 1
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class RunMark:
    """run.json, in the run's folder and in each of its checkpoints: the run's random id, and a checkpoint's step."""

    run: str
    step: int | None = None
    """None in the run's own folder. A checkpoint that was copied to the name of another step is not the run's."""

    @staticmethod
    def new() -> RunMark:
        """The mark of a new run's folder, with an id of its own. No other random draw depends on the id."""
        return RunMark(secrets.token_hex(16))

    @staticmethod
    def read(folder: Path) -> RunMark | None:
        """The mark of `folder`; None if there is none that a run wrote. A link to a mark is none."""
        file = folder / MARK
        try:
            if file.is_symlink():
                return None
            data = json.loads(file.read_text(encoding="utf-8"))
            known = data["schema_version"] == _SCHEMA_VERSION and _ID.fullmatch(data["run"])
            return RunMark(data["run"], data["step"]) if known else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """`folder` carries this mark. Raises OSError."""
        write_atomically(folder / MARK, json.dumps({"schema_version": _SCHEMA_VERSION, **asdict(self)}) + "\n")
