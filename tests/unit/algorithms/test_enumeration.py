"""The order that every estimator estimates, by exact enumeration of K ~ Bin(N, p).

One-logit policy: p = sigmoid(theta), so the score of a success is 1 - p, of a failure -p, and grad p = p(1-p). With K
successes among N the group's gradient is (1/N) (K A_success (1-p) - (N-K) A_failure p); its expectation over K is
compared with w_T(p) p(1-p), to 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from agent_rl.algorithms.advantages import GRPO, PKPO, RLOO, MaxPO, MaxRL, PassAtK, Reinforce, Tsallis
from agent_rl.algorithms.advantages.maxrl import maxrl_weight, success_coefficient
from agent_rl.algorithms.advantages.pass_at_k_training import PassAtKOptions
from agent_rl.algorithms.advantages.pkpo import MaxPOOptions, PKPOOptions
from agent_rl.algorithms.advantages.tsallis import TsallisOptions
from agent_rl.contracts import AdvantageEstimator
from tests.unit.algorithms.test_golden import truncated

SIZES = range(2, 17)
RATES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99)


def expected_gradient(advantages: Callable[[list[float]], list[float]], n: int, p: float) -> float:
    terms: list[float] = []
    for k in range(n + 1):
        outcomes = [1.0] * k + [0.0] * (n - k)
        scores = [1.0 - p if r == 1 else -p for r in outcomes]
        gradient = math.fsum(a * s for a, s in zip(advantages(outcomes), scores, strict=True)) / n
        terms.append(math.comb(n, k) * p**k * (1 - p) ** (n - k) * gradient)
    return math.fsum(terms)


def assert_estimates_its_order(estimator: AdvantageEstimator, n: int, expected_order: int) -> None:
    assert estimator.order(n) == expected_order
    for p in RATES:
        target = maxrl_weight(p, expected_order) * p * (1 - p)
        assert expected_gradient(estimator.advantages, n, p) == pytest.approx(target, abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_the_papers_form_estimates_order_n_minus_1(n: int) -> None:
    assert_estimates_its_order(MaxRL(), n, n - 1)


@pytest.mark.parametrize("n", SIZES)
def test_with_the_baseline_at_zero_every_order_up_to_n_is_estimated(n: int) -> None:
    for order in range(1, 20):
        assert_estimates_its_order(truncated(order, kept=True), n, min(order, n))


@pytest.mark.parametrize("n", SIZES)
def test_without_the_baseline_at_zero_every_order_up_to_n_minus_1_is_estimated(n: int) -> None:
    for order in range(1, 20):
        assert_estimates_its_order(truncated(order), n, min(order, n - 1))


@pytest.mark.parametrize("n", SIZES)
def test_averaging_the_scores_of_successes_estimates_order_n(n: int) -> None:
    def advantages(outcomes: list[float]) -> list[float]:
        k = int(sum(outcomes))
        return [n * r * (success_coefficient(n, k, n) if k else 0.0) for r in outcomes]

    for p in RATES:
        assert expected_gradient(advantages, n, p) == pytest.approx(maxrl_weight(p, n) * p * (1 - p), abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_the_papers_form_does_not_estimate_order_n(n: int) -> None:
    # The two orders differ by (1-p)^(N-1) grad p: at p = .1 that is at least .9^15 * .09 = .018.
    p = 0.1
    at_order_n = maxrl_weight(p, n) * p * (1 - p)
    missing = (1 - p) ** (n - 1) * p * (1 - p)
    assert at_order_n - expected_gradient(MaxRL().advantages, n, p) == pytest.approx(missing, abs=1e-12)


@pytest.mark.parametrize("n", range(1, 17))
def test_reinforce_estimates_the_pass_rate(n: int) -> None:
    assert_estimates_its_order(Reinforce(), n, 1)


@pytest.mark.parametrize("n", SIZES)
def test_rloo_estimates_the_pass_rate(n: int) -> None:
    assert_estimates_its_order(RLOO(), n, 1)


@pytest.mark.parametrize("n", SIZES)
def test_grpo_estimates_no_order(n: int) -> None:
    # No w_T fits: w_T(p) falls with p, while GRPO's weight at p = .99 exceeds the one at p = .5 (1/sqrt(p(1-p)));
    # for N = 2 the weight is sqrt(2) everywhere, which is no w_T either, since every w_T(0.99...) tends to 1.
    assert GRPO().order(n) == 0
    weights = {p: expected_gradient(GRPO().advantages, n, p) / (p * (1 - p)) for p in (0.5, 0.99)}
    assert all(abs(weights[0.99] - maxrl_weight(0.99, order)) > 0.1 for order in range(1, 20))


def test_maxrl_at_two_rollouts_is_rloo() -> None:
    for outcomes in ([0, 0], [0, 1], [1, 0], [1, 1]):
        assert MaxRL().advantages(outcomes) == RLOO().advantages(outcomes)


@pytest.mark.parametrize("n", SIZES)
def test_a_truncation_order_from_n_minus_1_on_is_the_papers_form(n: int) -> None:
    for k in range(n + 1):
        outcomes = [1.0] * k + [0.0] * (n - k)
        for order in (n - 1, n, n + 5):
            assert truncated(order).advantages(outcomes) == MaxRL().advantages(outcomes)


@pytest.mark.parametrize("n", SIZES)
def test_the_coefficient_is_the_sum_of_binomial_ratios(n: int) -> None:
    for k in range(1, n + 1):
        for order in range(1, n + 1):
            direct = sum(math.comb(n - k, j) / math.comb(n - 1, j) for j in range(order)) / n
            assert success_coefficient(n, k, order) == pytest.approx(direct, abs=1e-12)
        assert success_coefficient(n, k, n) == pytest.approx(1 / k, abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_pkpo_and_maxpo_estimate_pass_at_k(n: int) -> None:
    # d/dp of 1 - (1-p)^k is k (1-p)^(k-1).
    for k in range(1, n + 1):
        estimators: list[AdvantageEstimator] = [PKPO(PKPOOptions(k=k))]
        if k < n:
            estimators.append(MaxPO(MaxPOOptions(k=k)))
        for p in RATES:
            target = k * (1 - p) ** (k - 1) * p * (1 - p)
            for estimator in estimators:
                assert expected_gradient(estimator.advantages, n, p) == pytest.approx(target, abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_tsallis_with_q_1_estimates_order_n_minus_1_and_with_q_0_a_share_of_order_1(n: int) -> None:
    assert_estimates_its_order(Tsallis(TsallisOptions(q=1.0)), n, n - 1)
    for p in RATES:
        found = expected_gradient(Tsallis(TsallisOptions(q=0.0)).advantages, n, p)
        assert found == pytest.approx((n - 1) / n * p * (1 - p), abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_pass_at_k_training_is_grpo_of_all_groups_of_k(n: int) -> None:
    """A group of k rollouts has the reward of its best; the mean and deviation are those of all such groups, and a
    rollout's advantage is the mean over the groups that hold it."""
    for k in range(1, n + 1):
        for successful in range(n + 1):
            outcomes = [1.0] * successful + [0.0] * (n - successful)
            rate = 1 - math.comb(n - successful, k) / math.comb(n, k)
            found = PassAtK(PassAtKOptions(k=k)).advantages(outcomes)
            if not 0 < rate < 1:
                assert found == [0.0] * n
                continue
            deviation = math.sqrt(rate * (1 - rate))
            for outcome, advantage in zip(outcomes, found, strict=True):
                passes = 1.0 if outcome else 1 - math.comb(n - successful - 1, k - 1) / math.comb(n - 1, k - 1)
                assert advantage == pytest.approx((passes - rate) / deviation, abs=1e-9)
