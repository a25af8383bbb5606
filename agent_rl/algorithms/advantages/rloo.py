"""RLOO, the leave-one-out baseline (arXiv 2402.14740)."""

from __future__ import annotations

from collections.abc import Sequence

from agent_rl.algorithms.advantages.rewards import mean, scalars
from agent_rl.contracts import AdvantageEstimator


class RLOO(AdvantageEstimator):
    """A_i = N/(N-1) (r_i - rbar), the reward minus the mean of the others: unbiased for the expected reward, T = 1."""

    name = "rloo"

    def order(self, n: int) -> int:
        """1: the expected reward."""
        return 1

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. Raises ValueError for N < 2 or a reward that is not finite."""
        rewards = scalars(rewards_N, self)
        n, centre = len(rewards), mean(rewards)
        return [n / (n - 1) * (r - centre) for r in rewards]
