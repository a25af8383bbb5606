"""Linear layers computed by oneDNN on a CPU, forward and backward.

torch computes float32 products with MKL, which leaves half of the vector unit of non-Intel CPUs unused (AMD EPYC,
float32: MKL 100 GFLOP/s per core, oneDNN 180 to 250). The results differ only by rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def use_processor_linear(model: torch.nn.Module) -> None:
    """The linear layers of `model` use oneDNN on a CPU if torch has it; parameter names do not change."""
    if not torch.backends.mkldnn.is_available():
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = ProcessorLinear


class ProcessorLinear(torch.nn.Linear):
    """x W^T + b; by oneDNN for float32 on a CPU, else as in `torch.nn.Linear`."""

    def forward(self, input: Tensor) -> Tensor:
        plain = input.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not plain or input.device.type != "cpu" or input.numel() == 0:
            return super().forward(input)
        product: Tensor = _Product.apply(input, self.weight)  # pyright: ignore[reportAssignmentType]
        return product if self.bias is None else product + self.bias


class _Product(torch.autograd.Function):
    """x [..., k] W^T with W [n, k]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _times(x.flatten(0, -2), weight).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].flatten(0, -2)
        to_x, to_weight = ctx.needs_input_grad
        return (
            _times(grad, weight.t()).view(x.shape) if to_x else None,
            _times(x.flatten(0, -2).t(), grad.t()).t() if to_weight else None,
        )


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b^T for matrices a [n, k] and b [m, k], without gradient; by oneDNN for float32 on a CPU."""
    if a.device.type == "cpu" and a.dtype == b.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return _times(a, b)
    return a @ b.t()


def _times(a: Tensor, b: Tensor) -> Tensor:
    """a b^T for matrices a and b."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
