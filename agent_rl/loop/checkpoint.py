"""Checkpoints: the learner's folder and the loop's counters. The counters are written last and mark it as complete."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from agent_rl.atomic_files import write_atomically
from agent_rl.errors import ConfigError
from agent_rl.records.run_directory import SCHEMA_VERSION, RunDirectory


@dataclass(frozen=True, slots=True)
class LoopState:
    """What the loop needs, besides the learner's state, to continue as if it had never stopped."""

    version: int
    next_index: int
    """The sampler's counter."""
    pending: tuple[int, ...]
    """Groups that were buffered or running: the sampler hands them out again."""

    def to_json(self) -> str:
        """The text of trainer.json. `in_flight` has its own schema version: it may later hold rollouts themselves."""
        return json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "version": self.version,
                "sampler": {"next_index": self.next_index},
                "in_flight": {"schema_version": 1, "reissue_groups": list(self.pending)},
            },
            indent=1,
        )

    @staticmethod
    def read(checkpoint: Path) -> LoopState:
        """The state in `checkpoint`. Raises ConfigError when its schema version is unknown or missing."""
        try:
            data = json.loads((checkpoint / "trainer.json").read_text())
            known = data["schema_version"] == SCHEMA_VERSION and data["in_flight"]["schema_version"] == 1
            if not known:
                raise ConfigError(f"{checkpoint} was written by another version of agent-rl", key="--resume")
            return LoopState(data["version"], data["sampler"]["next_index"], tuple(data["in_flight"]["reissue_groups"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{checkpoint} is damaged: {error!r}", key="--resume") from None


def complete_checkpoint(directory: RunDirectory, state: LoopState, *, keep: int) -> None:
    """The checkpoint of `state` is complete, and only the newest `keep` checkpoints are left.

    The learner has written its part before. Raises StorageError when the disk refuses to write; the previous checkpoint
    is then still the newest.
    """
    with directory.writing():
        write_atomically(directory.checkpoint(state.version) / "trainer.json", state.to_json())
    directory.prune(keep)
