"""GSPO, the sequence's ratio (arXiv 2507.18071)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent_rl.contracts import LossTokens, PartOptions, PolicyLoss

if TYPE_CHECKING:
    from torch import Tensor


class GSPOOptions(PartOptions):
    """The ratio's bounds are 1 - clip_low and 1 + clip_high. Small, since it is a mean: 0.2 would never clip."""

    clip_low: float = Field(default=3e-4, ge=0, le=1)
    clip_high: float = Field(default=4e-4, ge=0)


class GSPO(PolicyLoss):
    """- min(s A, clip(s) A) with s = exp(mean_t log(pi_t / pi_old_t)) of the sequence, for each of its tokens.

    With the aggregation `sequence_mean` this is the paper's sum over sequences: a sequence's tokens share its 1/length.
    """

    name = "gspo"
    has_ratio = True
    options_class = GSPOOptions
    options: GSPOOptions

    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]."""
        ratios, advantages = tokens.row_means(tokens.logprobs - tokens.old_logprobs).exp(), tokens.advantages
        low, high = 1.0 - self.options.clip_low, 1.0 + self.options.clip_high
        above = (ratios > high) & (advantages > 0)
        tokens.count("clipped_share", above | ((ratios < low) & (advantages < 0)))
        return -(ratios * advantages).minimum(ratios.clamp(low, high) * advantages)
