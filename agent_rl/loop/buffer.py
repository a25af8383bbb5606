"""Accepted groups that wait for the learner, oldest first."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_rl.vocabulary import Group


@dataclass(frozen=True, slots=True)
class Accepted:
    """A group and the policy's version when it started; no token of the group has a lower version."""

    group: Group
    started_version: int


@dataclass(slots=True)
class GroupBuffer:
    """Groups in training order: by starting version, then by index."""

    waiting: list[Accepted] = field(default_factory=list[Accepted])

    def add(self, group: Group, started_version: int) -> None:
        """`group` waits for the learner."""
        self.waiting.append(Accepted(group, started_version))

    def take(self, count: int) -> list[Group]:
        """The `count` oldest groups, removed from the buffer."""
        self.waiting.sort(key=lambda a: (a.started_version, a.group.index))
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return [a.group for a in taken]

    def started_versions(self) -> list[int]:
        """The starting versions of the waiting groups."""
        return [a.started_version for a in self.waiting]

    def indices(self) -> list[int]:
        """The indices of the waiting groups."""
        return sorted(a.group.index for a in self.waiting)

    def __len__(self) -> int:
        return len(self.waiting)


def staleness(group: Group, version: int) -> int:
    """`version` minus the lowest version of any trained token of the group; 0 if the group has no trained token."""
    lowest = group.lowest_version
    return 0 if lowest is None else version - lowest
