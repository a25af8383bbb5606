"""A run's folder is its own: no other folder is taken, and nothing that the run did not write is used or removed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_rl.errors import ConfigError, StorageError
from agent_rl.records.run_directory import RunDirectory
from agent_rl.records.run_mark import RunMark
from tests.unit.records.run_folders import CONFIG, checkpointed, files, made, names


def test_what_a_run_left_that_never_took_a_step_does_not_count(tmp_path: Path) -> None:
    directory = made(tmp_path, 0)
    directory.dropped_tasks.write_text("{}")
    before = RunMark.read(directory.path)
    directory.create(CONFIG.model_copy(update={"seed": 1}), resume=False)
    assert not directory.evaluations.exists()
    assert not directory.dropped_tasks.exists()
    assert RunMark.read(directory.path) not in (before, None), "it is another run"


@pytest.mark.parametrize("left", ["metrics", "timeline", "rollouts", "checkpoint", "incomplete", "unfinished"])
def test_whatever_a_step_left_keeps_a_new_run_away(tmp_path: Path, left: str) -> None:
    directory = made(tmp_path, 0)
    directory.metrics.touch()  # no line of the step was written yet, or the lines were lost
    if left in ("metrics", "timeline"):
        directory.append(directory.path / f"{left}.jsonl", [{"step": 1}])
    elif left == "rollouts":
        directory.write_rollouts(1, [{"group": 1}])
    elif left == "unfinished":
        directory.unfinished(1).mkdir(parents=True)
    else:
        checkpointed(directory, 1, whole=left == "checkpoint")
    before = files(directory.path)
    with pytest.raises(ConfigError, match="already holds a run: give --resume"):
        directory.create(CONFIG, resume=False)
    assert files(directory.path) == before


FOREIGN = (
    "checkpoints/best.pt",
    "checkpoints/step_1",
    "checkpoints/my_step_000001/trainer.json",
    "checkpoints/.step_000001-k3x_9abc/weights.bin",
    "checkpoints/.unfinished-0123456789abcdef0123456789abcdef/weights.bin",
    "rollouts/step_a.jsonl",
)
"""Names that a run does not write; some look nearly like its own."""


def with_foreign_files(folder: Path) -> None:
    for name in FOREIGN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("README.md", "README.md"),
        ("eval.json", "eval.json"),
        ("checkpoints/step_000001/trainer.json", "checkpoints"),
        ("rollouts/step_000001.jsonl", "rollouts"),
        ("config.toml", "config.toml; no run wrote its config.toml"),
    ],
)
@pytest.mark.parametrize("through", ["create", "locked"])
def test_a_folder_that_is_no_run_s_is_refused_and_nothing_in_it_changes(
    tmp_path: Path, name: str, held: str, through: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(CONFIG.to_toml())  # a configuration, but not one that a run wrote
    before = files(tmp_path)
    directory = RunDirectory(tmp_path)
    said = f"--run-dir: {tmp_path} is not a run's folder and holds other files ({held}): give a new folder, or an empty"
    with pytest.raises(ConfigError, match=re.escape(said)):
        directory.create(CONFIG, resume=False) if through == "create" else directory.locked(resume=False).__enter__()
    with pytest.raises(ConfigError, match="there is no run to resume in"):
        RunDirectory(tmp_path).create(CONFIG, resume=True)
    assert files(tmp_path) == before
    assert (tmp_path / name).read_text() == CONFIG.to_toml()


def test_what_no_run_wrote_outlives_pruning_cutting_back_and_starting_over(tmp_path: Path) -> None:
    directory = made(tmp_path, 5)
    with_foreign_files(directory.path)
    directory.prune(3)
    directory.cut_back(4)
    assert [step for step, _ in directory.complete_checkpoints()] == [3, 4]
    for path in (directory.metrics, directory.timeline, directory.checkpoint(3), directory.checkpoint(4)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for step in range(1, 5):
        (directory.rollouts / f"step_{step:06d}.jsonl").unlink()
    directory.create(CONFIG, resume=False)
    assert set(FOREIGN) <= files(directory.path)


def linked(own: Path, other: Path, place: Path) -> None:
    place.symlink_to(own)


def linked_to_another_run_s(own: Path, other: Path, place: Path) -> None:
    place.symlink_to(other)


def copied_from_another_step(own: Path, other: Path, place: Path) -> None:
    shutil.copytree(own, place)


def copied_from_another_run(own: Path, other: Path, place: Path) -> None:
    shutil.copytree(other, place)


def copied_without_its_mark(own: Path, other: Path, place: Path) -> None:
    shutil.copytree(own, place, ignore=shutil.ignore_patterns("run.json"))


def empty(own: Path, other: Path, place: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize(
    "put",
    [
        linked,
        linked_to_another_run_s,
        copied_from_another_step,
        copied_from_another_run,
        copied_without_its_mark,
        empty,
    ],
)
def test_a_checkpoint_that_this_run_did_not_write_is_neither_used_nor_replaced_nor_removed(
    tmp_path: Path, put: Callable[[Path, Path, Path], None]
) -> None:
    directory, other = made(tmp_path, 1), made(tmp_path / "other", 9)
    own, place = directory.checkpoint(1), directory.checkpoint(9)
    put(own, other.checkpoint(9), place)
    before = files(directory.path), files(other.path)
    directory.prune(1)
    directory.cut_back(1)
    assert directory.complete_checkpoints() == [(1, own)]
    for resume in (False, True):
        said = f"^--run-dir: {re.escape(str(place))} is in the way, and this run did not write it: move it elsewhere$"
        with pytest.raises(ConfigError, match=said):
            directory.create(CONFIG, resume=resume)
    assert (files(directory.path), files(other.path)) == before
    # It may appear after the run has begun.
    with pytest.raises(
        StorageError, match=r"step_000009 is in the way, .*: move it elsewhere, then go on with --resume"
    ):
        checkpointed(directory, 9)
    shutil.rmtree(directory.unfinished(9).parent)
    assert (files(directory.path), files(other.path)) == before


def test_rollouts_that_this_run_did_not_write_are_neither_replaced_nor_removed(tmp_path: Path) -> None:
    directory, other = made(tmp_path, 1), made(tmp_path / "other", 3)
    place = directory.rollouts / "step_000003.jsonl"
    for put in (place.hardlink_to, place.symlink_to):
        put(other.rollouts / place.name)
        before = place.read_text()
        directory.cut_back(1)
        with pytest.raises(ConfigError, match=r"step_000003\.jsonl is in the way, and this run did not write it: move"):
            directory.create(CONFIG, resume=True)
        with pytest.raises(StorageError, match=r"step_000003\.jsonl is in the way, .* then go on with --resume$"):
            directory.write_rollouts(3, [{"group": 3}])
        assert place.read_text() == before
        place.unlink()


def test_rollouts_whose_writing_was_cut_short_are_this_run_s(tmp_path: Path) -> None:
    directory = made(tmp_path, 2)
    file = directory.rollouts / "step_000002.jsonl"
    for length in (0, 1, 20, 45):
        directory.write_rollouts(2, [{"group": 2}])
        os.truncate(file, length)
        directory.create(CONFIG, resume=True)
        directory.cut_back(1)
        assert names(directory.rollouts) == ["step_000001.jsonl"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "timeline.jsonl"])
def test_a_link_in_the_place_of_a_record_is_not_written_through(tmp_path: Path, name: str) -> None:
    directory = made(tmp_path, 1)
    (directory.path / name).rename(tmp_path / "elsewhere")
    (directory.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=rf"{name} is in the way, and this run did not write it"):
        directory.create(CONFIG, resume=True)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("mark", [None, "{}", "of a checkpoint", "of a path"])
def test_a_copied_config_makes_no_folder_a_run_s(tmp_path: Path, resume: bool, mark: str | None) -> None:
    directory, folder = made(tmp_path, 3), tmp_path / "foreign"
    shutil.copytree(directory.path, folder)
    folder.joinpath("metrics.jsonl").unlink()
    folder.joinpath("run.json").unlink()
    if mark == "of a checkpoint":
        shutil.copy(directory.checkpoint(1) / "run.json", folder)
    elif mark is not None:
        run = '{"schema_version": 1, "run": "/../../precious", "step": null}'
        folder.joinpath("run.json").write_text(run if mark == "of a path" else mark)
    before = files(folder)
    said = "there is no run to resume in" if resume else r"is not a run's folder and holds other files \(checkpoints, "
    with pytest.raises(ConfigError, match=said):
        RunDirectory(folder).create(CONFIG, resume=resume)
    assert files(folder) == before


def test_a_config_copied_alone_is_said_to_be_that(tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    shutil.copy(made(tmp_path, 0).config, tmp_path / "foreign")
    with pytest.raises(
        ConfigError, match=r"holds other files \(config\.toml; it has no run\.json\): give a new folder"
    ):
        RunDirectory(tmp_path / "foreign").create(CONFIG, resume=False)


def test_a_run_s_folder_may_be_named_by_a_link(tmp_path: Path) -> None:
    made(tmp_path, 2)
    (tmp_path / "latest").symlink_to("run")
    directory = RunDirectory(tmp_path / "latest")
    directory.create(CONFIG, resume=True)
    directory.cut_back(1)
    checkpointed(directory, 2)
    assert [step for step, _ in directory.complete_checkpoints()] == [1, 2]


def test_a_copy_of_the_whole_folder_goes_on_as_the_run(tmp_path: Path) -> None:
    directory = made(tmp_path, 2)
    shutil.copytree(directory.path, tmp_path / "copy")
    copy = RunDirectory(tmp_path / "copy")
    copy.create(CONFIG, resume=True)
    copy.cut_back(1)
    assert [step for step, _ in copy.complete_checkpoints()] == [1]
    assert [step for step, _ in directory.complete_checkpoints()] == [1, 2]
