"""The objectives that MaxRL is compared with: REINFORCE, RLOO (arXiv 2402.14740) and GRPO (arXiv 2402.03300)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from agent_rl.contracts import Objective


class Reinforce(Objective):
    """A_i = r_i: unbiased for the expected reward, T = 1, without a baseline."""

    name = "reinforce"
    requires: Literal["binary", "scalar"] = "scalar"
    smallest_group = 1

    def order(self, n: int) -> int:
        """1: the expected reward."""
        return 1

    def advantages(self, outcomes_N: Sequence[float]) -> list[float]:
        """The outcomes themselves. Raises ValueError for an empty group or an outcome that is not finite."""
        return _scalars(outcomes_N, self)


class RLOO(Objective):
    """A_i = N/(N-1) (r_i - rbar), the reward minus the mean of the others: unbiased for the expected reward, T = 1."""

    name = "rloo"
    requires: Literal["binary", "scalar"] = "scalar"

    def order(self, n: int) -> int:
        """1: the expected reward."""
        return 1

    def advantages(self, outcomes_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. Raises ValueError for N < 2 or an outcome that is not finite."""
        rewards = _scalars(outcomes_N, self)
        n = len(rewards)
        mean = math.fsum(rewards) / n
        return [n / (n - 1) * (r - mean) for r in rewards]


class GRPO(Objective):
    """A_i = (r_i - rbar) / (std + eps), std with N - 1, eps 1e-6. Estimates no J_T: its weight is 1/sqrt(p(1-p)).

    Equal outcomes give zeros. The group's sum over tokens is divided only by constants, as for all objectives here; the
    original divides by each sequence's length.
    """

    name = "grpo"
    requires: Literal["binary", "scalar"] = "scalar"
    epsilon = 1e-6

    def order(self, n: int) -> int:
        """0: GRPO estimates the gradient of no J_T."""
        return 0

    def advantages(self, outcomes_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. Raises ValueError for N < 2 or an outcome that is not finite."""
        rewards = _scalars(outcomes_N, self)
        n = len(rewards)
        if min(rewards) == max(rewards):
            return [0.0] * n
        mean = math.fsum(rewards) / n
        deviation = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / (n - 1))
        return [(r - mean) / (deviation + self.epsilon) for r in rewards]


def _scalars(outcomes_N: Sequence[float], objective: Objective) -> list[float]:
    """The outcomes as floats. Raises ValueError for too few of them or one that is not finite."""
    if len(outcomes_N) < objective.smallest_group:
        raise ValueError(
            f"{objective.name} needs at least {objective.smallest_group} rollouts of a task, got {len(outcomes_N)}"
        )
    rewards = [float(r) for r in outcomes_N]
    if not all(math.isfinite(r) for r in rewards):
        raise ValueError(f"{objective.name} takes finite outcomes only, got {rewards!r}")
    return rewards
