"""The last lines that a dead process wrote."""

from __future__ import annotations

from pathlib import Path

_TAIL_BYTES = 1 << 16


def log_tail(log: Path, start: int, lines: int) -> str:
    """The last `lines` lines of `log` after byte `start`, after an introduction; empty if there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
            tail = file.read().decode("utf-8", "replace").rstrip().splitlines()[-lines:]
    except OSError:
        return ""
    return "\n".join([f"; the last lines of {log}:", *("  " + line for line in tail)]) if tail else ""
