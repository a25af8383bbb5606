"""The result of a check of `agent-rl doctor`: one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB = 2**30
CheckOutcome = Literal["good", "noted", "failed"]


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One check's outcome. `noted` is not a failure, but worth knowing."""

    name: str
    outcome: CheckOutcome
    detail: str

    @property
    def failed(self) -> bool:
        return self.outcome == "failed"

    @property
    def mark(self) -> str:
        return {"good": "ok  ", "noted": "note", "failed": "FAIL"}[self.outcome]


def size(count: float) -> str:
    """`count` bytes, for a person: 3.4 MiB, 12 GiB."""
    unit, name = (GIB, "GiB") if count >= GIB else (2**20, "MiB")
    return f"{count / unit:.1f} {name}" if count < 10 * unit else f"{count / unit:.0f} {name}"
