"""The policy gradient with truncated importance sampling, and the figures of a step that come with it.

    loss = - sum_t weight_t * sg(min(pi_t / mu_t, cap)) * log pi_t

over the trained tokens t of a batch, divided by nothing: the weights hold the only denominator. pi is the learner's
probability at the sampling temperature, mu the sampler's, sg stops the gradient. On policy the ratio is 1 and the
gradient is REINFORCE's with the given weights. Truncating keeps the variance bounded, at the price of a bias towards
tokens that the sampler liked better; it matters most for MaxRL, whose weights reach N - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

LARGEST_DIFFERENCE = 30.0
"""Of log pi - log mu, so that no ratio overflows before it is truncated."""


@dataclass(slots=True)
class StepFigures:
    """Sums over the tokens of a step; ratios are pi / mu before truncation."""

    tokens: int = 0
    loss: float = 0.0
    ratios: float = 0.0
    largest_ratio: float = 0.0
    truncated: int = 0
    differences: float = 0.0
    """of |log pi - log mu|"""
    surprise: float = 0.0
    """of -log mu"""

    def mean(self, total: float, otherwise: float = 0.0) -> float:
        """`total` over the tokens, or `otherwise` where there were none."""
        return total / self.tokens if self.tokens else otherwise


def policy_loss(
    logprobs: Tensor, sampler_logprobs: Tensor, weights: Tensor, ratio_cap: float, figures: StepFigures
) -> Tensor:
    """The loss of n tokens, a sum; all tensors [n]. `figures` has grown by them."""
    difference = logprobs.detach() - sampler_logprobs
    ratio = difference.clamp(max=LARGEST_DIFFERENCE).exp()
    loss = -(weights * ratio.clamp(max=ratio_cap) * logprobs).sum()
    figures.tokens += len(ratio)
    figures.loss += loss.item()
    figures.ratios += ratio.sum().item()
    figures.largest_ratio = max(figures.largest_ratio, ratio.max().item())
    figures.truncated += int((ratio > ratio_cap).sum().item())
    figures.differences += difference.abs().sum().item()
    figures.surprise -= sampler_logprobs.sum().item()
    return loss
