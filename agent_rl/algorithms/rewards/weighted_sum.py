"""The reward of a rollout: the weighted sum of the parts that `[[reward]]` lists."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agent_rl.algorithms.rewards.outcome import OutcomeReward
from agent_rl.contracts import RewardPart, RolloutReward
from agent_rl.vocabulary import Group


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """r = sum_j weight_j value_j."""

    parts: tuple[RewardPart, ...] = (OutcomeReward(),)
    weights: tuple[float, ...] = (1.0,)

    @property
    def is_binary(self) -> bool:
        """Whether every reward is 0 or 1."""
        return len(self.parts) == 1 and self.weights == (1.0,) and self.parts[0].is_binary

    @property
    def is_outcome(self) -> bool:
        """Whether the reward is the outcome and nothing else."""
        return self.is_binary and isinstance(self.parts[0], OutcomeReward)

    async def of_group(self, group: Group, step: int, steps: int) -> list[RolloutReward]:
        """The reward of each of the group's trajectories."""
        values = [await part.values(group, step, steps) for part in self.parts]
        found: list[RolloutReward] = []
        for own in zip(*values, strict=True):
            total = math.fsum(w * v for w, v in zip(self.weights, own, strict=True))
            found.append(RolloutReward(total, {p.name: v for p, v in zip(self.parts, own, strict=True)}))
        return found
