"""REINFORCE++ (arXiv 2501.03262): rewards, then whitening over the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from agent_rl.algorithms.advantages.rewards import mean, scalars
from agent_rl.contracts import AdvantageEstimator, PartOptions, TrainingSample


class ReinforcePlusPlusOptions(PartOptions):
    """Whether the group's mean is subtracted first, and what is added to the batch's standard deviation."""

    group_baseline: bool = False
    epsilon: float = Field(default=1e-8, ge=0)


class ReinforcePlusPlus(AdvantageEstimator):
    """A_i = (r_i - m) / (s + eps), m and s of all rollouts of the batch; with `group_baseline` r_i is r_i - rbar.

    Whitening gives every batch the same size of gradient, whatever its pass rate: the weights of MaxRL would not
    survive it. A batch of equal rewards gives zeros.
    """

    name = "reinforce_plus_plus"
    smallest_group = 1
    options_class = ReinforcePlusPlusOptions
    options: ReinforcePlusPlusOptions

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """The rewards, not whitened yet. Raises ValueError for an empty group or a reward that is not finite."""
        rewards = scalars(rewards_N, self)
        centre = mean(rewards) if self.options.group_baseline else 0.0
        return [r - centre for r in rewards]

    def finish(self, samples_G_N: list[list[TrainingSample]]) -> list[list[TrainingSample]]:
        """The whitened samples of the batch."""
        advantages = [sample.advantage for samples in samples_G_N for sample in samples]
        if not advantages or min(advantages) == max(advantages):
            return [[replace(sample, advantage=0.0) for sample in samples] for samples in samples_G_N]
        centre = mean(advantages)
        spread = math.sqrt(math.fsum((a - centre) ** 2 for a in advantages) / len(advantages)) + self.options.epsilon
        return [[replace(s, advantage=(s.advantage - centre) / spread) for s in samples] for samples in samples_G_N]
