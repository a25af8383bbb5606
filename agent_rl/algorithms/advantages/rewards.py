"""Checks of a group's rewards, before an estimator uses them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent_rl.contracts import AdvantageEstimator


def scalars(rewards_N: Sequence[float], estimator: AdvantageEstimator) -> list[float]:
    """The rewards as floats. Raises ValueError for too few of them or one that is not finite."""
    _enough(rewards_N, estimator)
    rewards = [float(r) for r in rewards_N]
    if not all(math.isfinite(r) for r in rewards):
        raise ValueError(f"{estimator.name} takes finite rewards only, got {rewards!r}")
    return rewards


def successes(rewards_N: Sequence[float], estimator: AdvantageEstimator) -> int:
    """K, the number of successes. Raises ValueError for too few rewards or one other than 0 and 1."""
    _enough(rewards_N, estimator)
    refused = [r for r in rewards_N if r not in (0, 1)]
    if refused:
        raise ValueError(f"{estimator.name} takes outcomes of 0 and 1 only, got {refused[0]!r}")
    return sum(1 for r in rewards_N if r == 1)


def mean(rewards_N: Sequence[float]) -> float:
    """rbar, summed exactly."""
    return math.fsum(rewards_N) / len(rewards_N)


def deviation(rewards_N: Sequence[float]) -> float:
    """The standard deviation with N - 1; exactly 0 where all are equal, or where there is only one."""
    if min(rewards_N) == max(rewards_N):
        return 0.0
    centre = mean(rewards_N)
    return math.sqrt(math.fsum((r - centre) ** 2 for r in rewards_N) / (len(rewards_N) - 1))


def _enough(rewards_N: Sequence[float], estimator: AdvantageEstimator) -> None:
    if len(rewards_N) < estimator.smallest_group:
        raise ValueError(
            f"{estimator.name} needs at least {estimator.smallest_group} rollouts of a task, got {len(rewards_N)}"
        )
