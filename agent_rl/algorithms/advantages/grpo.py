"""GRPO (arXiv 2402.03300) and Dr.GRPO (arXiv 2503.20783)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from agent_rl.algorithms.advantages.rewards import deviation, mean, scalars
from agent_rl.contracts import AdvantageEstimator, PartOptions


class GRPOOptions(PartOptions):
    """What is added to the standard deviation."""

    epsilon: float = Field(default=1e-6, ge=0)


class GRPO(AdvantageEstimator):
    """A_i = (r_i - rbar) / (std + eps), std with N - 1. Estimates no J_T: its weight is 1/sqrt(p(1-p)).

    Equal rewards give zeros. The group's sum over tokens is divided only by what the aggregation says; the original
    divides by each sequence's length (aggregation `sequence_mean`).
    """

    name = "grpo"
    options_class = GRPOOptions
    options: GRPOOptions

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. Raises ValueError for N < 2 or a reward that is not finite."""
        rewards = scalars(rewards_N, self)
        spread = deviation(rewards)
        if spread == 0.0:
            return [0.0] * len(rewards)
        centre = mean(rewards)
        return [(r - centre) / (spread + self.options.epsilon) for r in rewards]


class DrGRPO(AdvantageEstimator):
    """A_i = r_i - rbar: GRPO without the division by the standard deviation, (N-1)/N times RLOO.

    Use it with the aggregation `constant`, as its authors do. Its expected gradient is (N-1)/N times that of the
    expected reward, so that it is called an estimate of no J_T.
    """

    name = "dr_grpo"

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. Raises ValueError for N < 2 or a reward that is not finite."""
        rewards = scalars(rewards_N, self)
        centre = mean(rewards)
        return [r - centre for r in rewards]
