"""CISPO (MiniMax-M1, arXiv 2506.13585)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent_rl.contracts import LossTokens, PartOptions, PolicyLoss

if TYPE_CHECKING:
    from torch import Tensor


class CISPOOptions(PartOptions):
    """Bounds of the ratio itself, not of its distance from 1. (Public code has three conventions under this name.)"""

    lowest_ratio: float = Field(default=0.0, ge=0)
    highest_ratio: float = Field(default=5.0, gt=0)


class CISPO(PolicyLoss):
    """- sg(clip(rho)) A log pi; rho = pi / pi_old. Clipped tokens keep a gradient."""

    name = "cispo"
    has_ratio = True
    options_class = CISPOOptions
    options: CISPOOptions

    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]."""
        ratios = tokens.ratios().detach()
        low, high = self.options.lowest_ratio, self.options.highest_ratio
        tokens.count("clipped_share", (ratios < low) | (ratios > high))
        return -(ratios.clamp(low, high) * tokens.advantages * tokens.logprobs)
