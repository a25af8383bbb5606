"""Truncated importance sampling (TIS), by token or by sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from agent_rl.contracts import Correction, LossTokens, PartOptions

if TYPE_CHECKING:
    from torch import Tensor


class TISOptions(PartOptions):
    """The cap of the ratio, and whose ratio it is."""

    cap: float = Field(default=2.0, gt=0)
    level: Literal["token", "sequence"] = "token"
    """sequence: the product of the ratios of a row's trained tokens weighs each of them."""


class TIS(Correction):
    """w = min(rho, cap)."""

    name = "tis"
    options_class = TISOptions
    options: TISOptions

    def weights(self, ratios: Tensor, tokens: LossTokens) -> Tensor:
        """The weight of each token [n]."""
        if self.options.level == "sequence":
            ratios = tokens.row_sums(ratios.log()).clamp(max=30.0).exp()
        tokens.count("truncated_share", ratios > self.options.cap)
        return ratios.clamp(max=self.options.cap)
