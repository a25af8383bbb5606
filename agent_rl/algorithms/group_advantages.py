"""`Group ──> Objective.advantages`: from a group's verdicts to one advantage per trajectory."""

from __future__ import annotations

import random

from agent_rl.algorithms.verdict_noise import noisy_outcomes
from agent_rl.config import RunConfig
from agent_rl.contracts import Objective
from agent_rl.vocabulary import Group


def group_advantages(objective: Objective, config: RunConfig, group: Group) -> list[float]:
    """A_i of each surviving trajectory of `group`, from its binary verdict.

    With `objective.shuffle_rewards` (the shuffled-reward control) the verdicts are first shuffled among the members.
    Only the run's seed and the group's index decide the shuffle. K is unchanged, and there is nothing left to learn.
    With `false_passes` or `false_failures`, verdicts are flipped at these rates: see `verdict_noise`.
    """
    outcomes = [float(passed) for passed in group.outcomes]
    if config.objective.shuffle_rewards:
        random.Random(f"permute {config.seed} {group.index}").shuffle(outcomes)
    settings = config.objective
    if settings.false_passes or settings.false_failures:
        outcomes = noisy_outcomes(
            outcomes,
            [trajectory.rollout for trajectory in group.trajectories],
            false_passes=settings.false_passes,
            false_failures=settings.false_failures,
            seed=config.seed,
            group=group.index,
        )
    return objective.advantages(outcomes)
