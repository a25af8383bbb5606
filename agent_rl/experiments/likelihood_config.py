"""The settings of one run of the exact-likelihood experiment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from agent_rl.config import Section


class LikelihoodConfig(Section):
    """A classifier learns `classes` Gaussians, by their labels or only by samples of its own that hit the label."""

    method: Literal["cross_entropy", "reinforce", "rloo", "grpo", "maxrl"] = "cross_entropy"
    samples: PositiveInt = 128
    """N, the answers sampled for each input; cross_entropy samples none."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Of plain SGD, without momentum."""
    seed: int = 0
    """Of the weights, the batches and the samples. The problem itself is the same for all seeds."""
    classes: PositiveInt = 100
    dimensions: PositiveInt = 32
    spread: float = Field(default=0.7, gt=0)
    """Standard deviation of each coordinate of the classes' means; that of the inputs around their mean is 1."""
    width: PositiveInt = 128
    """Of the single hidden layer."""
    batch_size: PositiveInt = 128
    steps: PositiveInt = 1000
    held_out: PositiveInt = 10_000
    """Inputs on which the likelihood is measured."""
    every: PositiveInt = 50
    """Steps between two points of the curve."""
