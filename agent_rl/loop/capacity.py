"""How many groups may be under way: pacing by capacity, and the hard bound on staleness."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Capacity:
    """Counts of groups. At most (max_staleness + version + 1) * groups_per_batch are ever accepted or running.

    It cannot leak: `start` hands out a ticket, and every ticket comes back through `accept` or `release`, exactly once.
    The staleness of a group is the learner's version at batch assembly minus the lowest version of its trained tokens.
    Why the bound then holds without dropping anything, as long as the oldest are taken first: groups that started at
    a version <= v - max_staleness number at most (v + 1) * groups_per_batch, v * groups_per_batch of which have been
    consumed, so that all others fit into the batch assembled at version v.
    """

    groups_per_batch: int
    max_staleness: int
    version: int = 0
    steps: int | None = None
    """The run's number of steps: no group starts that no step will need."""
    accepted: int = 0
    """Groups accepted since the start of the run, consumed or buffered."""
    running: dict[int, int] = field(default_factory=dict[int, int])
    """Index of each running group -> the version at which it started."""

    @property
    def free(self) -> int:
        """How many new groups may start now."""
        batches = self.max_staleness + self.version + 1
        if self.steps is not None:
            batches = min(batches, self.steps)
        bound = batches * self.groups_per_batch
        return bound - (self.accepted + len(self.running))

    def start(self, group: int) -> None:
        """Group `group` runs. Raises RuntimeError beyond the capacity or for a group that runs already."""
        if self.free <= 0 or group in self.running:
            raise RuntimeError(f"group {group} cannot start: free={self.free}, running={group in self.running}")
        self.running[group] = self.version

    def accept(self, group: int) -> None:
        """Group `group` is done and will be trained on."""
        del self.running[group]
        self.accepted += 1

    def release(self, group: int) -> None:
        """Group `group` was dropped, cancelled or failed: its capacity is free again."""
        del self.running[group]

    def stragglers(self) -> list[int]:
        """Running groups that the next step would push past the bound."""
        return [g for g, started in self.running.items() if self.version + 1 - started > self.max_staleness]
