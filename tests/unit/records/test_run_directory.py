"""A run's files are cut back to a checkpoint so that no step stands twice."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from agent_rl.config import load_config
from agent_rl.errors import ConfigError, StorageError
from agent_rl.loop.checkpoint import LoopState, complete_checkpoint
from agent_rl.records.eval_file import append_row, read_rows
from agent_rl.records.run_directory import RunDirectory
from tests.unit.records.run_folders import CONFIG, LASTS, checkpointed, evaluated, made, names


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


def test_pruning_keeps_the_newest_and_removes_what_is_incomplete_and_older(tmp_path: Path) -> None:
    directory = made(tmp_path, 4)
    (directory.checkpoint(3) / "trainer.json").unlink()
    checkpointed(directory, 5, whole=False)
    directory.prune(2)
    assert names(directory.checkpoints) == ["step_000002", "step_000004", "step_000005"]


def test_what_a_killed_run_was_saving_is_gone_when_it_goes_on(tmp_path: Path) -> None:
    directory = made(tmp_path, 1)
    half = directory.unfinished(2).with_name(".step_000002-k3x_9abc")
    half.mkdir(parents=True)
    (half / "model.safetensors").write_text("half")
    directory.create(CONFIG, resume=True)
    directory.cut_back(1)
    assert names(directory.checkpoints) == ["step_000001"]


def test_a_run_killed_while_it_removed_a_checkpoint_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = made(tmp_path, 3)

    def killed(path: Path, **options: object) -> None:
        if path.exists():
            (path / "run.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            directory.prune(1)
    directory.create(CONFIG, resume=True)
    directory.cut_back(3)
    assert names(directory.checkpoints) == ["step_000002", "step_000003"]


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


def test_an_empty_folder_a_link_to_one_and_what_a_run_killed_at_once_left_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".agent-rl.lock").write_text("")
    (tmp_path / "killed" / "run.json").write_text("{}")
    (tmp_path / "killed" / ".config.toml.a1b2c3d4").write_text("seed")
    for name in ("link", "killed", "new/and/deep"):
        directory = RunDirectory(tmp_path / name)
        with directory.locked(resume=False):
            directory.create(CONFIG, resume=False)
        assert directory.checkpoints.is_dir()
    assert (tmp_path / "empty" / "config.toml").is_file()
    assert load_config(tmp_path / "empty" / "config.toml") == CONFIG


def test_a_checkpoint_whose_counters_are_damaged_is_none(tmp_path: Path) -> None:
    directory = made(tmp_path, 2)
    (directory.checkpoint(2) / "trainer.json").write_text('{"schema_ver')
    assert [step for step, _ in directory.complete_checkpoints()] == [1]
    (directory.checkpoint(1) / "trainer.json").write_text('{"schema_version": 1}')
    with pytest.raises(ConfigError, match=r"--resume: .*step_000001 is damaged: KeyError\('in_flight'\)"):
        LoopState.read(directory.checkpoint(1))


def test_steps_of_more_than_six_digits_are_steps(tmp_path: Path) -> None:
    directory = made(tmp_path, 1)
    checkpointed(directory, 1_000_001)
    assert [step for step, _ in directory.complete_checkpoints()] == [1, 1_000_001]


def test_a_file_in_the_place_of_the_folder_or_above_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "linked").symlink_to("file")
    for name, reason in (
        ("file", f"{tmp_path / 'file'} is a file"),
        ("file/below/it", f"{tmp_path / 'file'} is a file"),
        ("link", f"{tmp_path / 'link'} is a link to nothing"),
        ("linked", f"{tmp_path / 'linked'} is a link"),
        ("n" * 300, "its name is too long"),
    ):
        with pytest.raises(ConfigError, match=f"^--run-dir: .* cannot hold a run: {re.escape(reason)}$"):
            RunDirectory(tmp_path / name).create(CONFIG, resume=False)
    directory = made(tmp_path, 0)
    directory.logs.rmdir()
    directory.logs.write_text("")
    with pytest.raises(ConfigError, match=rf"cannot hold a run: {re.escape(str(directory.logs))} is a file"):
        directory.create(CONFIG, resume=False)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "this user may not read and write there"),
        (errno.EROFS, "it is on a read-only filesystem"),
        (errno.ENOSPC, r"its disk is full \(No space left on device; .* [MG]iB left\): free some space"),
        (errno.EDQUOT, r"its disk is full \(Disk quota exceeded; .* [MG]iB left\): free some space"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_disk_refuses_at_the_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("agent_rl.records.run_directory.write_atomically", refuse)
    with pytest.raises(ConfigError, match=f"^--run-dir: .*run cannot hold a run: {reason}"):
        RunDirectory(tmp_path / "run").create(CONFIG, resume=False)


def test_a_disk_that_fills_up_is_named_with_what_is_left_and_what_to_do(tmp_path: Path) -> None:
    directory = made(tmp_path, 3)

    def full(number: int) -> None:
        with directory.writing():
            raise OSError(number, os.strerror(number))

    left = r"\d+\.\d [MG]iB left on its disk"
    with pytest.raises(
        StorageError,
        match=rf"run can no longer be written: No space left on device \({left}\); free some space there, or lower "
        r"checkpoints\.keep, then go on with --resume \(step_000003 is complete\)$",
    ) as caught:
        full(errno.ENOSPC)
    assert caught.value.exit_code == 3
    with pytest.raises(StorageError, match=r"No such file or directory .*; make it writable again, then go on"):
        full(errno.ENOENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "complete_checkpoints", lambda self: os.listdir(directory.metrics))
        with pytest.raises(StorageError, match=r"\(its checkpoints cannot be read now\)$"):
            full(errno.EACCES)
    with pytest.raises(TimeoutError):  # an OSError too, and none of a disk's
        full(errno.ETIMEDOUT)
    for step in (1, 2, 3):
        (directory.checkpoint(step) / "trainer.json").unlink()
    with pytest.raises(StorageError, match=r"\(no checkpoint has been written yet\)$"):
        full(errno.EDQUOT)


def test_every_record_that_a_full_disk_refuses_is_such_an_error(tmp_path: Path) -> None:
    directory = made(tmp_path, 1)
    for folder in (directory.checkpoint(2), directory.took, directory.timeline, directory.rollouts):
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink(missing_ok=True)
    directory.took.mkdir()
    directory.timeline.mkdir()
    for write in (
        lambda: directory.append(directory.timeline, [{"step": 2}]),
        lambda: directory.write_rollouts(2, []),
        lambda: directory.write_took(1.0, resumed=False),
        lambda: complete_checkpoint(directory, LoopState(2, 8, ()), keep=1),
    ):
        with pytest.raises(StorageError, match=r"run can no longer be written: .*\(step_000001 is complete\)$"):
            write()
