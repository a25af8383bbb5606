"""From a group's rewards to what the learner minimizes: advantages, losses, corrections, aggregations, regularizers.

Each is one small file with options, formula, source and degenerate cases, named in `[algorithm]` by its registered
short name or as `package.module:Class`. `make_algorithm` puts them together and checks that they fit.

Notation: N surviving rollouts of one task, r_i their rewards, K = sum r_i, rbar = K/N, p the pass rate, and
S_i = grad log pi(y_i), summed over the tokens that the model sampled. The gradient of a group is (1/N) sum_i A_i S_i.

The estimated objectives, by their order T (arXiv 2602.02710):

    log p = - sum_{k>=1} (1-p)^k / k        J_T = - sum_{k=1..T} (1-p)^k / k        grad J_T = w_T(p) grad p
    w_T(p) = (1 - (1-p)^T) / p = sum_{k=0..T-1} (1-p)^k

T = 1 is the expected reward, T -> infinity maximum likelihood. `AdvantageEstimator.order(n)` is the T that an estimator
has for n survivors; 0 means that it estimates no J_T.

| name                | A_i                                            | order T                    | source           |
| ------------------- | ---------------------------------------------- | -------------------------- | ---------------- |
| maxrl               | (r_i - rbar)/rbar, and 0 if rbar = 0           | N - 1                      | arXiv 2602.02710 |
| maxrl, T            | see `MaxRL`                                    | min(T, N) or min(T, N - 1) | arXiv 2602.02710 |
| tsallis             | (r_i - rbar)/rbar^q, and 0 if rbar = 0         | N - 1 for q = 1            | arXiv 2604.25907 |
| reinforce           | r_i                                            | 1                          | Williams 1992    |
| rloo                | N/(N-1) (r_i - rbar)                           | 1                          | arXiv 2402.14740 |
| grpo                | (r_i - rbar)/(std + eps), std with N - 1       | none, weight 1/sqrt(p(1-p))| arXiv 2402.03300 |
| dr_grpo             | r_i - rbar                                     | none, (N-1)/N of rloo      | arXiv 2503.20783 |
| reinforce_plus_plus | r_i, whitened over the batch                   | none                       | arXiv 2501.03262 |
| pass_at_k           | GRPO of all groups of k, see `PassAtK`         | none                       | arXiv 2508.10751 |
| pkpo                | gradient of pass@k, see `PKPO`                 | 1 for k = 1                | arXiv 2505.15201 |
| maxpo               | the same, sums to zero, see `MaxPO`            | 1 for k = 1                | arXiv 2606.06080 |
| turn_credit         | rloo + process rewards by turn, see its class  | none                       | Ng et al. 1999   |

**Loss aggregation.** The proofs hold for this gradient: sum A_i grad log pi over a trajectory's tokens, divide by the
group's N, and average over the groups of the batch (aggregation `constant`). Nothing is divided by a sequence's own
length, advantages are not whitened, and the learner does not divide again.

**Degenerate cases.** A group with fewer survivors than the estimator's `smallest_group` is dropped. Binary estimators
accept only outcomes of 0 and 1: a shaped reward must never reach MaxRL's denominator. K = 0 gives zeros in the paper's
form; K = N gives zeros in all forms of order N - 1 or N, in RLOO and in GRPO.
"""

from __future__ import annotations

from agent_rl.algorithms.make_algorithm import Algorithm, make_algorithm, with_defaults

__all__ = ["Algorithm", "make_algorithm", "with_defaults"]
