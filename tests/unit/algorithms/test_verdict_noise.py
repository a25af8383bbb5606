"""Verdicts flipped at known rates."""

from __future__ import annotations

import dataclasses

import pytest

from agent_rl.algorithms.rewards.noisy_outcome import NoisyOutcome, NoisyOutcomeOptions
from agent_rl.vocabulary import Group
from tests.unit.algorithms.test_rewards import judged
from tests.unit.rollouts.support import make_task

PASSED, FAILED = judged(1.0), judged(0.0)


async def outcomes(passed: bool, rollouts: list[int], *, index: int = 3, **rates: float) -> list[float]:
    one = PASSED if passed else FAILED
    members = tuple(dataclasses.replace(one, rollout=rollout) for rollout in rollouts)
    noise = NoisyOutcome(NoisyOutcomeOptions(**rates))
    return await noise.values(Group(index, "env", make_task(), len(members), members), 1, 1)


async def flipped(passed: bool, rate: float, *, index: int = 3, rollouts: int = 4_000) -> set[int]:
    """The rollouts whose outcome is flipped, where the rate of the other outcome is 0."""
    rates = {"false_failures" if passed else "false_passes": rate}
    found = await outcomes(passed, list(range(rollouts)), index=index, **rates)
    assert set(found) <= {0.0, 1.0}
    return {i for i, value in enumerate(found) if value != float(passed)}


@pytest.mark.parametrize("passed", [False, True])
async def test_each_outcome_has_its_own_rate(passed: bool) -> None:
    assert await flipped(passed, 0.0) == set()
    assert len(await flipped(passed, 1.0)) == 4_000
    # 4,000 draws at .1: 400 with a standard deviation of 19; five of them are 95.
    assert len(await flipped(passed, 0.1)) == pytest.approx(400, abs=95)
    # The rate of one outcome leaves the other alone.
    rates = {"false_passes" if passed else "false_failures": 1.0}
    assert await outcomes(passed, [0], **rates) == [float(passed)]


async def test_a_higher_rate_flips_what_a_lower_one_flips() -> None:
    assert await flipped(False, 0.01) < await flipped(False, 0.05) < await flipped(False, 0.2)


async def test_only_the_key_decides() -> None:
    first = await outcomes(False, [0, 1, 2], false_passes=0.5)
    # In another order, and without the second rollout, which was left out.
    assert await outcomes(False, [2, 0], false_passes=0.5) == [first[2], first[0]]
    assert await flipped(False, 0.1, index=1) != await flipped(False, 0.1, index=2)
