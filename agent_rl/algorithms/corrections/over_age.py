"""The over-age mask: tokens that weights of long ago have sampled are not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt

from agent_rl.contracts import Correction, LossTokens, PartOptions

if TYPE_CHECKING:
    from torch import Tensor


class OverAgeOptions(PartOptions):
    """The age in versions beyond which a token is masked; 0 keeps only what the current weights have sampled."""

    max_age: NonNegativeInt = 1


class OverAge(Correction):
    """w = 1 for tokens of an age up to max_age, else 0."""

    name = "over_age"
    options_class = OverAgeOptions
    options: OverAgeOptions

    def weights(self, ratios: Tensor, tokens: LossTokens) -> Tensor:
        """The weight of each token [n]."""
        kept = tokens.ages <= self.options.max_age
        tokens.count("masked_share", ~kept)
        return kept.to(ratios.dtype)
