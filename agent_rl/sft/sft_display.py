"""The display of SFT progress: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from agent_rl.sft.sft_trainer import SftProgress

LINE_EVERY = 10.0
"""Seconds between two lines without a terminal."""
SMOOTHING = 0.95


@contextmanager
def showing(steps: int) -> Iterator[Callable[[SftProgress], None]]:
    """A function that shows the progress of an SFT of `steps` steps; the bar is removed at the end of the block."""
    if sys.stdout.isatty():
        with _bar(steps) as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bar(steps: int) -> Iterator[Callable[[SftProgress], None]]:
    columns = (
        TextColumn("SFT"),
        BarColumn(),
        TextColumn("step {task.completed}/{task.total}"),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[speed]:,.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    loss = _Smooth()
    with Progress(*columns, console=Console()) as progress:
        task = progress.add_task("", total=steps, loss=float("nan"), speed=0.0)

        def show(standing: SftProgress) -> None:
            speed = standing.tokens / standing.seconds
            progress.update(task, completed=standing.step, loss=loss(standing.loss), speed=speed)

        yield show


def _lines() -> Callable[[SftProgress], None]:
    loss = _Smooth()
    last = time.monotonic()

    def show(standing: SftProgress) -> None:
        nonlocal last
        smooth = loss(standing.loss)
        if time.monotonic() - last < LINE_EVERY and standing.step != standing.steps:
            return
        last = time.monotonic()
        left = standing.seconds / standing.step * (standing.steps - standing.step)
        speed = standing.tokens / standing.seconds
        print(
            f"SFT: step {standing.step}/{standing.steps}, loss {smooth:.3f}, {speed:,.0f} tokens/s, {left:.0f} s left",
            flush=True,
        )

    return show


class _Smooth:
    """The running mean of a noisy figure."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def __call__(self, value: float) -> float:
        self._sum = SMOOTHING * self._sum + value
        self._weight = SMOOTHING * self._weight + 1.0
        return self._sum / self._weight
