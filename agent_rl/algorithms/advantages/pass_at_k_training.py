"""Pass@k training (arXiv 2508.10751)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import PositiveInt

from agent_rl.algorithms.advantages.rewards import successes
from agent_rl.algorithms.advantages.subsets import share_of_subsets
from agent_rl.contracts import AdvantageEstimator, PartOptions


class PassAtKOptions(PartOptions):
    """The k of pass@k; where fewer rollouts survive, it is their number."""

    k: PositiveInt = 4


class PassAtK(AdvantageEstimator):
    """GRPO's advantage of all groups of k out of the N rollouts, averaged over those that hold the rollout:

        rho = 1 - C(N-K,k)/C(N,k), s = sqrt(rho (1-rho))
        A = (1 - rho)/s for a success, (1 - rho - C(N-K-1,k-1)/C(N-1,k-1))/s for a failure

    Zeros where rho is 0 or 1: no success, or fewer than k failures. N = 4, K = 1, k = 2: rho = 1 - 3/6 = 1/2, s = 1/2;
    a success has 1, a failure (1/2 - 2/3)/(1/2) = -1/3.
    """

    name = "pass_at_k"
    rewards: ClassVar[Literal["binary", "scalar"]] = "binary"
    options_class = PassAtKOptions
    options: PassAtKOptions

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. Raises ValueError for N < 2 and for an outcome other than 0 and 1."""
        n, successful = len(rewards_N), successes(rewards_N, self)
        failed, k = n - successful, min(self.options.k, n)
        none_passes = share_of_subsets(failed, n, k)
        if successful == 0 or none_passes == 0.0:
            return [0.0] * n
        spread = math.sqrt(none_passes * (1.0 - none_passes))
        others_fail = share_of_subsets(failed - 1, n - 1, k - 1)
        success, failure = none_passes / spread, (none_passes - others_fail) / spread
        return [success if r == 1 else failure for r in rewards_N]
