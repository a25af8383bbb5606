"""PKPO (arXiv 2505.15201) and MaxPO (arXiv 2606.06080): unbiased gradients of the best of k rollouts."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import PositiveInt

from agent_rl.algorithms.advantages.rewards import scalars
from agent_rl.algorithms.advantages.subsets import best_of_others, best_with
from agent_rl.contracts import AdvantageEstimator, PartOptions


class PKPOOptions(PartOptions):
    """k, and where it goes: in equal stages from `k` at the first step down (or up) to `final_k` at the last one."""

    k: PositiveInt = 4
    final_k: PositiveInt | None = None
    """None: k stays."""


class PKPO(AdvantageEstimator):
    """The gradient of E[max of k rewards], which is pass@k for outcomes of 0 and 1, with the baseline
    *leave-one-out minus one*:

        A_i = k mean_T (max(T and r_i) - max(T)), over all T of k - 1 of the other rollouts

    For binary rewards: a success has k C(N-K,k-1)/C(N-1,k-1), a failure 0. The expected gradient is
    k (1-p)^(k-1) grad p. k = 1 has no smaller set: it is RLOO. Where fewer than k rollouts survive, k is their number.
    """

    name = "pkpo"
    options_class = PKPOOptions
    options: PKPOOptions
    _now: int | None = None

    def begin_step(self, step: int, steps: int) -> None:
        """k of this step, if it is annealed."""
        first, last = self.options.k, self.options.final_k
        if last is not None:
            share = (step - 1) / max(1, steps - 1)
            self._now = round(first + (last - first) * share)

    def order(self, n: int) -> int:
        """1 for k = 1, the expected reward; else 0, since pass@k is no J_T."""
        return 1 if self._k(n) == 1 else 0

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. Raises ValueError for N < 2 or a reward that is not finite."""
        rewards = scalars(rewards_N, self)
        k = self._k(len(rewards))
        # For k = 1 the baseline is the best of 1 of the others, their mean.
        baselines = best_of_others(rewards, max(1, k - 1))
        return [k * (best - base) for best, base in zip(best_with(rewards, k - 1), baselines, strict=True)]

    def _k(self, n: int) -> int:
        return min(self.options.k if self._now is None else self._now, n)


class MaxPOOptions(PartOptions):
    """The k of best of k; where fewer than k + 1 rollouts survive, it is one less than their number."""

    k: PositiveInt = 4


class MaxPO(AdvantageEstimator):
    """The gradient of E[max of k rewards], with a baseline that makes the advantages of a group sum to zero:

        A_i = k (mean_T max(T and r_i) - mean_U max(U)),
        over all T of k - 1 and all U of k of the other rollouts

    The baseline does not depend on rollout i, so that the gradient is unbiased. k = 1 is RLOO.
    """

    name = "maxpo"
    options_class = MaxPOOptions
    options: MaxPOOptions

    def order(self, n: int) -> int:
        """1 for k = 1, the expected reward; else 0."""
        return 1 if self._k(n) == 1 else 0

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. Raises ValueError for N < 2 or a reward that is not finite."""
        rewards = scalars(rewards_N, self)
        k = self._k(len(rewards))
        pairs = zip(best_with(rewards, k - 1), best_of_others(rewards, k), strict=True)
        return [k * (best - base) for best, base in pairs]

    def _k(self, n: int) -> int:
        return min(self.options.k, n - 1)
