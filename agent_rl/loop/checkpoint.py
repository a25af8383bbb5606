"""Checkpoints: the learner's folder, with the loop's own counters written last, as the mark that it is whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from agent_rl.atomic_files import write_atomically
from agent_rl.errors import ConfigError
from agent_rl.records.run_directory import SCHEMA_VERSION, RunDirectory


@dataclass(frozen=True, slots=True)
class LoopState:
    """What the loop needs, beside the learner's state, to go on as if it had never stopped."""

    version: int
    next_index: int
    """The sampler's counter."""
    pending: tuple[int, ...]
    """Groups that were buffered or under way: handed out once more."""

    def to_json(self) -> str:
        """The text of trainer.json. `in_flight` has a version of its own: later it may hold the rollouts themselves."""
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
        """The state in `checkpoint`. Raises ConfigError for a schema that this version does not know, or none."""
        try:
            data = json.loads((checkpoint / "trainer.json").read_text())
            known = data["schema_version"] == SCHEMA_VERSION and data["in_flight"]["schema_version"] == 1
            if not known:
                raise ConfigError(f"{checkpoint} was written by another version of agent-rl", key="--resume")
            return LoopState(data["version"], data["sampler"]["next_index"], tuple(data["in_flight"]["reissue_groups"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{checkpoint} is damaged: {error!r}", key="--resume") from None


def complete_checkpoint(directory: RunDirectory, state: LoopState, *, keep: int) -> None:
    """The checkpoint of `state`, which holds the learner's part, is whole; older ones beyond `keep` are gone.

    Raises StorageError where the disk refuses: then the one before is still the newest.
    """
    with directory.writing():
        write_atomically(directory.checkpoint(state.version) / "trainer.json", state.to_json())
    directory.prune(keep)
