"""The rollouts that never reached the learner: counted by reason, task and version, with alarms for high shares."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

ShareKey = TypeVar("ShareKey", bound=Hashable)


@dataclass(slots=True)
class Shares(Generic[ShareKey]):
    """For each key, how many rollouts were asked for and how many were dropped."""

    asked: Counter[ShareKey] = field(default_factory=Counter[ShareKey])
    left: Counter[ShareKey] = field(default_factory=Counter[ShareKey])
    _alarmed: set[ShareKey] = field(default_factory=set[ShareKey])

    def count(self, key: ShareKey, asked: int, left: int) -> None:
        """Counts `asked` finished rollouts of `key`; `left` of them were dropped."""
        self.asked[key] += asked
        if left:
            self.left[key] += left

    def shares(self) -> dict[str, float]:
        """The shares of dropped rollouts of the ten keys with the largest shares, as key -> share."""
        worst = sorted(((left / self.asked[key], str(key)) for key, left in self.left.items()), reverse=True)[:10]
        return {key: round(share, 4) for share, key in worst}

    def alarming(self, limit: float) -> list[tuple[ShareKey, float]]:
        """(key, share) for each key whose share is above `limit`; each key is returned only once."""
        found = [(key, left / self.asked[key]) for key, left in self.left.items() if left > limit * self.asked[key]]
        new = [(key, share) for key, share in found if key not in self._alarmed]
        self._alarmed.update(key for key, _ in new)
        return new


@dataclass(slots=True)
class DroppedRollouts:
    """The rollouts dropped since the last step, by reason; and the shares of dropped ones since the run began."""

    reasons: Counter[str] = field(default_factory=Counter[str])
    straggler_wait: float = 0.0
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=64))
    """(asked, dropped) of the last groups."""
    last_error: str = ""
    tasks: Shares[str] = field(default_factory=Shares[str])
    """By task id."""
    versions: Shares[int] = field(default_factory=Shares[int])
    """By the policy version at which the group started."""

    @property
    def share(self) -> float:
        """The share of dropped rollouts in the last groups."""
        asked = sum(a for a, _ in self.recent)
        return sum(left for _, left in self.recent) / asked if asked else 0.0

    def since(self) -> DroppedRollouts:
        """The counts for the next step: reasons and waiting time start at zero, shares are kept."""
        return DroppedRollouts(recent=self.recent, last_error=self.last_error, tasks=self.tasks, versions=self.versions)

    def alarms(self, limit: float) -> list[str]:
        """One line for every task and version that lost more than `limit` of its rollouts; each is named only once."""
        lines = [f"task {key} lost {share:.0%} of its rollouts" for key, share in self.tasks.alarming(limit)]
        lines += [f"version {key} lost {share:.0%} of its rollouts" for key, share in self.versions.alarming(limit)]
        return [f"{line} to infrastructure failures; the last: {self.last_error}" for line in lines]
