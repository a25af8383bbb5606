"""The files of a run. On resume they are cut back to the checkpoint, so that no step is recorded twice."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import write_atomically
from agent_rl.config import RunConfig, load_config
from agent_rl.errors import ConfigError
from agent_rl.records import eval_file
from agent_rl.records.disk_errors import still_writable, usable_run_folder
from agent_rl.records.run_lock import run_lock

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
_MARK = _WRITTEN_BY_A_RUN.split(",")[0].encode()
"""The first bytes of a run's config.toml; other files of that name do not begin so."""
_LOCK = ".agent-rl.lock"
_BEFORE_CONFIG = re.compile(rf"{re.escape(_LOCK)}|\.config\.toml\..*")
"""Files that a run may leave in its folder if it is killed before config.toml is written."""
_CHECKPOINT = re.compile(r"step_(\d{6,})")
_HALF_WRITTEN = re.compile(r"\.step_\d{6,}-(old-)?[a-z0-9_]{8}")
"""A checkpoint's folder before it is renamed to its final name: see `written_atomically`."""
_ROLLOUTS = re.compile(r"step_(\d{6,})\.jsonl")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """config.toml, metrics.jsonl, timeline.jsonl, rollouts/, checkpoints/step_*/, eval.json, took.json, report.html,
    logs/; dropped_tasks.json if a minimum mutation score is set; .agent-rl.lock, which one process holds.
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
        """The folders exist; without `resume` they hold nothing of an earlier run. Files that no run wrote are kept.

        Raises ConfigError when a run would be overwritten, when there is no run to resume, or when that run has another
        configuration (its length, its evaluations and its use of this machine may differ). Like `locked`, raises it
        also when the folder cannot hold a run.
        """
        with usable_run_folder(self.path):
            self._require_a_place(resume=resume)
            if resume:
                self._require_same_run(config)
            elif self.metrics.exists() and self.metrics.stat().st_size:
                raise ConfigError(
                    f"{self.path} already holds a run: give --resume to go on with it, or another folder",
                    key="--run-dir",
                )
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.config, _WRITTEN_BY_A_RUN + config.to_toml())
            for folder in (self.rollouts, self.checkpoints, self.logs):
                folder.mkdir(exist_ok=True)
            # The time that this start of the run takes is known only when it ends.
            self.took.unlink(missing_ok=True)
            if not resume:
                self._remove_records()

    def _require_a_place(self, *, resume: bool) -> None:
        """The folder is empty, missing, or a run's; otherwise raises ConfigError. OSError when it cannot be read."""
        if self._holds_a_run():
            self._require_own_checkpoints()
            return
        if resume:
            raise ConfigError(f"there is no run to resume in {self.path}", key="--resume")
        if not self.path.is_dir():
            return
        found = sorted(p.name for p in self.path.iterdir() if not _BEFORE_CONFIG.fullmatch(p.name))
        if found:
            names = ", ".join(found[:3]) + ("" if len(found) <= 3 else f" and {len(found) - 3} more")
            other = "; no run wrote its config.toml" if self.config.name in found else ""
            raise ConfigError(
                f"{self.path} is not a run's folder and holds other files ({names}{other}): give a new folder, or an "
                "empty one",
                key="--run-dir",
            )

    def _holds_a_run(self) -> bool:
        if not self.config.is_file():
            return False
        with self.config.open("rb") as file:
            return file.read(len(_MARK)) == _MARK

    def _require_own_checkpoints(self) -> None:
        """Raises ConfigError when something that no run wrote has the name of a checkpoint."""
        for path in self.checkpoints.iterdir() if self.checkpoints.is_dir() else ():
            if _CHECKPOINT.fullmatch(path.name) and not path.is_symlink() and not _is_checkpoint(path):
                raise ConfigError(
                    f"{path} is named like a checkpoint, but no run wrote it: move it elsewhere", key="--run-dir"
                )

    def _remove_records(self) -> None:
        """Removes the files of a run that ended before its first step."""
        for file in (self.timeline, self.evaluations, self.dropped_tasks):
            file.unlink(missing_ok=True)
        for _, file in self._rollout_files():
            file.unlink()
        for path in self.checkpoints.iterdir():
            if _CHECKPOINT.fullmatch(path.name) or _HALF_WRITTEN.fullmatch(path.name):
                _remove_checkpoint(path)

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
        """Writes the trajectories of training step `step`, one per line. Raises StorageError if the disk refuses."""
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        with self.writing():
            (self.rollouts / f"step_{step:06d}.jsonl").write_text(text, encoding="utf-8")

    def _rollout_files(self) -> list[tuple[int, Path]]:
        """(step, file) of each file that `write_rollouts` wrote."""
        named = ((_ROLLOUTS.fullmatch(path.name), path) for path in self.rollouts.iterdir())
        return [(int(match[1]), path) for match, path in named if match is not None and path.is_file()]

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

    def complete_checkpoints(self) -> list[tuple[int, Path]]:
        """(steps, folder) of every complete checkpoint, oldest first."""
        if not self.checkpoints.is_dir():
            return []
        named = ((_CHECKPOINT.fullmatch(path.name), path) for path in self.checkpoints.iterdir())
        found = [(int(match[1]), path) for match, path in named if match is not None]
        return sorted((step, path) for step, path in found if _is_ours(path / "trainer.json"))

    def prune(self, keep: int) -> None:
        """Only the `keep` newest checkpoints are left, and nothing half-written; files that no run wrote are kept."""
        complete = self.complete_checkpoints()
        for _, path in complete[: max(0, len(complete) - keep)]:
            _remove_checkpoint(path)
        newest = complete[-1][0] if complete else -1
        whole = {path for _, path in complete}
        for path in self.checkpoints.iterdir():
            match = _CHECKPOINT.fullmatch(path.name)
            if _HALF_WRITTEN.fullmatch(path.name) or (match and path not in whole and int(match[1]) < newest):
                _remove_checkpoint(path)

    def cut_back(self, steps: int) -> None:
        """No file holds anything after `steps` steps or a half-written line; files that no run wrote are kept."""
        with usable_run_folder(self.path):
            for file in (self.metrics, self.timeline):
                _keep_lines(file, lambda row: int(row.get("step", 0)) <= steps)
            for step, file in self._rollout_files():
                if step > steps:
                    file.unlink()
            try:
                eval_file.cut_back(self.evaluations, steps)
            except ConfigError:
                # Training can continue without the old rows, and unreadable rows are useless.
                eval_file.write_rows(self.evaluations, [])
        for path in self.checkpoints.iterdir():
            match = _CHECKPOINT.fullmatch(path.name)
            if _HALF_WRITTEN.fullmatch(path.name) or (match and int(match[1]) > steps):
                _remove_checkpoint(path)


def _is_ours(file: Path) -> bool:
    """Whether `file` is the learner.json or trainer.json of a checkpoint."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "schema_version" in data


def _is_checkpoint(path: Path) -> bool:
    """Whether a run wrote the folder `path`, completely or not; true also for an empty folder (nothing to lose)."""
    if not path.is_dir():
        return False
    return _is_ours(path / "trainer.json") or _is_ours(path / "learner.json") or not any(path.iterdir())


def _remove_checkpoint(path: Path) -> None:
    """Removes `path` if a run wrote it; a link and its target are kept."""
    if not path.is_symlink() and (_HALF_WRITTEN.fullmatch(path.name) or _is_checkpoint(path)):
        shutil.rmtree(path, ignore_errors=True)


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
