"""The unbiased estimator and its intervals, against enumeration and simulation."""

from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_rl.evaluation.pass_at_k import pass_at_k
from agent_rl.records.bootstrap import bootstrap_mean, wilson
from agent_rl.records.eval_row import Estimate


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_it_is_the_share_of_subsets_that_hold_a_passing_sample(case):
    n, c, k = case
    samples = [1] * c + [0] * (n - c)
    expected = fmean(max(subset) for subset in combinations(samples, k))
    assert pass_at_k(n, c, k) == pytest.approx(expected)


def test_it_is_unbiased_at_every_number_of_samples():
    # With p = 0.3 the true pass@4 is 1 - 0.7^4 = 0.7599; the mean over C ~ binomial(n, p) is that for every n >= 4.
    for n in (4, 5, 16):
        weights = np.array([_binomial(n, c, 0.3) for c in range(n + 1)])
        assert weights.sum() == pytest.approx(1)
        assert sum(w * pass_at_k(n, c, 4) for c, w in enumerate(weights)) == pytest.approx(1 - 0.7**4)


def _binomial(n: int, c: int, p: float) -> float:
    import math

    return math.comb(n, c) * p**c * (1 - p) ** (n - c)


def test_it_neither_overflows_nor_loses_digits():
    assert pass_at_k(10_000, 1, 1) == pytest.approx(1e-4, rel=1e-9)
    assert pass_at_k(10_000, 9_999, 2) == 1.0


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [(4, 2, 5, "pass@5 cannot be estimated from 4 samples"), (4, 2, 0, "pass@0"), (4, 5, 1, "5 of 4 samples passed")],
)
def test_what_cannot_be_estimated_is_refused(n, c, k, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k(n, c, k)


def test_the_interval_is_the_bootstraps_and_seeded():
    values = [1.0] * 30 + [0.0] * 70
    estimate = bootstrap_mean(values, seed=1)
    assert estimate == bootstrap_mean(values, seed=1)
    # The mean of 100 draws from a coin of 0.3 has a standard deviation of sqrt(.3 * .7 / 100) = 0.0458.
    assert estimate.value == pytest.approx(0.3)
    assert estimate.low == pytest.approx(0.3 - 1.96 * 0.0458, abs=0.015)
    assert estimate.high == pytest.approx(0.3 + 1.96 * 0.0458, abs=0.015)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        estimate = bootstrap_mean(list(generator.binomial(8, 0.4, size=60) / 8), seed=trial, resamples=500)
        covered += estimate.low <= 0.4 <= estimate.high
    assert 180 <= covered <= 200  # 95 % of 200, with room for the bootstrap's known lean at 60 tasks


def test_equal_values_have_wilsons_interval_and_no_values_have_no_mean():
    # z = 1.96: 0 of 80 reaches up to z^2 / (80 + z^2) = 3.8415 / 83.8415.
    assert bootstrap_mean([0.0] * 80) == Estimate(0.0, 0.0, pytest.approx(0.04582, abs=1e-5))  # pyright: ignore
    assert bootstrap_mean([1.0] * 80) == Estimate(1.0, pytest.approx(0.95418, abs=1e-5), 1.0)  # pyright: ignore
    # One task that passes half of its rollouts says little; the same of ten thousand says much.
    assert bootstrap_mean([0.5]).high > 0.9
    assert bootstrap_mean([0.5] * 10_000).high == pytest.approx(0.5098, abs=1e-4)
    # One value that differs, and the bootstrap sees variation.
    assert bootstrap_mean([0.0] * 79 + [1.0]).high == pytest.approx(0.0375)
    with pytest.raises(ValueError, match="no tasks"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="hits of 2"):
        bootstrap_mean([3.0, 3.0])


def test_wilsons_interval():
    # For 8 of 10, as in textbooks: 0.49 to 0.94. Nothing is known of none.
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10) == (pytest.approx(0.7225, abs=1e-4), 1.0)
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
