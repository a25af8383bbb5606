"""Outcomes that are wrong at known rates: what an unreliable judge does to training. For experiments."""

from __future__ import annotations

import random

from pydantic import Field

from agent_rl.contracts import PartOptions, RewardPart
from agent_rl.vocabulary import Group


class NoisyOutcomeOptions(PartOptions):
    """Probabilities that a failure counts as a success, and a success as a failure."""

    false_passes: float = Field(default=0.0, ge=0, le=1)
    false_failures: float = Field(default=0.0, ge=0, le=1)


class NoisyOutcome(RewardPart):
    """The outcome, flipped at known rates. Records, pass rates and evaluations keep the true verdicts.

    One draw per rollout decides, and only the task, the group's index and the rollout's number decide the draw: a
    retry, a resume or another order of arrival changes nothing, and a higher rate flips what a lower one flips.
    """

    name = "noisy_outcome"
    binary = True
    options_class = NoisyOutcomeOptions
    options: NoisyOutcomeOptions

    async def values(self, group: Group, step: int, steps: int) -> list[float]:
        """The outcome of each trajectory, or its opposite."""
        found: list[float] = []
        for trajectory, passed in zip(group.trajectories, group.outcomes, strict=True):
            draw = random.Random(f"noisy outcome {group.task.id} {group.index} {trajectory.rollout}").random()
            rate = self.options.false_failures if passed else self.options.false_passes
            found.append(float(passed if draw >= rate else not passed))
        return found
