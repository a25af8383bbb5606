"""The outcome: whether the hidden tests passed."""

from __future__ import annotations

from agent_rl.contracts import RewardPart
from agent_rl.vocabulary import Group


class OutcomeReward(RewardPart):
    """1 for a verdict that passed, else 0."""

    name = "outcome"
    binary = True

    async def values(self, group: Group, step: int, steps: int) -> list[float]:
        """The outcome of each trajectory."""
        return [float(passed) for passed in group.outcomes]
