"""Verdicts flipped at known rates."""

from __future__ import annotations

import pytest

from agent_rl.algorithms.verdict_noise import noisy_outcomes


def flipped(outcome: float, rate: float, *, seed: int = 0, rollouts: int = 10_000) -> set[int]:
    """The rollouts whose `outcome` is flipped, where the rate of the other outcome is 0."""
    rates = {"false_passes": 0.0, "false_failures": rate} if outcome else {"false_passes": rate, "false_failures": 0.0}
    found = noisy_outcomes([outcome] * rollouts, range(rollouts), seed=seed, group=3, **rates)
    assert set(found) <= {0.0, 1.0}
    return {i for i, value in enumerate(found) if value != outcome}


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_each_outcome_has_its_own_rate(outcome: float) -> None:
    assert flipped(outcome, 0.0) == set()
    assert len(flipped(outcome, 1.0)) == 10_000
    # 10,000 draws at .1: 1,000 with a standard deviation of 30; five of them are 150.
    assert len(flipped(outcome, 0.1)) == pytest.approx(1000, abs=150)
    # The rate of one outcome leaves the other alone.
    rates = {"false_passes": outcome, "false_failures": 1.0 - outcome}
    assert noisy_outcomes([outcome], [0], seed=0, group=0, **rates) == [outcome]


def test_a_higher_rate_flips_what_a_lower_one_flips() -> None:
    assert flipped(0.0, 0.01) < flipped(0.0, 0.05) < flipped(0.0, 0.2)


def test_only_the_key_decides() -> None:
    rates = {"false_passes": 0.5, "false_failures": 0.5, "seed": 1, "group": 2}
    outcomes = noisy_outcomes([0.0, 1.0, 0.0], [0, 1, 2], **rates)
    # In another order, and without the second rollout, which was left out.
    assert noisy_outcomes([0.0, 0.0], [2, 0], **rates) == [outcomes[2], outcomes[0]]
    assert flipped(0.0, 0.1, seed=1) != flipped(0.0, 0.1, seed=2)
