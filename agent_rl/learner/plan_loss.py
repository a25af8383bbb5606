"""A micro-batch's loss under a `LossPlan`: the policy's loss times the correction, plus the regularizers.

    loss = sum_t loss(advantage_t * scale_t * sg(w_t), ...) + sum_t regularizers_t

over the trained tokens t of a batch. The sum is not divided: the scales contain the only denominator. pi is the
learner's probability at the sampling temperature, mu the sampler's, sg stops the gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agent_rl.contracts import LossFigures, LossPlan, LossTokens
from agent_rl.contracts.algorithm import Proximal
from agent_rl.learner.micro_batches import MicroBatch

LARGEST_DIFFERENCE = 30.0
"""Upper limit of log pi - log mu, so that no ratio overflows before it is truncated."""


class MicroBatchTokens(LossTokens):
    """The trained tokens of `batch`, whose log-probabilities under the weights of `version` are `logprobs`.

    `reference` [n] and `entropies` [n] are None where no part requires them.
    """

    def __init__(
        self,
        batch: MicroBatch,
        logprobs: Tensor,
        version: int,
        *,
        proximal: Proximal = "sampler",
        reference: Tensor | None = None,
        entropies: Tensor | None = None,
    ) -> None:
        self.logprobs = logprobs
        self.sampler_logprobs = batch.sampler_logprobs
        self.advantages = batch.advantages
        self.scales = batch.scales
        self.ages = version - batch.versions
        self.counts: dict[str, int] = {}
        self._rows = batch.rows
        self._reference = reference
        self._entropies = entropies
        match proximal:
            case "sampler":
                self.old_logprobs = batch.sampler_logprobs
            case "recompute":
                assert batch.proximal_logprobs is not None, "`Learner.step` computes them first"
                self.old_logprobs = batch.proximal_logprobs
            case "interpolate":
                share = self.ages / (self.ages + 1)
                self.old_logprobs = self.sampler_logprobs + share * (logprobs.detach() - self.sampler_logprobs)

    def ratios(self) -> Tensor:
        return (self.logprobs - self.old_logprobs).clamp(max=LARGEST_DIFFERENCE).exp()

    def row_sums(self, values: Tensor) -> Tensor:
        return self._summed(values)[self._rows]

    def row_means(self, values: Tensor) -> Tensor:
        return (self._summed(values) / self._summed(torch.ones_like(values)))[self._rows]

    def _summed(self, values: Tensor) -> Tensor:
        """The sum of each row [rows]."""
        sums = torch.zeros(int(self._rows[-1]) + 1, dtype=values.dtype, device=values.device)
        return sums.index_add(0, self._rows, values)

    def count(self, name: str, chosen: Tensor) -> None:
        self.counts[name] = self.counts.get(name, 0) + int(chosen.sum().item())

    @property
    def reference_logprobs(self) -> Tensor:
        assert self._reference is not None, 'a part that reads it has "reference" in `requires`'
        return self._reference

    @property
    def entropies(self) -> Tensor:
        assert self._entropies is not None, 'a part that reads it has "entropy" in `requires`'
        return self._entropies


def plan_loss(plan: LossPlan, tokens: MicroBatchTokens) -> tuple[Tensor, LossFigures]:
    """The loss of the tokens, a sum, and what was measured on them. Ratios in figures are pi / mu, not truncated."""
    difference = tokens.logprobs.detach() - tokens.sampler_logprobs
    ratios = difference.clamp(max=LARGEST_DIFFERENCE).exp()
    if plan.correction is not None:
        corrected = ratios
        if plan.loss.has_ratio:
            corrected = (tokens.old_logprobs - tokens.sampler_logprobs).clamp(max=LARGEST_DIFFERENCE).exp()
        tokens.advantages = tokens.advantages * plan.correction.weights(corrected, tokens)
    loss = plan.loss.terms(tokens).sum()
    for regularizer in plan.regularizers:
        loss = loss + regularizer.terms(tokens).sum()
    return loss, LossFigures(
        tokens=len(ratios),
        loss=loss.item(),
        ratios=ratios.sum().item(),
        largest_ratio=ratios.max().item(),
        differences=difference.abs().sum().item(),
        surprise=-tokens.sampler_logprobs.sum().item(),
        counts=tokens.counts,
    )
