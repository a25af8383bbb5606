"""Tsallis advantages, between RLOO and MaxRL (arXiv 2604.25907)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from agent_rl.algorithms.advantages.rewards import successes
from agent_rl.contracts import AdvantageEstimator, PartOptions


class TsallisOptions(PartOptions):
    """The exponent of the pass rate."""

    q: float = Field(default=0.75, ge=0, le=1)


class Tsallis(AdvantageEstimator):
    """A_i = (r_i - rbar) / rbar^q, and 0 if rbar = 0: each task has about the weight p^(-q).

    q = 1 is MaxRL in the paper's form; q = 0 is (N-1)/N times RLOO. Between them the bias is O(q / (N p^(q+1))).
    """

    name = "tsallis"
    rewards: ClassVar[Literal["binary", "scalar"]] = "binary"
    options_class = TsallisOptions
    options: TsallisOptions

    def order(self, n: int) -> int:
        """N - 1 for q = 1, which is MaxRL; else 0."""
        return n - 1 if self.options.q == 1 else 0

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. [1, 0, 0, 0] with q = 1/2: rbar = 1/4, so 3/4 / 1/2 = 1.5 and -0.5.

        Raises ValueError for N < 2 and for an outcome other than 0 and 1.
        """
        n, k = len(rewards_N), successes(rewards_N, self)
        if k == 0:
            return [0.0] * n
        rate = k / n
        return [(r - rate) / rate**self.options.q for r in rewards_N]
