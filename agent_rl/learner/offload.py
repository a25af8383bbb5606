"""Moves tensors out of a device's memory and back, to make room for the policy when both share one device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


class HostState:
    """Holds on the host the data that `take` has moved there, and knows each tensor's device.

    Only a tensor's data moves; it stays the same object, so a model, its gradients and an optimizer can keep their
    references. Data from a GPU goes to pinned memory, which is copied several times as fast; torch keeps that memory
    for the next time, and rounds the size of each tensor up to a power of two bytes.
    """

    def __init__(self) -> None:
        self._homes: list[tuple[Tensor, torch.device]] = []

    def take(self, tensors: Iterable[Tensor]) -> None:
        """The data of `tensors` is on the host, bit for bit, and their device's memory is free for others."""
        given = list(tensors)
        copies = [_on_host(tensor) for tensor in given]
        _finish_copies(given)
        self._homes += [(tensor, tensor.device) for tensor in given]
        for tensor, copy in zip(given, copies, strict=True):
            tensor.data = copy
        if any(device.type == "cuda" for _, device in self._homes):
            torch.cuda.empty_cache()

    def give_back(self) -> None:
        """All taken tensors are back on their devices, bit for bit; the host holds nothing."""
        homes, self._homes = self._homes, []
        for tensor, device in homes:
            tensor.data = tensor.data.to(device, non_blocking=device.type == "cuda")
        _finish_copies(tensor for tensor, _ in homes)


def training_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    """Parameters with their gradients, buffers, and the optimizer's tensors; each once."""
    for parameter in model.parameters():
        yield parameter
        if parameter.grad is not None:
            yield parameter.grad
    yield from model.buffers()
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))


def _on_host(tensor: Tensor) -> Tensor:
    """A copy of the data with the same strides; complete after `_finish_copies`."""
    on_gpu = tensor.device.type == "cuda"
    host = torch.empty_like(tensor.data, device="cpu", pin_memory=on_gpu)
    return host.copy_(tensor.data, non_blocking=on_gpu)


def _finish_copies(tensors: Iterable[Tensor]) -> None:
    """All copies from or to the GPUs of `tensors` are complete."""
    for device in {tensor.device for tensor in tensors if tensor.device.type == "cuda"}:
        torch.cuda.synchronize(device)
