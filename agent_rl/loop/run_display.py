"""The display of a run in progress: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_HEADER = (
    f"{'step':>5} {'pass':>6} {'K=0':>4} {'K=N':>4} {'stale':>5} {'tok/s policy':>12} {'tok/s learner':>13} "
    f"{'verdicts/s':>10} {'s/step':>6}  dropped"
)


class Display:
    """Prints one header, one line per step, and on a terminal a progress bar below them."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._progress: Progress | None = None
        self._bar: Any = None
        self._printed = 0

    def say(self, text: str) -> None:
        """Prints `text` on its own line."""
        self.console.print(text, markup=False, soft_wrap=True)

    def start(self, done: int, total: int) -> None:
        """Shows the bar at `done` of `total` steps."""
        if self.console.is_terminal:
            progress = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            progress.start()
            self._bar = progress.add_task("training", total=total, completed=done)
            self._progress = progress

    def step(self, row: Mapping[str, Any]) -> None:
        """Prints one line for the step of this metrics row."""
        if self._printed % 20 == 0:
            self.console.print(_HEADER, style="bold", markup=False, soft_wrap=True)
        self._printed += 1
        timings = row["timings"]
        dropped = ", ".join(f"{reason} {count}" for reason, count in row["dropped"].items()) or "-"
        self.console.print(
            f"{row['step']:>5} {row['pass_rate']:>6.3f} {row['groups_all_failed']:>4} {row['groups_all_passed']:>4} "
            f"{row['staleness_mean']:>5.2f} {timings['sampled_tokens_per_second']:>12,.0f} "
            f"{timings['trained_tokens_per_second']:>13,.0f} {timings['verdicts_per_second']:>10,.0f} "
            f"{timings['total']:>6.2f}  {dropped}",
            markup=False,
            soft_wrap=True,
        )
        if self._progress is not None:
            self._progress.update(self._bar, completed=row["step"])

    def stop(self) -> None:
        """Removes the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
