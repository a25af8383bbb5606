"""Entropy bonus, and a target for the entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent_rl.contracts import LossTokens, PartOptions, Regularizer

if TYPE_CHECKING:
    from torch import Tensor


class EntropyOptions(PartOptions):
    """The bonus's factor, and the entropy in nats per token above which there is none."""

    coefficient: float = Field(default=0.001, gt=0)
    target: float | None = Field(default=None, gt=0)


class Entropy(Regularizer):
    """- coefficient * scale * H of each trained token; with a target, of the tokens whose H is below it.

    It costs memory: the gradient goes through the whole distribution, not only through the sampled token.
    """

    name = "entropy"
    requires = frozenset({"entropy"})
    options_class = EntropyOptions
    options: EntropyOptions

    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]."""
        entropies = tokens.entropies
        if self.options.target is not None:
            entropies = entropies.clamp(max=self.options.target)
        return -(self.options.coefficient * tokens.scales * entropies)
