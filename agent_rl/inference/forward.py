"""What the engine asks of a model: a forward pass over many sequences side by side, and new weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from agent_rl.errors import PolicyError
from agent_rl.inference.attention import Attention, Prefill
from agent_rl.inference.kv_cache import Arena, KVShape, Stretch


class Forward(ABC):
    """Computes logits for tokens of many sequences laid side by side."""

    kv_shape: KVShape
    groups: int
    """Query heads per key-value head."""
    vocabulary: int
    context: int | None
    """The most tokens of a sequence; None where the model states none."""

    @abstractmethod
    def __call__(
        self, tokens: torch.Tensor, positions: torch.Tensor, attention: Attention, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Logits [wanted, vocabulary] after the tokens numbered `wanted`. tokens, positions: int64 [tokens]."""

    @abstractmethod
    def prepare(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        """New weights as `swap` takes them, beside the old. Raises PolicyError where names or shapes differ."""

    @abstractmethod
    def swap(self, prepared: Any) -> None:
        """The prepared weights compute from now on."""

    @abstractmethod
    def to(self, device: str | torch.device) -> None:
        """The weights are on `device`."""

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [T, vocabulary] after each of `ids` [T], as one sequence of its own."""
        arena = Arena(self.kv_shape, len(ids) + 2)
        arena.add(Stretch(), 0)
        plan = Attention(
            len(ids), (), [Prefill(arena, 0, 0, np.zeros(1, int), np.array([len(ids)]))], groups=self.groups
        )
        every = torch.arange(len(ids), device=self.kv_shape.device)
        return self(ids.to(self.kv_shape.device), every, plan, every)


def longest(module: PreTrainedModel) -> int | None:
    """The most tokens that `module` and this engine agree on: its context, or less where it attends in windows.

    Within one window the attention is over everything, which is what is computed here. None: no bound is stated.
    """
    config = module.config.get_text_config()
    windows = getattr(config, "layer_types", None)
    slides = any("sliding" in kind or "chunked" in kind for kind in windows) if windows else True
    sizes = [getattr(config, "max_position_embeddings", None)]
    if slides and getattr(config, "use_sliding_window", True):
        sizes += [getattr(config, "sliding_window", None), getattr(config, "attention_chunk_size", None)]
    return min((int(size) for size in sizes if size), default=None)


def match_weights(
    parameters: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """A tensor for each of `parameters`. Raises PolicyError where one is missing or has another shape."""
    missing = [name for name in parameters if name not in tensors]
    if missing:
        raise PolicyError(f"the update lacks {len(missing)} of {len(parameters)} weights, such as {missing[0]!r}")
    matched: dict[str, torch.Tensor] = {}
    for name, parameter in parameters.items():
        tensor = tensors[name]
        if tensor.shape != parameter.shape:
            raise PolicyError(f"the update's {name!r} has shape {list(tensor.shape)}, not {list(parameter.shape)}")
        # A shape alone (a tensor of the meta device) leaves the weights where they are.
        device = tensor.device if parameter.is_meta else parameter.device
        matched[name] = tensor.to(device=device, dtype=parameter.dtype)
    return matched
