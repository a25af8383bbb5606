"""The project's advantage estimators as tables: with binary outcomes an advantage depends only on N, K and the own one.

The only place of the experiments that calls an estimator.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from agent_rl.contracts import AdvantageEstimator
from agent_rl.registry import resolve


def advantages_by_count(method: Literal["reinforce", "rloo", "grpo", "maxrl"], n: int) -> tuple[np.ndarray, np.ndarray]:
    """(A of a success, A of a failure) in a group of `n` with K successes, for K from 0 to n: two arrays [n + 1].

    Where there is no success, or no failure, its advantage is 0.
    """
    estimator: AdvantageEstimator = resolve(method, "agent_rl.advantages", key="method")()
    success, failure = np.zeros(n + 1), np.zeros(n + 1)
    for k in range(n + 1):
        advantages_N = estimator.advantages([1.0] * k + [0.0] * (n - k))
        if k > 0:
            success[k] = advantages_N[0]
        if k < n:
            failure[k] = advantages_N[-1]
    return success, failure
