"""DPPO's mask by total variation (arXiv 2602.04879)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent_rl.contracts import LossTokens, PartOptions, PolicyLoss

if TYPE_CHECKING:
    from torch import Tensor


class DPPOOptions(PartOptions):
    """How far a token's probability may move: a difference of probabilities, not a ratio."""

    delta: float = Field(default=0.2, gt=0, le=1)


class DPPO(PolicyLoss):
    """- rho A; 0 for a token with A > 0 and pi - pi_old > delta, or A < 0 and pi_old - pi > delta."""

    name = "dppo_tv"
    has_ratio = True
    options_class = DPPOOptions
    options: DPPOOptions

    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]."""
        moved = tokens.logprobs.detach().exp() - tokens.old_logprobs.exp()
        delta, advantages = self.options.delta, tokens.advantages
        masked = ((advantages > 0) & (moved > delta)) | ((advantages < 0) & (moved < -delta))
        tokens.count("clipped_share", masked)
        return -(tokens.ratios() * advantages * ~masked)
