"""The policy loss with truncated importance sampling (TIS), and the figures of a step that it collects.

    loss = - sum_t weight_t * sg(min(pi_t / mu_t, cap)) * log pi_t

over the trained tokens t of a batch. The sum is not divided: the weights contain the only denominator. pi is the
learner's probability at the sampling temperature, mu the sampler's, sg stops the gradient. On policy the ratio is 1 and
the gradient is REINFORCE's with the given weights. Truncating bounds the variance, but biases the gradient towards
tokens to which the sampler gave a higher probability. It matters most for MaxRL, whose weights reach N - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

LARGEST_DIFFERENCE = 30.0
"""Upper limit of log pi - log mu, so that no ratio overflows before it is truncated."""


@dataclass(slots=True)
class StepFigures:
    """Sums over the tokens of a step; ratios are pi / mu before truncation."""

    tokens: int = 0
    loss: float = 0.0
    ratios: float = 0.0
    largest_ratio: float = 0.0
    truncated: int = 0
    differences: float = 0.0
    """Sum of |log pi - log mu|."""
    surprise: float = 0.0
    """Sum of -log mu."""

    def mean(self, total: float) -> float | None:
        """`total` divided by the number of tokens; None if there were none."""
        return total / self.tokens if self.tokens else None


def policy_loss(
    logprobs: Tensor, sampler_logprobs: Tensor, weights: Tensor, ratio_cap: float, figures: StepFigures
) -> Tensor:
    """The loss of n tokens, a sum; all tensors are [n]. The tokens are added to `figures`."""
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
