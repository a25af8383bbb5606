"""How many groups may be under way: pacing by capacity, and the hard bound on staleness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Capacity:
    """Counts of groups. At most (max_staleness + version + 1) * groups_per_batch are ever accepted or running.

    It cannot leak: `start` hands out a ticket, and every ticket comes back through `accept` or `release`, exactly once.
    The staleness of a group is the learner's version at batch assembly minus the lowest version of its trained tokens.
    Why the bound then holds without dropping anything: when version s is current, at most (max_staleness + 1) *
    groups_per_batch groups are under way or buffered, and the steps at versions s to s + max_staleness take as many.
    So it holds as long as each step leaves of these no more than the steps that remain for them can take; where a step
    would leave more, since newer groups are done before them, the learner waits for them (`stragglers`).
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

    def stragglers(self, buffered: Sequence[int] = ()) -> list[int]:
        """Running groups that have to end before the next step, else the bound fails for them or others as old.

        buffered: the starting versions of the groups that wait for the learner, who takes the oldest. Of the groups
        that started at version s or before, the steps after the next one, up to version s + max_staleness, can take
        (s + max_staleness - version) * groups_per_batch. What would be left beyond these is too late. Oldest first.
        """
        late: list[int] = []
        oldest_first = sorted(self.running, key=lambda group: (self.running[group], group))
        for version in sorted(set(self.running.values())):
            running = [group for group in oldest_first if self.running[group] <= version]
            ready = sum(started <= version for started in buffered)
            left = len(running) + ready - min(ready, self.groups_per_batch)
            excess = left - (version + self.max_staleness - self.version) * self.groups_per_batch
            late = running[: max(excess, len(late))]
        return late
