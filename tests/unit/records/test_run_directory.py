"""A run's files are cut back to a checkpoint so that no step stands twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_rl.config import parse_config
from agent_rl.errors import ConfigError
from agent_rl.evaluation import Estimate, EvalRow, append_row, read_rows
from agent_rl.loop.checkpoint import LoopState
from agent_rl.records.run_directory import RunDirectory

LASTS = {"learner": 0.75, "publish": 0.5}
"""Seconds of the spans of each step, which begin when as many seconds have gone by as there were steps."""
CONFIG = parse_config({"environments": [{"environment": "toy"}], "model": {"path": "none"}})


def made(tmp_path: Path, steps: int) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create(CONFIG, resume=False)
    for step in range(1, steps + 1):
        directory.append(directory.metrics, [{"step": step}])
        spans = [{"step": step, "role": r, "start": step + 0.0, "end": step + e} for r, e in LASTS.items()]
        directory.append(directory.timeline, spans)
        directory.write_rollouts(step, [{"group": step}])
        directory.checkpoint(step).mkdir()
        (directory.checkpoint(step) / "trainer.json").write_text(LoopState(step, step * 4, (1,)).to_json())
    for version in (0, steps):
        append_row(directory.evaluations, evaluated(version))
    return directory


def evaluated(version: int | None) -> EvalRow:
    estimate = Estimate(0.5, 0.4, 0.6)
    return EvalRow(version, "test", "e", 200, 8, 2, estimate, {1: estimate})


def test_cutting_back_leaves_nothing_after_the_checkpoint(tmp_path: Path) -> None:
    directory = made(tmp_path, 5)
    with directory.metrics.open("a") as file:
        file.write('{"step": 6, "pass')  # Killed while writing.
    directory.cut_back(3)
    for file, times in ((directory.metrics, 1), (directory.timeline, len(LASTS))):
        steps = [json.loads(line)["step"] for line in file.read_text().splitlines()]
        assert steps == [step for step in (1, 2, 3) for _ in range(times)]
    assert sorted(p.name for p in directory.rollouts.iterdir()) == [f"step_{i:06d}.jsonl" for i in (1, 2, 3)]
    assert [step for step, _ in directory.complete_checkpoints()] == [1, 2, 3]
    assert read_rows(directory.evaluations) == [evaluated(0)]


@pytest.mark.parametrize("text", ['[{"policy_version": 0', '[{"policy_version": 0}]', "3", ""])
def test_evaluations_that_cannot_be_read_do_not_stop_a_resume(tmp_path: Path, text: str) -> None:
    directory = made(tmp_path, 2)
    directory.evaluations.write_text(text)
    directory.cut_back(1)
    assert read_rows(directory.evaluations) == []
    assert [step for step, _ in directory.complete_checkpoints()] == [1]


def test_a_row_of_no_policy_version_stays(tmp_path: Path) -> None:
    directory = made(tmp_path, 2)
    append_row(directory.evaluations, evaluated(None))
    directory.cut_back(1)
    assert [row.policy_version for row in read_rows(directory.evaluations)] == [0, None]


def test_time_elapsed_is_that_of_the_timeline(tmp_path: Path) -> None:
    directory = made(tmp_path, 5)
    assert directory.elapsed() == 5.75
    with directory.timeline.open("a") as file:
        file.write('{"step": 6, "role": "learner", "end": 6')  # Killed while writing.
    assert directory.elapsed() == 5.75
    directory.cut_back(3)
    assert directory.elapsed() == 3.75
    directory.cut_back(0)
    assert directory.elapsed() == 0.0
    assert RunDirectory(tmp_path / "other").elapsed() == 0.0


def test_how_long_a_run_took_is_known_until_it_is_taken_up_again(tmp_path: Path) -> None:
    directory = made(tmp_path, 1)
    directory.write_took(312.4567, resumed=False)
    assert json.loads(directory.took.read_text()) == {"schema_version": 1, "seconds": 312.457, "resumed": False}
    assert directory.read_took() == 312.457
    directory.create(CONFIG, resume=True)
    assert not directory.took.exists()


def test_pruning_keeps_the_newest_and_removes_what_is_half_written(tmp_path: Path) -> None:
    directory = made(tmp_path, 4)
    (directory.checkpoint(3) / "trainer.json").unlink()
    (directory.checkpoints / ".step_000005.tmp").mkdir()
    directory.prune(2)
    assert sorted(p.name for p in directory.checkpoints.iterdir()) == ["step_000002", "step_000004"]


def test_the_loop_state_survives_its_file(tmp_path: Path) -> None:
    directory = made(tmp_path, 1)
    assert LoopState.read(directory.checkpoint(1)) == LoopState(1, 4, (1,))


def test_a_run_is_not_overwritten_and_nothing_is_resumed_from_nothing(tmp_path: Path) -> None:
    directory = made(tmp_path, 1)
    with pytest.raises(ConfigError, match="already holds a run: give --resume"):
        directory.create(CONFIG, resume=False)
    with pytest.raises(ConfigError, match="there is no run to resume"):
        RunDirectory(tmp_path / "other").create(CONFIG, resume=True)


def test_a_run_is_resumed_with_the_configuration_that_it_began_with(tmp_path: Path) -> None:
    directory = made(tmp_path, 1)
    longer = CONFIG.model_copy(update={"loop": CONFIG.loop.model_copy(update={"steps": 500})})
    directory.create(longer, resume=True)
    with pytest.raises(ConfigError, match=r"seed: the run in .* has 0, this configuration has 1"):
        directory.create(CONFIG.model_copy(update={"seed": 1}), resume=True)


def test_what_a_run_left_that_never_took_a_step_does_not_count(tmp_path: Path) -> None:
    directory = made(tmp_path, 1)
    directory.metrics.unlink()
    directory.create(CONFIG, resume=False)
    assert not directory.evaluations.exists()
    assert directory.complete_checkpoints() == []
