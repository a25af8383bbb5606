"""How the outcomes of a group become advantages: MaxRL, REINFORCE, RLOO and GRPO, and the order each one estimates.

Notation: N surviving rollouts of one task, r_i their outcomes, K = sum r_i, rbar = K/N, p the pass rate, and
S_i = grad log pi(y_i), summed over the tokens that the model sampled. The gradient of a group is (1/N) sum_i A_i S_i.

The estimated objectives, by their order T (arXiv 2602.02710):

    log p = - sum_{k>=1} (1-p)^k / k        J_T = - sum_{k=1..T} (1-p)^k / k        grad J_T = w_T(p) grad p
    w_T(p) = (1 - (1-p)^T) / p = sum_{k=0..T-1} (1-p)^k

T = 1 is the expected reward, T -> infinity maximum likelihood. `Objective.order(n)` is the T that an estimator has for
n survivors; 0 means that it estimates no J_T.

| name      | A_i                                        | order T                     | source           |
| --------- | ------------------------------------------ | --------------------------- | ---------------- |
| maxrl     | (r_i - rbar)/rbar, and 0 if rbar = 0       | N - 1                       | arXiv 2602.02710 |
| maxrl, T  | see `MaxRL`                                | min(T, N) or min(T, N - 1)  | arXiv 2602.02710 |
| reinforce | r_i                                        | 1                           | Williams 1992    |
| rloo      | N/(N-1) (r_i - rbar)                       | 1                           | arXiv 2402.14740 |
| grpo      | (r_i - rbar)/(std + 1e-6), std with N - 1  | none (weight 1/sqrt(p(1-p)))| arXiv 2402.03300 |

**Loss aggregation.** The proofs hold for this gradient: sum A_i grad log pi over a trajectory's tokens, divide by the
group's N, and average over the groups of the batch (`objective.denominator = "constant"`). Nothing is divided by a
sequence's own length, advantages are not whitened, and the learner does not divide again. `"token_mean"` divides by the
batch's trained tokens instead; it is biased, since the random token count correlates with K.

**Degenerate cases.** A group with fewer than two survivors has no baseline and is refused (REINFORCE needs only one
survivor). MaxRL accepts only outcomes of 0 and 1: a shaped reward must never reach its denominator. K = 0 gives zeros
in the paper's form; K = N gives zeros in all forms of order N - 1 or N, in RLOO and in GRPO.
"""

from __future__ import annotations

from agent_rl.algorithms.baselines import GRPO, RLOO, Reinforce
from agent_rl.algorithms.maxrl import MaxRL, maxrl_weight, success_coefficient
from agent_rl.config import ObjectiveConfig
from agent_rl.contracts import Objective

__all__ = [
    "GRPO",
    "RLOO",
    "MaxRL",
    "Reinforce",
    "make_objective",
    "maxrl_weight",
    "success_coefficient",
]


def make_objective(config: ObjectiveConfig) -> Objective:
    """The objective that `config` names, with its settings."""
    match config.name:
        case "maxrl":
            return MaxRL(config.truncation_order, baseline_at_zero=config.baseline_at_zero)
        case "reinforce":
            return Reinforce()
        case "rloo":
            return RLOO()
        case "grpo":
            return GRPO()
