"""How many groups may run at once: the capacity, which also enforces the off-policy budget (`max_staleness`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Capacity:
    """Counts groups. At most (max_staleness + version + 1) * groups_per_batch groups are ever accepted or running.

    No capacity is lost: each started group calls `accept` or `release` exactly once.

    A group's staleness is the learner's version when the batch is assembled, minus the lowest version of the group's
    trained tokens. It never exceeds `max_staleness`, and no group has to be dropped for that. When version s is
    current, at most (max_staleness + 1) * groups_per_batch groups are running or buffered. The steps at versions s to
    s + max_staleness train on exactly as many groups. So every group is trained on in time, unless newer groups finish
    first and take the places of older ones in a batch. Before that makes an old group too stale, the learner waits for
    the old groups (`stragglers`).
    """

    groups_per_batch: int
    max_staleness: int
    version: int = 0
    steps: int | None = None
    """The run's number of steps: only groups that some step will need are started."""
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
        """Group `group` counts as running. Raises RuntimeError when no capacity is free or the group already runs."""
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
        """The running groups that must end before the next step, oldest first. Without them, some become too stale.

        buffered: the starting versions of the groups that wait for the learner. It takes the oldest first.

        A group that started at version s or before must be trained on by the step at version s + max_staleness. The
        steps after the next one and up to that step take (s + max_staleness - version) * groups_per_batch groups. If
        more such groups are left after the next step, the rest of them would be too late.
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
