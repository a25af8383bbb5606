"""A run's files are cut back to a checkpoint so that no step stands twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_rl.config import parse_config
from agent_rl.errors import ConfigError
from agent_rl.loop.checkpoint import LoopState
from agent_rl.loop.run_directory import RunDirectory

CONFIG = parse_config({"environments": [{"environment": "toy"}], "model": {"path": "none"}})


def made(tmp_path: Path, steps: int) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create(CONFIG, resume=False)
    for step in range(1, steps + 1):
        directory.append(directory.metrics, [{"step": step}])
        directory.append(directory.timeline, [{"step": step, "role": "learner"}])
        directory.write_rollouts(step, [{"group": step}])
        directory.checkpoint(step).mkdir()
        (directory.checkpoint(step) / "trainer.json").write_text(LoopState(step, step * 4, (1,)).to_json())
    directory.evaluations.write_text(json.dumps([{"policy_version": 0}, {"policy_version": steps}]))
    return directory


def test_cutting_back_leaves_nothing_after_the_checkpoint(tmp_path: Path) -> None:
    directory = made(tmp_path, 5)
    with directory.metrics.open("a") as file:
        file.write('{"step": 6, "pass')  # Killed while writing.
    directory.cut_back(3)
    for file in (directory.metrics, directory.timeline):
        assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]
    assert sorted(p.name for p in directory.rollouts.iterdir()) == [f"step_{i:06d}.jsonl" for i in (1, 2, 3)]
    assert [step for step, _ in directory.complete_checkpoints()] == [1, 2, 3]
    assert json.loads(directory.evaluations.read_text()) == [{"policy_version": 0}]


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
