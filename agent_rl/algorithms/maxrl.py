"""MaxRL (arXiv 2602.02710): the estimators of grad J_T = w_T(p) grad p from N binary outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from agent_rl.contracts import Objective


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


class MaxRL(Objective):
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
    requires: Literal["binary", "scalar"] = "binary"

    def __init__(self, truncation_order: int | None = None, *, baseline_at_zero: bool = False) -> None:
        if truncation_order is not None and truncation_order < 1:
            raise ValueError(f"truncation_order must be at least 1, got {truncation_order}")
        if baseline_at_zero and truncation_order is None:
            raise ValueError("baseline_at_zero needs a truncation_order")
        self.truncation_order = truncation_order
        self.baseline_at_zero = baseline_at_zero

    def order(self, n: int) -> int:
        """min(T, N) if the baseline is kept at K = 0, else min(T, N - 1); T None counts as infinite."""
        highest = n if self.baseline_at_zero else n - 1
        return highest if self.truncation_order is None else min(self.truncation_order, highest)

    def advantages(self, outcomes_N: Sequence[float]) -> list[float]:
        """A_i of each of the N rollouts. [1, 0, 0, 0] gives [3, -1, -1, -1] in the paper's form.

        Raises ValueError for N < 2 and for an outcome other than 0 and 1.
        """
        n = len(outcomes_N)
        if n < 2:
            raise ValueError(f"MaxRL needs at least 2 rollouts of a task, got {n}")
        refused = [r for r in outcomes_N if r not in (0, 1)]
        if refused:
            raise ValueError(f"MaxRL takes outcomes of 0 and 1 only, got {refused[0]!r}")
        successes = sum(1 for r in outcomes_N if r == 1)
        if successes == 0:
            return [-1.0 if self.baseline_at_zero else 0.0] * n
        success = self._success_advantage(n, successes)
        return [success if r == 1 else -1.0 for r in outcomes_N] if success or successes < n else [0.0] * n

    def _success_advantage(self, n: int, successes: int) -> float:
        """The advantage of a success for K >= 1: N times its coefficient, minus one."""
        order = self.order(n)
        if order == (n if self.baseline_at_zero else n - 1):
            return (n - successes) / successes
        restored = 1.0 if successes == 1 and not self.baseline_at_zero else 0.0
        return n * success_coefficient(n, successes, order) + restored - 1.0
