"""IcePop: tokens whose ratio is out of bounds are masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent_rl.contracts import Correction, LossTokens, PartOptions

if TYPE_CHECKING:
    from torch import Tensor


class IcePopOptions(PartOptions):
    """The ratio's bounds."""

    lowest: float = Field(default=0.5, ge=0)
    highest: float = Field(default=5.0, gt=0)


class IcePop(Correction):
    """w = rho inside [lowest, highest], else 0."""

    name = "icepop"
    options_class = IcePopOptions
    options: IcePopOptions

    def weights(self, ratios: Tensor, tokens: LossTokens) -> Tensor:
        """The weight of each token [n]."""
        kept = (ratios >= self.options.lowest) & (ratios <= self.options.highest)
        tokens.count("masked_share", ~kept)
        return ratios * kept
