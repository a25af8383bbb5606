"""SAPO, a soft gate in place of a clip (arXiv 2511.20347)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent_rl.contracts import LossTokens, PartOptions, PolicyLoss

if TYPE_CHECKING:
    from torch import Tensor


class SAPOOptions(PartOptions):
    """Temperatures of the gate: the higher, the sooner a token's gradient fades as its ratio leaves 1."""

    tau_positive: float = Field(default=1.0, gt=0)
    tau_negative: float = Field(default=1.05, gt=0)
    """For tokens with a negative advantage."""


class SAPO(PolicyLoss):
    """- A 4 sigmoid(tau (rho - 1)) / tau, tau by the sign of A. At rho = 1 the slope is A: 4 sigmoid'(0) = 1."""

    name = "sapo"
    has_ratio = True
    options_class = SAPOOptions
    options: SAPOOptions

    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]."""
        distances, advantages = tokens.ratios() - 1.0, tokens.advantages
        gains = distances * 0.0
        for tau, chosen in ((self.options.tau_positive, advantages > 0), (self.options.tau_negative, advantages <= 0)):
            gains = gains + (tau * distances).sigmoid() * (4.0 / tau) * (advantages * chosen)
        return -gains
