"""`Group ──> Objective.advantages`: from a group's verdicts to one advantage per trajectory."""

from __future__ import annotations

import random

from agent_rl.config import RunConfig
from agent_rl.contracts import Objective
from agent_rl.vocabulary import Group


def group_advantages(objective: Objective, config: RunConfig, group: Group) -> list[float]:
    """A_i of each surviving trajectory of `group`, from its binary verdict.

    With `objective.shuffle_rewards` (the shuffled-reward control) the verdicts are first shuffled among the members.
    Only the run's seed and the group's index decide the shuffle. K is unchanged, and there is nothing left to learn.
    """
    outcomes = [float(passed) for passed in group.outcomes]
    if config.objective.shuffle_rewards:
        random.Random(f"permute {config.seed} {group.index}").shuffle(outcomes)
    return objective.advantages(outcomes)
