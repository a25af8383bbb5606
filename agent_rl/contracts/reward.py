"""`RewardPart`: one number for each rollout of a group; `[[reward]]` adds them up with weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from agent_rl.contracts.algorithm import AlgorithmPart
from agent_rl.vocabulary import Group


@dataclass(frozen=True, slots=True)
class RolloutReward:
    """The reward that an estimator sees, and what it is made of: each part's value, by name, without its weight."""

    total: float
    parts: Mapping[str, float] = field(default_factory=dict[str, float])


class RewardPart(AlgorithmPart):
    """A part of the reward. `Verdict.passed` stays the outcome in every metric and evaluation, whatever parts say."""

    binary: ClassVar[bool] = False
    """Whether every value is 0 or 1, whatever the options are."""

    @property
    def is_binary(self) -> bool:
        """Whether every value is 0 or 1. Override it where that depends on the options."""
        return self.binary

    @abstractmethod
    async def values(self, group: Group, step: int, steps: int) -> list[float]:
        """The value of each of the group's trajectories, in their order, for step `step` of `steps`, from 1.

        Raises InfrastructureError where what it asks does not answer.
        """


__all__ = ["RewardPart", "RolloutReward"]
