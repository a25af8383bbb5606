"""What the engine needs from a model: a forward pass over many sequences side by side, and a way to swap weights."""

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
    """The most tokens of a sequence; None if the model states no limit."""

    @abstractmethod
    def __call__(
        self, tokens: torch.Tensor, positions: torch.Tensor, attention: Attention, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Logits [wanted, vocabulary] after the tokens numbered `wanted`. tokens, positions: int64 [tokens]."""

    @abstractmethod
    def prepare(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        """New weights, ready for `swap`; the old ones stay. Raises PolicyError if names or shapes differ."""

    @abstractmethod
    def swap(self, prepared: Any) -> None:
        """From now on the model computes with the prepared weights."""

    @abstractmethod
    def to(self, device: str | torch.device) -> None:
        """The weights are on `device`."""

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [T, vocabulary] after each of `ids` [T], which are one whole sequence."""
        arena = Arena(self.kv_shape, len(ids) + 2)
        arena.add(Stretch(), 0)
        plan = Attention(
            len(ids), (), [Prefill(arena, 0, 0, np.zeros(1, int), np.array([len(ids)]))], groups=self.groups
        )
        every = torch.arange(len(ids), device=self.kv_shape.device)
        return self(ids.to(self.kv_shape.device), every, plan, every)


def longest(module: PreTrainedModel) -> int | None:
    """The longest sequence that this engine computes as `module` does: its context, or its attention window if smaller.

    This engine attends to all earlier tokens, which is correct only within one window. None: no limit is stated.
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
    """A tensor for each of `parameters`. Raises PolicyError if one is missing or has another shape."""
    missing = [name for name in parameters if name not in tensors]
    if missing:
        raise PolicyError(f"the update lacks {len(missing)} of {len(parameters)} weights, such as {missing[0]!r}")
    matched: dict[str, torch.Tensor] = {}
    for name, parameter in parameters.items():
        tensor = tensors[name]
        if tensor.shape != parameter.shape:
            raise PolicyError(f"the update's {name!r} has shape {list(tensor.shape)}, not {list(parameter.shape)}")
        # A parameter on the meta device has only a shape: the new weights stay on their device.
        device = tensor.device if parameter.is_meta else parameter.device
        matched[name] = tensor.to(device=device, dtype=parameter.dtype)
    return matched
