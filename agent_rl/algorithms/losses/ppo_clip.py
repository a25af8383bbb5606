"""PPO's clipped loss (arXiv 1707.06347), with two bounds (DAPO, arXiv 2503.14476) and dual clip (arXiv 1912.09729)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent_rl.contracts import LossTokens, PartOptions, PolicyLoss

if TYPE_CHECKING:
    from torch import Tensor


class PPOClipOptions(PartOptions):
    """The ratio's bounds are 1 - clip_low and 1 + clip_high. GRPO: 0.2 and 0.2; DAPO: 0.2 and 0.28."""

    clip_low: float = Field(default=0.2, ge=0, le=1)
    clip_high: float = Field(default=0.2, ge=0)
    dual_clip: float | None = Field(default=None, gt=1)
    """With it, a token with a negative advantage costs at most dual_clip |A|, however large its ratio."""


class PPOClip(PolicyLoss):
    """- min(rho A, clip(rho) A); rho = pi / pi_old. With dual clip c, for A < 0: at most - c A.

    pi_old is the sampler, or with `proximal = "recompute"` the learner before the step (decoupled PPO, arXiv
    2505.24298), or between the two (A-3PO, arXiv 2512.06547).
    """

    name = "ppo_clip"
    has_ratio = True
    options_class = PPOClipOptions
    options: PPOClipOptions

    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]."""
        ratios, advantages = tokens.ratios(), tokens.advantages
        low, high = 1.0 - self.options.clip_low, 1.0 + self.options.clip_high
        plain = ratios * advantages
        gains = plain.minimum(ratios.clamp(low, high) * advantages)
        if self.options.dual_clip is not None:
            gains = gains.maximum(self.options.dual_clip * advantages.clamp(max=0.0))
        above = (ratios > high) & (advantages > 0)
        tokens.count("clipped_share", above | ((ratios < low) & (advantages < 0)))
        return -gains
