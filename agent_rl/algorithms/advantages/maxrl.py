"""MaxRL (arXiv 2602.02710): the estimators of grad J_T = w_T(p) grad p from N binary outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import PositiveInt, model_validator

from agent_rl.algorithms.advantages.rewards import successes
from agent_rl.contracts import AdvantageEstimator, PartOptions


def maxrl_weight(p: float, order: int) -> float:
    """w_T(p) = (1 - (1-p)^T) / p, for T = `order`; its limit T at p = 0."""
    return sum((1.0 - p) ** k for k in range(order))


def success_coefficient(n: int, successes: int, order: int) -> float:
    """c_{T,N}(K) = (1/N) sum_{j=0..T-1} C(N-K, j) / C(N-1, j), for T = `order` <= N = `n` and K = `successes` >= 1.

    sum_i c r_i S_i is an unbiased estimate of grad J_T. T = N gives 1/K. The terms follow t_0 = 1 and
    t_{j+1} = t_j (N-K-j) / (N-1-j); they end where j reaches N - K.
    """
    if not 1 <= successes <= n or not 1 <= order <= n:
        raise ValueError(f"expected 1 <= K <= N and 1 <= T <= N, got N={n}, K={successes}, T={order}")
    total, term = 0.0, 1.0
    for j in range(order):
        total += term
        if j >= n - successes:
            break
        term *= (n - successes - j) / (n - 1 - j)
    return total / n


class MaxRLOptions(PartOptions):
    """Which form of MaxRL."""

    truncation_order: PositiveInt | None = None
    """T; None is the paper's form (order N - 1)."""
    baseline_at_zero: bool = False
    """Subtract the baseline even if no rollout passes (exact for T = N); needs truncation_order."""

    @model_validator(mode="after")
    def _has_order(self) -> MaxRLOptions:
        if self.baseline_at_zero and self.truncation_order is None:
            raise ValueError("baseline_at_zero needs truncation_order")
        return self


class MaxRL(AdvantageEstimator):
    """MaxRL in three forms. All subtract the control variate (1/N) sum_i S_i; they differ in T and in whether they also
    subtract it at K = 0.

    - `truncation_order` None, the paper's form and the default: A_i = (r_i - rbar)/rbar, zeros where K = 0.
      Leaving the baseline out at K = 0 subtracts (1-p)^(N-1) grad p, exactly the term between J_N and J_(N-1). The
      form is therefore unbiased for T = N - 1 (the paper's text says T = N). For N = 2 it equals RLOO.
    - `baseline_at_zero`, with T: A = N c_{T,N}(K) - 1 for a success and -1 for a failure, also where K = 0.
      Unbiased for min(T, N).
    - T without `baseline_at_zero`: the same, but zeros where K = 0. This subtracts (1-p)^(N-1) grad p; adding
      1{K = 1} to N c restores it. Unbiased for min(T, N - 1); T >= N - 1 is the paper's form.
    """

    name = "maxrl"
    rewards: ClassVar[Literal["binary", "scalar"]] = "binary"
    options_class = MaxRLOptions
    options: MaxRLOptions

    def order(self, n: int) -> int:
        """min(T, N) if the baseline is kept at K = 0, else min(T, N - 1); T None counts as infinite."""
        order = self.options.truncation_order
        highest = n if self.options.baseline_at_zero else n - 1
        return highest if order is None else min(order, highest)

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. [1, 0, 0, 0] gives [3, -1, -1, -1] in the paper's form.

        Raises ValueError for N < 2 and for an outcome other than 0 and 1.
        """
        n, k = len(rewards_N), successes(rewards_N, self)
        if k == 0:
            return [-1.0 if self.options.baseline_at_zero else 0.0] * n
        success = self._success_advantage(n, k)
        return [success if r == 1 else -1.0 for r in rewards_N] if success or k < n else [0.0] * n

    def _success_advantage(self, n: int, k: int) -> float:
        """The advantage of a success for K = `k` >= 1: N times its coefficient, minus one."""
        order, kept = self.order(n), self.options.baseline_at_zero
        if order == (n if kept else n - 1):
            return (n - k) / k
        restored = 1.0 if k == 1 and not kept else 0.0
        return n * success_coefficient(n, k, order) + restored - 1.0
