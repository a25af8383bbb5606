"""REINFORCE (Williams 1992)."""

from __future__ import annotations

from collections.abc import Sequence

from agent_rl.algorithms.advantages.rewards import scalars
from agent_rl.contracts import AdvantageEstimator


class Reinforce(AdvantageEstimator):
    """A_i = r_i: unbiased for the expected reward, T = 1, without a baseline."""

    name = "reinforce"
    smallest_group = 1

    def order(self, n: int) -> int:
        """1: the expected reward."""
        return 1

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """The rewards themselves. Raises ValueError for an empty group or a reward that is not finite."""
        return scalars(rewards_N, self)
