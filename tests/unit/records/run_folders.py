"""Runs' folders for tests: what a run of some steps leaves, written as the loop writes it."""

from __future__ import annotations

from pathlib import Path

from agent_rl.config import parse_config
from agent_rl.loop.checkpoint import LoopState
from agent_rl.records.eval_file import append_row
from agent_rl.records.eval_row import Estimate, EvalRow
from agent_rl.records.run_directory import RunDirectory

LASTS = {"learner": 0.75, "publish": 0.5}
"""Seconds of the spans of each step, which begin when as many seconds have gone by as there were steps."""
CONFIG = parse_config({"environments": [{"environment": "toy"}], "model": {"path": "none"}})


def made(tmp_path: Path, steps: int) -> RunDirectory:
    """The folder of a run of `steps` steps, all with a checkpoint, evaluated before and after."""
    directory = RunDirectory(tmp_path / "run")
    directory.create(CONFIG, resume=False)
    for step in range(1, steps + 1):
        directory.append(directory.metrics, [{"step": step}])
        spans = [{"step": step, "role": r, "start": step + 0.0, "end": step + e} for r, e in LASTS.items()]
        directory.append(directory.timeline, spans)
        directory.write_rollouts(step, [{"group": step}])
        checkpointed(directory, step)
    for version in (0, steps):
        append_row(directory.evaluations, evaluated(version))
    return directory


def checkpointed(directory: RunDirectory, step: int, *, whole: bool = True) -> Path:
    """A checkpoint of `directory`, written as the loop writes it; its folder."""
    directory.unfinished(step).mkdir(parents=True)
    path = directory.place_checkpoint(step)
    if whole:
        (path / "trainer.json").write_text(LoopState(step, step * 4, (1,)).to_json())
    return path


def evaluated(version: int | None) -> EvalRow:
    estimate = Estimate(0.5, 0.4, 0.6)
    return EvalRow(version, "test", "e", 200, 8, 2, estimate, {1: estimate})


def names(folder: Path) -> list[str]:
    """The names of what lies in `folder`, sorted."""
    return sorted(path.name for path in folder.iterdir())


def files(folder: Path) -> set[str]:
    """The paths of everything below `folder`, links not followed."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
