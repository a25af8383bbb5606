"""KL divergence to a reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from agent_rl.contracts import LossTokens, PartOptions, Regularizer

if TYPE_CHECKING:
    from torch import Tensor


class KLOptions(PartOptions):
    """The term's factor and its estimator."""

    coefficient: float = Field(default=0.001, gt=0)
    estimator: Literal["k1", "k2", "k3"] = "k3"


class KL(Regularizer):
    """coefficient * scale * k, an estimate of KL(pi || reference) from sampled tokens; d = log pi - log reference:

        k1 = d    k2 = d^2 / 2    k3 = exp(-d) - 1 + d        (Schulman 2020, "Approximating KL divergence")

    k1 and k3 are unbiased as values. The expected gradient of k1 itself is zero, whatever the divergence is; so k1 has
    here the gradient d grad log pi, that of the divergence for tokens of pi, which k2 has as well. k3's gradient,
    (1 - exp(-d)) grad log pi, is that of KL(reference || pi).
    """

    name = "kl"
    requires = frozenset({"reference"})
    options_class = KLOptions
    options: KLOptions

    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]."""
        difference = tokens.logprobs - tokens.reference_logprobs
        match self.options.estimator:
            case "k1":
                fixed = difference.detach()
                estimate = fixed + fixed * (tokens.logprobs - tokens.logprobs.detach())
            case "k2":
                estimate = difference.square() / 2
            case "k3":
                estimate = (-difference).clamp(max=30.0).exp() - 1.0 + difference
        return self.options.coefficient * tokens.scales * estimate
