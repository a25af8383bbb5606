"""The files of a run. On resume they are cut back to the checkpoint, so that no step is recorded twice."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import sync, write_atomically
from agent_rl.config import RunConfig, load_config
from agent_rl.errors import ConfigError, StorageError
from agent_rl.records import eval_file
from agent_rl.records.disk_errors import still_writable, usable_run_folder
from agent_rl.records.json_lines import json_line
from agent_rl.records.run_lock import run_lock
from agent_rl.records.run_mark import MARK, RunMark

SCHEMA_VERSION = 1
_MAY_DIFFER = (
    "loop.steps",
    "loop.straggler_timeout",
    "loop.stuck_timeout",
    "loop.max_failed_share",
    "evaluation.",
    "checkpoints.",
    "sandbox.",
    "policy.",
    "learner.",
)
_WRITTEN_BY_A_RUN = f"# Written by a run of agent-rl, schema_version = {SCHEMA_VERSION}: the whole configuration.\n"
_FIRST_BYTES = _WRITTEN_BY_A_RUN.split(",")[0].encode()
"""The first bytes of a run's config.toml; other files of that name do not begin so."""
_LOCK = ".agent-rl.lock"
_BEFORE_CONFIG = re.compile(rf"{re.escape(_LOCK)}|{re.escape(MARK)}|\.(config\.toml|{re.escape(MARK)})\..*")
"""Files that a run may leave in its folder if it is killed before config.toml is written."""
_CHECKPOINT = re.compile(r"step_(\d{6,})")
_ROLLOUTS = re.compile(r"step_(\d{6,})\.jsonl")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """config.toml, run.json, metrics.jsonl, timeline.jsonl, rollouts/, checkpoints/step_*/, eval.json, took.json,
    report.html, logs/; dropped_tasks.json if a minimum mutation score is set; task_notes.json if rows were left out, or
    held-out tasks are trained on; .agent-rl.lock, which one process holds.

    A checkpoint or a file of rollouts is this run's if it holds the id in run.json. No other is used or removed.
    """

    path: Path

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timeline(self) -> Path:
        return self.path / "timeline.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluations(self) -> Path:
        return self.path / "eval.json"

    @property
    def took(self) -> Path:
        return self.path / "took.json"

    @property
    def dropped_tasks(self) -> Path:
        return self.path / "dropped_tasks.json"

    @property
    def task_notes(self) -> Path:
        return self.path / "task_notes.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @contextmanager
    def locked(self, *, resume: bool, say: Callable[[str], None] = print) -> Iterator[None]:
        """The folder exists, and no other process writes this run within the block.

        Raises ConfigError when another process writes the run (the error names it and its command), when the folder
        cannot be made or written, when it holds something other than a run, and with `resume` when it holds no run.
        """
        with ExitStack() as stack:
            with usable_run_folder(self.path):
                self._require_a_place(resume=resume)
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(run_lock(self.path / _LOCK, say))
            yield

    def create(self, config: RunConfig, *, resume: bool) -> None:
        """The folders exist; without `resume` they hold nothing of an earlier run, and the run has a new id.

        Raises ConfigError when a run that took a step would be overwritten, when there is no run to resume, or when
        that run has another configuration (its length, its evaluations and its use of this machine may differ). Like
        `locked`, raises it also when the folder cannot hold a run.
        """
        with usable_run_folder(self.path):
            self._require_a_place(resume=resume)
            if resume:
                self._require_same_run(config)
            elif self._took_a_step():
                raise ConfigError(
                    f"{self.path} already holds a run: give --resume to go on with it, or another folder",
                    key="--run-dir",
                )
            self.path.mkdir(parents=True, exist_ok=True)
            if not resume:
                RunMark.new().write(self.path)
            write_atomically(self.config, _WRITTEN_BY_A_RUN + config.to_toml())
            for folder in (self.rollouts, self.checkpoints, self.logs):
                folder.mkdir(exist_ok=True)
            # The time that this start of the run takes is known only when it ends.
            self.took.unlink(missing_ok=True)
            if not resume:
                # An earlier start that ended before its first step may have evaluated the model and selected tasks.
                self.evaluations.unlink(missing_ok=True)
                self.dropped_tasks.unlink(missing_ok=True)
            self.task_notes.unlink(missing_ok=True)

    def _require_a_place(self, *, resume: bool) -> None:
        """The folder is empty, missing, or a run's; otherwise raises ConfigError. OSError when it cannot be read."""
        if self.holds_a_run():
            self._require_nothing_in_the_way()
            return
        if resume:
            raise ConfigError(f"there is no run to resume in {self.path}", key="--resume")
        if not self.path.is_dir():
            return
        found = sorted(p.name for p in self.path.iterdir() if not _BEFORE_CONFIG.fullmatch(p.name))
        if found:
            names = ", ".join(found[:3]) + ("" if len(found) <= 3 else f" and {len(found) - 3} more")
            other = ""
            if self.config.name in found:
                other = f"; it has no {MARK}" if self._holds_a_run_s_config() else "; no run wrote its config.toml"
            raise ConfigError(
                f"{self.path} is not a run's folder and holds other files ({names}{other}): give a new folder, or an "
                "empty one",
                key="--run-dir",
            )

    def holds_a_run(self) -> bool:
        """Whether a run wrote this folder: config.toml alone may be a copy. OSError when it cannot be read."""
        mark = RunMark.read(self.path)
        return self._holds_a_run_s_config() and mark is not None and mark.step is None

    def _holds_a_run_s_config(self) -> bool:
        if not self.config.is_file():
            return False
        with self.config.open("rb") as file:
            return file.read(len(_FIRST_BYTES)) == _FIRST_BYTES

    def _id(self) -> str:
        """The run's id. Raises OSError when the folder no longer has it."""
        mark = RunMark.read(self.path)
        if mark is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path / MARK))
        return mark.run

    def _require_nothing_in_the_way(self) -> None:
        """Raises ConfigError when something has a name that this run writes to, and this run did not write it."""
        for path in (self.metrics, self.timeline):
            if path.is_symlink():
                raise ConfigError(_in_the_way(path), key="--run-dir")
        for _, path, own in (*self._named_as_checkpoints(), *self._named_as_rollouts()):
            if not own:
                raise ConfigError(_in_the_way(path), key="--run-dir")

    def _took_a_step(self) -> bool:
        """Whether the run recorded anything of a step, or began to save one."""
        if any(file.exists() and file.stat().st_size for file in (self.metrics, self.timeline)):
            return True
        named = (*self._named_as_checkpoints(), *self._named_as_rollouts())
        return bool(named) or (self.holds_a_run() and self.unfinished(0).parent.exists())

    def _require_same_run(self, config: RunConfig) -> None:
        stored, given = (_flat(c.model_dump(mode="json")) for c in (load_config(self.config), config))
        for key in sorted(stored.keys() | given.keys()):
            if stored.get(key) != given.get(key) and not key.startswith(_MAY_DIFFER):
                raise ConfigError(
                    f"the run in {self.path} has {stored.get(key)!r}, this configuration has {given.get(key)!r}: "
                    "a resumed run must keep its settings",
                    key=key,
                )

    def writing(self) -> AbstractContextManager[None]:
        """Turns a disk error in the block into a StorageError of one line that says what to do."""
        return still_writable(self.path, self._last_checkpoint)

    def _last_checkpoint(self) -> Path | None:
        complete = self.complete_checkpoints()
        return complete[-1][1] if complete else None

    def append(self, file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends `rows` to the JSONL `file`. Raises StorageError when the disk refuses."""
        with self.writing(), file.open("a", encoding="utf-8") as f:
            f.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)

    def write_rollouts(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the trajectories of training step `step`, one per line; each begins with the run's id.

        Raises StorageError if the disk refuses, or if a file that this run did not write has that name.
        """
        path = self.rollouts / f"step_{step:06d}.jsonl"
        with self.writing():
            run = self._id()
            if os.path.lexists(path) and not _begins_with_id(path, run):
                raise StorageError(f"{_in_the_way(path)}, then go on with --resume")
            lines = (json_line({"run": run, **row}) for row in rows)
            path.write_text("".join(lines), encoding="utf-8")

    def _named_as_rollouts(self) -> list[tuple[int, Path, bool]]:
        """(step, file, whether this run wrote it) of each file that has the name of a step's rollouts."""
        mark = RunMark.read(self.path)
        return [
            (step, path, mark is not None and _begins_with_id(path, mark.run))
            for step, path in _numbered(self.rollouts, _ROLLOUTS)
        ]

    def elapsed(self) -> float:
        """The end of the timeline's last span, in seconds since the run began; 0 if there is no span."""
        return max((float(row.get("end", 0.0)) for _, row in _lines(self.timeline)), default=0.0)

    def write_took(self, seconds: float, *, resumed: bool) -> None:
        """Writes how long the run took, in seconds; with `resumed`, since it was resumed."""
        row = {"schema_version": SCHEMA_VERSION, "seconds": round(seconds, 3), "resumed": resumed}
        with self.writing():
            write_atomically(self.took, json.dumps(row) + "\n")

    def read_took(self) -> float:
        """The seconds that `write_took` wrote. Raises FileNotFoundError when the run has not ended."""
        return float(json.loads(self.took.read_text(encoding="utf-8"))["seconds"])

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after `step` steps."""
        return self.checkpoints / f"step_{step:06d}"

    def unfinished(self, step: int) -> Path:
        """Where the checkpoint after `step` steps is written. The parent holds what is half written or half removed:
        its name, with the run's id, is the run's alone. Raises OSError when the run's folder no longer has its id.
        """
        return self.checkpoints / f".unfinished-{self._id()}" / self.checkpoint(step).name

    def place_checkpoint(self, step: int) -> Path:
        """What was written to `unfinished(step)` carries this run's mark and lies in `checkpoint(step)`; returns that.

        Raises StorageError when the disk refuses, or when something is there already: it is never replaced.
        """
        path = self.checkpoint(step)
        with self.writing():
            written = self.unfinished(step)
            RunMark(self._id(), step).write(written)
            sync(written)
            try:
                if os.path.lexists(path):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
                written.rename(path)  # fails if anything has come there meanwhile, but for an empty folder
            except OSError:
                if os.path.lexists(path):
                    raise StorageError(f"{_in_the_way(path)}, then go on with --resume") from None
                raise
            sync(self.checkpoints)
        shutil.rmtree(written.parent, ignore_errors=True)
        return path

    def _named_as_checkpoints(self) -> list[tuple[int, Path, bool]]:
        """(steps, folder, whether this run wrote it) of whatever has the name of a checkpoint, oldest first.

        A link is not the run's, whatever it leads to.
        """
        run = RunMark.read(self.path)

        def is_own(step: int, path: Path) -> bool:
            return run is not None and not path.is_symlink() and RunMark.read(path) == RunMark(run.run, step)

        return [(step, path, is_own(step, path)) for step, path in _numbered(self.checkpoints, _CHECKPOINT)]

    def complete_checkpoints(self) -> list[tuple[int, Path]]:
        """(steps, folder) of every complete checkpoint that this run wrote, oldest first."""
        return [(step, path) for step, path, own in self._named_as_checkpoints() if own and _is_complete(path)]

    def prune(self, keep: int) -> None:
        """Of this run's checkpoints only the `keep` newest are left, and no incomplete one that is older."""
        complete = self.complete_checkpoints()
        kept = {path for _, path in complete[max(0, len(complete) - keep) :]}
        newest = complete[-1][0] if complete else -1
        for step, path, own in self._named_as_checkpoints():
            if own and path not in kept and step <= newest:
                self._remove(path)

    def _remove(self, checkpoint: Path) -> None:
        """The run's `checkpoint` is gone, if the disk allows. Killed halfway, it has no checkpoint's name any more."""
        with suppress(OSError):
            unfinished = self.unfinished(0).parent
            removed = unfinished / f"removed-{checkpoint.name}"
            unfinished.mkdir(exist_ok=True)
            shutil.rmtree(removed, ignore_errors=True)
            checkpoint.rename(removed)
            shutil.rmtree(removed, ignore_errors=True)
            unfinished.rmdir()

    def cut_back(self, steps: int) -> None:
        """No file of this run holds anything after `steps` steps or a half-written line; other files are kept."""
        with usable_run_folder(self.path):
            for file in (self.metrics, self.timeline):
                _keep_lines(file, lambda row: int(row.get("step", 0)) <= steps)
            for step, file, own in self._named_as_rollouts():
                if own and step > steps:
                    file.unlink()
            try:
                eval_file.cut_back(self.evaluations, steps)
            except ConfigError:
                # Training can continue without the old rows, and unreadable rows are useless.
                eval_file.write_rows(self.evaluations, [])
            for step, path, own in self._named_as_checkpoints():
                if own and step > steps:
                    self._remove(path)
            shutil.rmtree(self.unfinished(0).parent, ignore_errors=True)


def _numbered(folder: Path, name: re.Pattern[str]) -> list[tuple[int, Path]]:
    """(number, path) of everything in `folder` with such a `name`, by number; none if there is no folder."""
    named = ((name.fullmatch(path.name), path) for path in (folder.iterdir() if folder.is_dir() else ()))
    return sorted((int(match[1]), path) for match, path in named if match is not None)


def _in_the_way(path: Path) -> str:
    return f"{path} is in the way, and this run did not write it: move it elsewhere"


def _begins_with_id(path: Path, run: str) -> bool:
    """Whether `write_rollouts` wrote `path` for the run with the id `run`, or began to; an empty file counts."""
    if path.is_symlink() or not path.is_file():
        return False
    start = f'{{"run":"{run}"'.encode()
    with path.open("rb") as file:
        return start.startswith(file.read(len(start)))


def _is_complete(checkpoint: Path) -> bool:
    """Whether the loop's counters, which are written last, are there."""
    try:
        data = json.loads((checkpoint / "trainer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "schema_version" in data


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, for every leaf of nested tables."""
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        k: v for key, value in data.items() for k, v in _flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(line, its data) for each valid line of a JSONL file; none if the file does not exist."""
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            yield line, json.loads(line)
        except ValueError:
            continue  # The run was killed while it wrote this line.


def _keep_lines(file: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    if file.is_file():
        write_atomically(file, "".join(line + "\n" for line, row in _lines(file) if keep(row)))
