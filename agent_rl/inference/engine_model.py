"""A decoder-only transformers model behind two functions: a forward pass over many sequences, and a swap of weights.

`ModuleForward` runs the module itself, with our attention registered through transformers' attention interface. An
architecture works if it uses that interface and if its other layers treat each token independently. `load_forward`
checks this by computing with both attentions; there is no list of supported names.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping
from typing import Any, Literal

import torch
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from agent_rl.errors import ConfigError
from agent_rl.inference.attention import Attention
from agent_rl.inference.forward import Forward, longest, match_weights
from agent_rl.inference.kv_cache import KVShape
from agent_rl.inference.llama_forward import LeanForward, is_lean

_ATTENTION = "agent_rl_ragged"
ForwardKind = Literal["auto", "module"]
"""auto: `LeanForward` for a Llama-shaped model on the CPU, else the module itself."""
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.3}
"""The largest accepted difference of a log-probability from the module with transformers' own attention."""


class ModuleForward(Forward):
    """The transformers module itself."""

    def __init__(self, module: PreTrainedModel) -> None:
        self.module = module
        self.vocabulary = _vocabulary(module)
        self.context = longest(module)
        self._parameters = dict(module.named_parameters())
        _use(module, _ATTENTION)
        with _Recording() as seen:
            module(input_ids=torch.zeros(1, 2, dtype=torch.long, device=module.device), use_cache=False)
        if not seen.layers:
            raise ConfigError(
                f"{type(module).__name__} does not use transformers' attention interface", key="model.path"
            )
        self.kv_shape = KVShape(max(seen.layers) + 1, seen.kv_heads, seen.head_dim, seen.dtype, module.device)
        self.groups = seen.heads // seen.kv_heads

    def __call__(
        self, tokens: torch.Tensor, positions: torch.Tensor, attention: Attention, wanted: torch.Tensor
    ) -> torch.Tensor:
        _current.attention = attention
        try:
            outputs = self.module(
                input_ids=tokens[None], position_ids=positions[None], use_cache=False, logits_to_keep=wanted
            )
        finally:
            _current.attention = None
        return outputs.logits[0]

    def prepare(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return match_weights(self._parameters, tensors)

    def swap(self, prepared: dict[str, torch.Tensor]) -> None:
        for name, tensor in prepared.items():
            self._parameters[name].data = tensor

    def to(self, device: str | torch.device) -> None:
        self.module.to(device)  # pyright: ignore


def load_forward(path: str, *, precision: str, device: str, kind: ForwardKind = "auto") -> Forward:
    """The model in `path` (a folder or hub name), ready to compute.

    Raises ConfigError if it cannot be loaded, or if our attention and its own give different results.
    """
    place = _place(device)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    module = _load(path, place, torch.float32 if place.type == "cpu" else dtype)
    with torch.inference_mode():
        ids = (torch.arange(1, 24, device=place) * 7919 % _vocabulary(module))[: longest(module)]
        expected = module(input_ids=ids[None], use_cache=False).logits[0].float().log_softmax(-1)
        if kind == "auto" and is_lean(module):
            forward = LeanForward(module, dtype)
            if _difference(forward, ids, expected) <= _TOLERANCE[dtype]:
                return forward
        forward = ModuleForward(module.to(dtype))  # pyright: ignore[reportArgumentType]
        difference = _difference(forward, ids, expected)
    if not difference <= _TOLERANCE[dtype]:
        raise ConfigError(
            f"the transformers engine cannot serve {type(module).__name__}: its log-probabilities differ by up to "
            f"{difference:.2g} from those of the module itself (a layer that mixes tokens without asking the "
            "attention interface?)",
            key="model.path",
        )
    return forward


def _place(device: str) -> torch.device:
    """The device that `device` (auto, cpu, cuda, cuda:1, ...) names. Raises ConfigError if it cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the device {device!r} cannot be used: {reason}", key="policy.device") from None
    return torch.device(device)


def _load(path: str, place: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The module in `path`, with one of transformers' own attentions."""
    logging.disable_progress_bar()
    try:
        module = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager")
    except (OSError, ValueError) as error:
        raise ConfigError(f"the model {path!r} cannot be loaded: {error}", key="model.path") from None
    module.to(place)  # pyright: ignore[reportArgumentType]
    module.eval().requires_grad_(False)
    if "logits_to_keep" not in inspect.signature(module.forward).parameters:
        name = type(module).__name__
        raise ConfigError(f"{name} cannot compute logits at chosen positions (no logits_to_keep)", key="model.path")
    return module


def _difference(forward: Forward, ids: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of a log-probability from `expected` [T, vocabulary]."""
    return (forward.logits(ids).float().log_softmax(-1) - expected).abs().max().item()


def _vocabulary(module: PreTrainedModel) -> int:
    weight = module.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight.shape[0]


class _Current(threading.local):
    """The attention plan of this thread's current pass."""

    attention: Attention | None = None
    recording: _Recording | None = None


_current = _Current()


class _Recording:
    """Records the shape of keys and values in one pass; attention computes nothing in that pass."""

    def __init__(self) -> None:
        self.layers: set[int] = set()
        self.heads = self.kv_heads = self.head_dim = 0
        self.dtype = torch.float32

    def __enter__(self) -> _Recording:
        _current.recording = self
        return self

    def __exit__(self, *exc: object) -> None:
        _current.recording = None

    def see(self, layer: int, query: torch.Tensor, key: torch.Tensor) -> None:
        shape = query.shape[1], key.shape[1], key.shape[3]
        if self.layers and shape != (self.heads, self.kv_heads, self.head_dim):
            raise ConfigError("the transformers engine needs the same heads in every layer", key="model.path")
        self.layers.add(layer)
        self.heads, self.kv_heads, self.head_dim = shape
        self.dtype = key.dtype


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query [1, heads, T, head_dim] in, [1, T, heads, head_dim] out."""
    layer = int(module.layer_idx)  # pyright: ignore
    if key.shape[-1] != value.shape[-1] or any(options.get(n) is not None for n in ("softcap", "s_aux")):
        raise ConfigError(f"the transformers engine does not compute the attention of {type(module).__name__}")
    if _current.recording is not None:
        _current.recording.see(layer, query, key)
        return torch.zeros_like(query).transpose(1, 2), None
    attention = _current.attention
    assert attention is not None
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    out = attention.attend(layer, q, k, v, scaling if scaling is not None else query.shape[-1] ** -0.5)
    return out[None], None


def _use(module: PreTrainedModel, attention: str) -> None:
    """`module` calls the registered function `attention`. Raises ConfigError if it has no such setting."""
    AttentionInterface.register(_ATTENTION, _attend)
    try:
        module.set_attn_implementation(attention)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{type(module).__name__} takes no attention of ours: {error}", key="model.path") from None
