"""`agent-rl report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, finished or not.")],
) -> None:
    """Write RUN/report.html: curves, held-out tables, the timeline, and rollouts to read, in one file.

    The page loads nothing and runs no script, so the one file can be shared as it is.
    """
    from agent_rl.report import write_report

    print(write_report(run).resolve())
