"""Masks of whole sequences: by the geometric mean of the ratios, by an outlier, and of unlikely failures (OPSM)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from agent_rl.contracts import Correction, LossTokens, PartOptions

if TYPE_CHECKING:
    from torch import Tensor


class SequenceMaskOptions(PartOptions):
    """Bounds of the geometric mean of a sequence's ratios."""

    lowest: float = Field(default=0.999, ge=0)
    highest: float = Field(default=1.002, gt=0)


class SequenceMask(Correction):
    """w = 1 for the tokens of a sequence whose ratios have a geometric mean within the bounds, else 0."""

    name = "sequence_mask"
    options_class = SequenceMaskOptions
    options: SequenceMaskOptions

    def weights(self, ratios: Tensor, tokens: LossTokens) -> Tensor:
        """The weight of each token [n]."""
        means = tokens.row_means(ratios.log()).exp()
        return _kept(tokens, (means >= self.options.lowest) & (means <= self.options.highest), ratios)


class OutlierMaskOptions(PartOptions):
    """Bounds of each ratio of a sequence."""

    lowest: float = Field(default=0.01, ge=0)
    highest: float = Field(default=100.0, gt=0)


class OutlierMask(Correction):
    """w = 0 for all tokens of a sequence with any ratio out of bounds, else 1."""

    name = "outlier_mask"
    options_class = OutlierMaskOptions
    options: OutlierMaskOptions

    def weights(self, ratios: Tensor, tokens: LossTokens) -> Tensor:
        """The weight of each token [n]."""
        outside = (ratios < self.options.lowest) | (ratios > self.options.highest)
        return _kept(tokens, tokens.row_sums(outside.to(ratios.dtype)) == 0, ratios)


class OPSMOptions(PartOptions):
    """How much less likely, in nats per token, a failed sequence may have become."""

    delta: float = Field(default=0.1, gt=0)


class OPSM(Correction):
    """Off-policy sequence mask (arXiv 2512.02556): w = 0 for a sequence with A < 0 and mean_t(log mu - log pi) > delta,
    else 1."""

    name = "opsm"
    options_class = OPSMOptions
    options: OPSMOptions

    def weights(self, ratios: Tensor, tokens: LossTokens) -> Tensor:
        """The weight of each token [n]."""
        less_likely = tokens.row_means(-ratios.log()) > self.options.delta
        return _kept(tokens, ~(less_likely & (tokens.row_sums(tokens.advantages) < 0)), ratios)


def _kept(tokens: LossTokens, kept: Tensor, ratios: Tensor) -> Tensor:
    tokens.count("masked_share", ~kept)
    return kept.to(ratios.dtype)
