"""Advantages worked out by hand, and what is refused."""

from __future__ import annotations

import math

import pytest

from agent_rl.algorithms import GRPO, RLOO, MaxRL, Reinforce, success_coefficient
from agent_rl.contracts import Objective


def test_maxrl_one_success_of_four() -> None:
    # rbar = 1/4: (1 - 1/4) / (1/4) = 3, (0 - 1/4) / (1/4) = -1.
    assert MaxRL().advantages([1, 0, 0, 0]) == [3, -1, -1, -1]
    assert MaxRL().advantages([False, False, True, False]) == [-1, -1, 3, -1]


def test_maxrl_three_successes_of_four() -> None:
    # rbar = 3/4: (1/4) / (3/4) = 1/3.
    assert MaxRL().advantages([1, 1, 0, 1]) == [1 / 3, 1 / 3, -1, 1 / 3]


@pytest.mark.parametrize("outcome", [0, 1])
def test_equal_outcomes_give_zeros(outcome: int) -> None:
    for objective in (MaxRL(), MaxRL(7), MaxRL(8), RLOO(), GRPO()):
        assert objective.advantages([outcome] * 8) == [0] * 8


def test_maxrl_keeps_the_baseline_at_zero_where_asked() -> None:
    assert MaxRL(4, baseline_at_zero=True).advantages([0, 0, 0, 0]) == [-1, -1, -1, -1]
    # T = N: N/K - 1 = 4/2 - 1.
    assert MaxRL(4, baseline_at_zero=True).advantages([1, 0, 1, 0]) == [1, -1, 1, -1]


def test_maxrl_truncated_at_two() -> None:
    # N = 4, K = 1, T = 2: N c = 1 + C(3,1)/C(3,1) = 2, so A = 1 with the baseline kept;
    # without it at K = 0, one more for the only success: A = 2.
    assert MaxRL(2, baseline_at_zero=True).advantages([0, 1, 0, 0]) == [-1, 1, -1, -1]
    assert MaxRL(2).advantages([0, 1, 0, 0]) == [-1, 2, -1, -1]
    # K = 2: N c = 1 + C(2,1)/C(3,1) = 5/3, so A = 2/3 in both.
    assert MaxRL(2, baseline_at_zero=True).advantages([1, 1, 0, 0]) == pytest.approx([2 / 3, 2 / 3, -1, -1])
    assert MaxRL(2).advantages([1, 1, 0, 0]) == pytest.approx([2 / 3, 2 / 3, -1, -1])


def test_the_advantage_of_a_lone_success_is_n_minus_1() -> None:
    assert max(MaxRL().advantages([1] + [0] * 127)) == 127


def test_reinforce_is_the_reward() -> None:
    assert Reinforce().advantages([1, 0, 0.5, -2]) == [1, 0, 0.5, -2]
    assert Reinforce().advantages([1]) == [1]


def test_rloo_is_the_reward_less_the_mean_of_the_others() -> None:
    # [1, 0, 0, 0]: 1 - 0 = 1; 0 - 1/3.
    assert RLOO().advantages([1, 0, 0, 0]) == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])


def test_grpo_divides_by_the_standard_deviation() -> None:
    # [1, 0, 0, 0]: squares (9 + 1 + 1 + 1)/16 = 3/4, over N - 1 = 3: 1/4, std 1/2: .75/.5 = 1.5, -.25/.5 = -.5,
    # each smaller by the factor .5 / (.5 + 1e-6).
    factor = 0.5 / (0.5 + 1e-6)
    assert GRPO().advantages([1, 0, 0, 0]) == pytest.approx([1.5 * factor] + [-0.5 * factor] * 3, rel=1e-12)


@pytest.mark.parametrize("objective", [MaxRL(), MaxRL(4, baseline_at_zero=True), RLOO(), GRPO()])
@pytest.mark.parametrize("outcomes", [[], [1]])
def test_a_group_without_a_baseline_is_refused(objective: Objective, outcomes: list[float]) -> None:
    with pytest.raises(ValueError, match=r"needs at least 2 rollouts of a task, got [01]"):
        objective.advantages(outcomes)


def test_reinforce_refuses_an_empty_group() -> None:
    with pytest.raises(ValueError, match="reinforce needs at least 1 rollouts of a task, got 0"):
        Reinforce().advantages([])


@pytest.mark.parametrize("outcome", [0.5, -1, 2, math.nan])
def test_maxrl_refuses_what_is_not_binary(outcome: float) -> None:
    with pytest.raises(ValueError, match="MaxRL takes outcomes of 0 and 1 only, got"):
        MaxRL().advantages([1, outcome, 0])


@pytest.mark.parametrize("objective", [Reinforce(), RLOO(), GRPO()])
def test_outcomes_that_are_not_finite_are_refused(objective: Objective) -> None:
    with pytest.raises(ValueError, match="takes finite outcomes only"):
        objective.advantages([1.0, math.inf])


def test_maxrl_refuses_senseless_knobs() -> None:
    with pytest.raises(ValueError, match="truncation_order must be at least 1, got 0"):
        MaxRL(0)
    with pytest.raises(ValueError, match="baseline_at_zero needs a truncation_order"):
        MaxRL(baseline_at_zero=True)
    with pytest.raises(ValueError, match="got N=4, K=0, T=1"):
        success_coefficient(4, 0, 1)
