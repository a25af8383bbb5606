"""`agent-rl report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run's folder, finished or not.",
            readable=False,  # not checked here: what cannot be read is said in one line
        ),
    ],
) -> None:
    """Write RUN/report.html: curves, held-out tables, the timeline, and rollouts to read, in one file.

    The page loads nothing and runs no script, so the one file can be shared as it is.
    """
    from agent_rl.records.disk_errors import usable_for_a_report
    from agent_rl.report import write_report

    with usable_for_a_report(run):
        page = write_report(run)
    print(page.resolve())
