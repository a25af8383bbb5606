"""log p of given tokens from logits. It saves time and memory, since the rest of the softmax is never kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _TokenLogProbability(torch.autograd.Function):
    """log_softmax(logits)[target]; the gradient of a logit is (1{target} - p) times the token's incoming gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        normalizer = logits.logsumexp(-1, keepdim=True)
        ctx.save_for_backward(logits, targets, normalizer)
        return (logits.gather(-1, targets[:, None]) - normalizer).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        logits, targets, normalizer = ctx.saved_tensors
        (grad,) = grads
        result = (logits - normalizer).exp_().mul_(-grad[:, None])
        result.scatter_add_(-1, targets[:, None], grad[:, None])
        return result, None


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """log p [n] of targets [n] under softmax(logits / temperature), with logits [n, vocabulary]; at least float32."""
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    if temperature != 1.0:
        logits = logits / temperature
    result: Tensor = _TokenLogProbability.apply(logits, targets)  # pyright: ignore[reportAssignmentType]
    return result
