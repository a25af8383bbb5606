"""Credit by turn, by hand."""

from __future__ import annotations

import dataclasses

import pytest

from agent_rl.algorithms.advantages.turn_credit import TurnCredit, TurnCreditOptions
from agent_rl.vocabulary import Group, Trajectory, Turn
from tests.unit.rollouts.support import make_task
from tests.unit.rollouts.test_pack import model_segment, task_segment, trajectory


def talk(*scores: float | None) -> Trajectory:
    """A rollout with a turn for each score (None: the turn has none), in the segments 1, 3, 5, ..."""
    segments = [task_segment(None, 1, 2)]
    turns: list[Turn] = []
    for number, score in enumerate(scores):
        segments.append(model_segment(len(segments) - 1, 10 + number))
        own = {} if score is None else {"tests_passed": score}
        turns.append(Turn(len(segments) - 1, "reply", "stop", scores=own))
        segments.append(task_segment(len(segments) - 1, 3))
    return dataclasses.replace(trajectory(*segments[:-1]), turns=tuple(turns))


def credits(estimator: TurnCredit, rewards: list[float], *trajectories: Trajectory) -> list[dict[int, float]]:
    group = Group(0, "env", make_task(), len(trajectories), trajectories)
    samples = estimator.assign(group, rewards)
    assert [sample.advantage for sample in samples] == estimator.advantages(rewards)
    return [dict(sample.segment_advantages or {}) for sample in samples]


def test_a_turn_is_credited_with_what_comes_from_there_on() -> None:
    # Potentials .5, 1 and 0, .25; with gamma 1 the returns are the last potential less the one before the turn:
    # 1, .5 and .25, .25. RLOO of rewards 1 and 0 is 1 and -1.
    found = credits(TurnCredit(), [1, 0], talk(0.5, 1.0), talk(0.0, 0.25))
    assert found == [{1: 1 + 0.75, 3: 1 + 0.25}, {1: -1 - 0.75, 3: -1 - 0.25}]


def test_a_turn_that_no_other_rollout_has_is_not_compared() -> None:
    found = credits(TurnCredit(), [1, 0], talk(1.0), talk(0.0, 0.5))
    # First turns: 1 against .5.
    assert found == [{1: 1.5}, {1: -1.5, 3: -1.0}]


def test_a_missing_score_is_that_of_the_turn_before_and_gamma_discounts() -> None:
    # Potentials 0, .5, .5 (missing): rewards 0, gamma .5 - 0, gamma .5 - .5; with gamma 1/2: 0, .25, -.25.
    # Returns: 0 + (.25 - .125)/2, .25 - .125, -.25.
    half = TurnCredit(TurnCreditOptions(gamma=0.5))
    assert half._returns(talk(0.0, 0.5, None)) == pytest.approx([0.0625, 0.125, -0.25])


def test_without_weight_it_is_rloo() -> None:
    plain = TurnCredit(TurnCreditOptions(weight=0.0))
    assert credits(plain, [1, 0], talk(0.5), talk(0.25)) == [{1: 1.0}, {1: -1.0}]
