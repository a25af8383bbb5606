"""Advantages worked out by hand, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest

from agent_rl.algorithms.advantages import (
    GRPO,
    PKPO,
    RLOO,
    DrGRPO,
    MaxPO,
    MaxRL,
    PassAtK,
    Reinforce,
    ReinforcePlusPlus,
    Tsallis,
)
from agent_rl.algorithms.advantages.maxrl import MaxRLOptions, success_coefficient
from agent_rl.algorithms.advantages.pass_at_k_training import PassAtKOptions
from agent_rl.algorithms.advantages.pkpo import MaxPOOptions, PKPOOptions
from agent_rl.algorithms.advantages.reinforce_plus_plus import ReinforcePlusPlusOptions
from agent_rl.algorithms.advantages.tsallis import TsallisOptions
from agent_rl.contracts import AdvantageEstimator, TrainingSample
from tests.unit.rollouts.test_pack import single


def truncated(order: int, *, kept: bool = False) -> MaxRL:
    return MaxRL(MaxRLOptions(truncation_order=order, baseline_at_zero=kept))


def test_maxrl_one_success_of_four() -> None:
    # rbar = 1/4: (1 - 1/4) / (1/4) = 3, (0 - 1/4) / (1/4) = -1.
    assert MaxRL().advantages([1, 0, 0, 0]) == [3, -1, -1, -1]
    assert MaxRL().advantages([False, False, True, False]) == [-1, -1, 3, -1]


def test_maxrl_three_successes_of_four() -> None:
    # rbar = 3/4: (1/4) / (3/4) = 1/3.
    assert MaxRL().advantages([1, 1, 0, 1]) == [1 / 3, 1 / 3, -1, 1 / 3]


@pytest.mark.parametrize("outcome", [0, 1])
def test_equal_outcomes_give_zeros(outcome: int) -> None:
    for estimator in (MaxRL(), truncated(7), truncated(8), RLOO(), GRPO()):
        assert estimator.advantages([outcome] * 8) == [0] * 8


def test_maxrl_keeps_the_baseline_at_zero_where_asked() -> None:
    assert truncated(4, kept=True).advantages([0, 0, 0, 0]) == [-1, -1, -1, -1]
    # T = N: N/K - 1 = 4/2 - 1.
    assert truncated(4, kept=True).advantages([1, 0, 1, 0]) == [1, -1, 1, -1]


def test_maxrl_truncated_at_two() -> None:
    # N = 4, K = 1, T = 2: N c = 1 + C(3,1)/C(3,1) = 2, so A = 1 with the baseline kept;
    # without it at K = 0, one more for the only success: A = 2.
    assert truncated(2, kept=True).advantages([0, 1, 0, 0]) == [-1, 1, -1, -1]
    assert truncated(2).advantages([0, 1, 0, 0]) == [-1, 2, -1, -1]
    # K = 2: N c = 1 + C(2,1)/C(3,1) = 5/3, so A = 2/3 in both.
    assert truncated(2, kept=True).advantages([1, 1, 0, 0]) == pytest.approx([2 / 3, 2 / 3, -1, -1])
    assert truncated(2).advantages([1, 1, 0, 0]) == pytest.approx([2 / 3, 2 / 3, -1, -1])


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


NEED_TWO = [MaxRL(), truncated(4, kept=True), RLOO(), GRPO(), DrGRPO(), Tsallis(), PassAtK(), PKPO(), MaxPO()]


@pytest.mark.parametrize("estimator", NEED_TWO)
@pytest.mark.parametrize("outcomes", [[], [1]])
def test_a_group_without_a_baseline_is_refused(estimator: AdvantageEstimator, outcomes: list[float]) -> None:
    with pytest.raises(ValueError, match=r"needs at least 2 rollouts of a task, got [01]"):
        estimator.advantages(outcomes)


def test_reinforce_refuses_an_empty_group() -> None:
    with pytest.raises(ValueError, match="reinforce needs at least 1 rollouts of a task, got 0"):
        Reinforce().advantages([])


@pytest.mark.parametrize("outcome", [0.5, -1, 2, math.nan])
def test_maxrl_refuses_what_is_not_binary(outcome: float) -> None:
    with pytest.raises(ValueError, match="maxrl takes outcomes of 0 and 1 only, got"):
        MaxRL().advantages([1, outcome, 0])


@pytest.mark.parametrize("estimator", [Reinforce(), RLOO(), GRPO()])
def test_outcomes_that_are_not_finite_are_refused(estimator: AdvantageEstimator) -> None:
    with pytest.raises(ValueError, match="takes finite rewards only"):
        estimator.advantages([1.0, math.inf])


def test_maxrl_refuses_senseless_knobs() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        MaxRLOptions(truncation_order=0)
    with pytest.raises(ValueError, match="baseline_at_zero needs truncation_order"):
        MaxRLOptions(baseline_at_zero=True)
    with pytest.raises(ValueError, match="got N=4, K=0, T=1"):
        success_coefficient(4, 0, 1)


def test_dr_grpo_is_the_reward_less_the_mean() -> None:
    assert DrGRPO().advantages([1, 0, 0, 0]) == [0.75, -0.25, -0.25, -0.25]


def test_tsallis_lies_between_rloo_and_maxrl() -> None:
    # rbar = 1/4 and q = 1/2: rbar^q = 1/2, so 3/4 / 1/2 and -1/4 / 1/2.
    assert Tsallis(TsallisOptions(q=0.5)).advantages([1, 0, 0, 0]) == [1.5, -0.5, -0.5, -0.5]
    assert Tsallis(TsallisOptions(q=1.0)).advantages([1, 0, 0, 0]) == MaxRL().advantages([1, 0, 0, 0])
    assert Tsallis(TsallisOptions(q=0.0)).advantages([1, 0, 0, 0]) == DrGRPO().advantages([1, 0, 0, 0])
    assert Tsallis().advantages([0, 0]) == [0, 0]
    assert [Tsallis(TsallisOptions(q=q)).order(8) for q in (0.0, 0.5, 1.0)] == [0, 0, 7]


def test_pass_at_k_training() -> None:
    # N = 4, K = 1, k = 2: 3 of 6 pairs fail, so rho = 1/2 and s = 1/2: (1/2)/(1/2) = 1. With a failure, 2 of 3 partners
    # fail: (1/2 - 2/3)/(1/2) = -1/3.
    two = PassAtK(PassAtKOptions(k=2))
    assert two.advantages([0, 1, 0, 0]) == pytest.approx([-1 / 3, 1, -1 / 3, -1 / 3])
    # With k = 1 a group is one rollout: rho = 1/4, s = sqrt(3)/4; (3/4)/s = sqrt 3, (3/4 - 1)/s = -1/sqrt 3.
    root = math.sqrt(3)
    one = PassAtK(PassAtKOptions(k=1))
    assert one.advantages([1, 0, 0, 0]) == pytest.approx([root, -1 / root, -1 / root, -1 / root])
    # One failure: no pair fails, rho = 1. No success: rho = 0.
    assert two.advantages([1, 1, 1, 0]) == two.advantages([0, 0, 0, 0]) == [0, 0, 0, 0]
    # k beyond the survivors is their number: rho = 1.
    assert PassAtK(PassAtKOptions(k=9)).advantages([1, 0]) == [0, 0]


def test_pkpo_credits_what_a_rollout_adds_to_the_others() -> None:
    # N = 4, K = 1, k = 2: all partners of the success fail, so it adds 1 to each pair: k * 1 = 2; failures add nothing.
    assert PKPO(PKPOOptions(k=2)).advantages([0, 1, 0, 0]) == pytest.approx([0, 2, 0, 0])
    # K = 2: 2 of 3 partners of a success fail: 2 * 2/3.
    assert PKPO(PKPOOptions(k=2)).advantages([1, 1, 0, 0]) == pytest.approx([4 / 3, 4 / 3, 0, 0])
    # 3, 1, 2 with k = 2: 3 adds (3 - 1) and (3 - 2), mean 1.5; 1 adds nothing; 2 adds 0 to 3 and 1 to 1, mean .5.
    assert PKPO(PKPOOptions(k=2)).advantages([3, 1, 2]) == pytest.approx([3, 0, 1])
    assert PKPO(PKPOOptions(k=1)).advantages([1, 0, 0, 0]) == pytest.approx(RLOO().advantages([1, 0, 0, 0]))


def test_pkpo_lowers_k_from_the_first_step_to_the_last() -> None:
    annealed = PKPO(PKPOOptions(k=4, final_k=1))
    found = []
    for step in (1, 2, 3, 4):
        annealed.begin_step(step, 4)
        found.append((annealed._k(8), annealed.order(8)))
    assert found == [(4, 0), (3, 0), (2, 0), (1, 1)]


def test_maxpo_sums_to_zero() -> None:
    # 3, 1, 2 and k = 2: with partners, 3 has max 3; 1 has (3 + 2)/2; 2 has (3 + 2)/2. The others' best of two: 2, 3, 3.
    assert MaxPO(MaxPOOptions(k=2)).advantages([3, 1, 2]) == pytest.approx([2, -1, -1])
    rewards = [0.3, -1.0, 4.0, 4.0, 2.5, 0.0, 1.25]
    for k in (1, 2, 3, 6):
        assert sum(MaxPO(MaxPOOptions(k=k)).advantages(rewards)) == pytest.approx(0.0, abs=1e-12)
    assert MaxPO(MaxPOOptions(k=1)).advantages(rewards) == pytest.approx(RLOO().advantages(rewards))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_best_of_k_is_that_of_all_subsets(k: int) -> None:
    rewards = [0.5, 2.0, -1.0, 2.0, 0.0]
    pkpo, maxpo = PKPO(PKPOOptions(k=k)).advantages(rewards), MaxPO(MaxPOOptions(k=k)).advantages(rewards)
    for i, own in enumerate(rewards):
        others = [r for j, r in enumerate(rewards) if j != i]

        def mean_best(size: int, *, own: float = own, others: list[float] = others, alone: bool) -> float:
            sets = list(itertools.combinations(others, size))
            return sum(max(s if alone else (*s, own)) for s in sets) / len(sets)

        best = mean_best(k - 1, alone=False)
        assert maxpo[i] == pytest.approx(k * (best - mean_best(k, alone=True)))
        assert pkpo[i] == pytest.approx(k * (best - mean_best(max(1, k - 1), alone=True)))


def test_reinforce_plus_plus_whitens_the_batch() -> None:
    # Rewards 1, 0 and 1, 1: mean 3/4, variance (1/16 + 9/16 + 1/16 + 1/16)/4 = 3/16, deviation sqrt(3)/4.
    plain = ReinforcePlusPlus(ReinforcePlusPlusOptions(epsilon=0.0))
    groups = [[TrainingSample(single(10), a) for a in plain.advantages(r)] for r in ([1, 0], [1, 1])]
    found = [sample.advantage for samples in plain.finish(groups) for sample in samples]
    low, high = -0.75 / (math.sqrt(3) / 4), 0.25 / (math.sqrt(3) / 4)
    assert found == pytest.approx([high, low, high, high])
    based = ReinforcePlusPlus(ReinforcePlusPlusOptions(group_baseline=True))
    assert based.advantages([1, 0]) == [0.5, -0.5]
    equal = [[TrainingSample(single(10), 0.5)] * 2]
    assert [s.advantage for s in plain.finish(equal)[0]] == [0.0, 0.0]
    assert plain.finish([]) == []
