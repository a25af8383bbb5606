"""What rewards are made of, by hand."""

from __future__ import annotations

import dataclasses

import pytest

from agent_rl.algorithms import make_algorithm
from agent_rl.algorithms.rewards.length_penalty import LengthPenalty, LengthPenaltyOptions
from agent_rl.algorithms.rewards.outcome import OutcomeReward
from agent_rl.algorithms.rewards.score import DenseThenBinary, DenseThenBinaryOptions, Score, ScoreOptions
from agent_rl.algorithms.rewards.weighted_sum import WeightedSum
from agent_rl.contracts import RewardPart
from agent_rl.vocabulary import Group, Trajectory, Verdict
from tests.unit.algorithms.test_make_algorithm import config
from tests.unit.rollouts.support import make_task
from tests.unit.rollouts.test_pack import single


def judged(score: float | None, tokens: int = 1) -> Trajectory:
    """A rollout of so many sampled tokens with a share of its tests passed; None: its verdict has no scores."""
    passed = score == 1.0
    scores = {} if score is None else {"tests_passed": score}
    verdict = Verdict(passed, "passed" if passed else "failed", "values", None, scores=scores)
    return dataclasses.replace(single(*range(10, 10 + tokens)), verdict=verdict)


def group(*trajectories: Trajectory) -> Group:
    return Group(0, "env", make_task(), len(trajectories), trajectories)


SCORED = group(judged(1.0), judged(0.75), judged(None), judged(0.0))


async def values(part: RewardPart, of: Group = SCORED, step: int = 1) -> list[float]:
    return await part.values(of, step, 4)


async def test_parts_by_hand() -> None:
    assert await values(OutcomeReward()) == [1, 0, 0, 0]
    assert await values(Score()) == [1, 0.75, 0, 0]
    assert await values(Score(ScoreOptions(missing=-1.0))) == [1, 0.75, -1, 0]
    assert await values(Score(ScoreOptions(threshold=0.75))) == [1, 1, 0, 0]
    assert await values(Score(ScoreOptions(key="style"))) == [0, 0, 0, 0]


async def test_a_dense_reward_becomes_the_outcome_after_its_share_of_the_steps() -> None:
    half = DenseThenBinary(DenseThenBinaryOptions(dense_share=0.5))
    assert [await values(half, step=step) for step in (1, 2, 3, 4)] == [[1, 0.75, 0, 0]] * 2 + [[1, 0, 0, 0]] * 2
    never = DenseThenBinary(DenseThenBinaryOptions(dense_share=0.0))
    assert await values(never) == [1, 0, 0, 0]


async def test_long_rollouts_are_punished() -> None:
    # Free up to 4, all at 8: 6 tokens are half of the way.
    penalty = LengthPenalty(LengthPenaltyOptions(free=4, longest=8))
    assert await values(penalty, group(*(judged(1.0, n) for n in (1, 4, 6, 8, 20)))) == [0, 0, -0.5, -1, -1]
    with pytest.raises(ValueError, match="longest = 4 must exceed free = 4"):
        LengthPenaltyOptions(free=4, longest=4)


async def test_parts_are_added_with_their_weights_and_told_apart() -> None:
    both = WeightedSum((OutcomeReward(), Score()), (2.0, -0.5))
    found = await both.of_group(SCORED, 1, 4)
    # 2 - 1/2, -3/8, 0, 0.
    assert [reward.total for reward in found] == [1.5, -0.375, 0, 0]
    assert found[1].parts == {"outcome": 0.0, "score": 0.75}
    assert (both.is_binary, both.is_outcome) == (False, False)
    assert (WeightedSum().is_binary, WeightedSum().is_outcome) == (True, True)


async def test_the_control_shuffles_rewards_within_a_group() -> None:
    given = group(*(judged(1.0 if i < 3 else 0.0) for i in range(12)))
    made = make_algorithm(config(12, shuffle_rewards=True))
    (found,) = await made.rewards([given], 1)
    assert sorted(r.total for r in found) == [0.0] * 9 + [1.0] * 3
    assert [r.total for r in found] != [float(o) for o in given.outcomes]
    assert (await made.rewards([given], 1))[0] == found, "drawn by the seed and the group alone"
