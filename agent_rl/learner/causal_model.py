"""A decoder-only transformers model that computes shared prefixes once: loading, checking, log-probabilities."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from agent_rl.contracts import PackedGroup, TrainingRow
from agent_rl.errors import ConfigError
from agent_rl.learner.micro_batches import MicroBatch, micro_batches
from agent_rl.learner.processor_linear import use_processor_linear
from agent_rl.learner.token_layout import use_shared_prefix_attention
from agent_rl.learner.token_logprobs import CHUNK_BYTES, TokenFigures, head_figures, token_figures, token_logprobs

transformers.utils.logging.disable_progress_bar()

_PLAIN_HEAD = "_agent_rl_plain_head"

LOGIT_BYTES = 2 * 2**30
"""Upper bound of a micro-batch's logits in float32, for models whose logits cannot be computed in chunks."""
CPU_TOKENS = 4096
"""With more tokens, the activations of a micro-batch do not fit the CPU's caches and everything gets slower."""


def load_model(path: str | Path, device: torch.device, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The causal language model in `path` (a folder or hub name), without dropout, with shared-prefix attention.

    Raises ConfigError when it cannot be loaded, or when that attention changes its results.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(str(path), dtype=dtype)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the model {str(path)!r} cannot be loaded: {error}", key="model.path") from None
    model.to(device).eval()  # pyright: ignore[reportArgumentType]
    use_processor_linear(model)
    with_shared_prefix(model)
    return model


def with_shared_prefix(model: PreTrainedModel) -> None:
    """`model` uses the shared-prefix attention from now on. Raises ConfigError when that changes its results.

    The check runs the model, since a model may have layers that mix tokens without using the attention interface.
    """
    name = type(model).__name__
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        raise ConfigError(f"{name} cannot compute logits at chosen positions (no logits_to_keep)", key="model.path")
    size = _vocabulary(model)
    prefix, rows = [3 % size, 1, 4 % size], [[1, 5 % size], [9 % size, 2 % size, 6 % size]]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        expected = [_plain_logprobs(model, prefix, row) for row in rows]
        _find_head(model, torch.tensor([prefix], device=model.device))
        use_shared_prefix_attention(model)
        group = PackedGroup(
            prefix, [TrainingRow(r, [True] * len(r), [0.0] * len(r), [0] * len(r), [0.0] * len(r), 0.0) for r in rows]
        )
        device, dtype = model.device, model.dtype
        (batch,) = micro_batches([group], max_tokens=64, tokens="all", device=device, dtype=dtype)
        try:
            found = model_logprobs(model, batch, 1.0)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name} cannot be trained with a shared prefix: {error}", key="model.path") from None
    model.train(was_training)
    tolerance = 1e-3 if dtype in (torch.float32, torch.float64) else 5e-2
    difference = (torch.cat(expected) - found).abs().max().item()
    if not difference <= tolerance:
        raise ConfigError(
            f"{name} cannot be trained with a shared prefix: its log-probabilities differ by {difference:.3g}",
            key="model.path",
        )


def _plain_logprobs(model: PreTrainedModel, prefix: list[int], row: list[int]) -> Tensor:
    """log p of every token of `row` after `prefix`, with the model's own attention."""
    ids = torch.tensor([prefix + row], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prefix) - 1 : -1]
    return token_logprobs(logits, ids[0, len(prefix) :])


def model_logprobs(model: PreTrainedModel, batch: MicroBatch, temperature: float) -> Tensor:
    """log p of the predicted tokens of `batch` [n], at `temperature`, with gradient if gradients are enabled."""
    return model_figures(model, batch, temperature).logprobs


def model_figures(
    model: PreTrainedModel,
    batch: MicroBatch,
    temperature: float,
    *,
    entropies: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> TokenFigures:
    """The figures of the predicted tokens of `batch` [n], at `temperature`, with gradient if gradients are enabled.

    Where their logits would take more than `chunk_bytes`, they are computed in chunks, and again backward.
    """
    given = {"input_ids": batch.ids, "position_ids": batch.positions, "use_cache": False, "layout": batch.layout}
    head = _plain_head(model)
    if head is not None and 4 * len(batch.select) * len(head) > chunk_bytes:
        states = model.base_model(**given).last_hidden_state[0, batch.select]
        if torch.is_autocast_enabled(states.device.type):
            kind = torch.get_autocast_dtype(states.device.type)
            states, head = states.to(kind), head.to(kind)
        read = head_figures(states, head, batch.targets, temperature, entropies=entropies, chunk_bytes=chunk_bytes)
    else:
        logits = model(**given, logits_to_keep=batch.select).logits[0]
        read = token_figures(logits, batch.targets, temperature, entropies=entropies)
    if batch.shares is None:
        return read
    return TokenFigures(read.logprobs[batch.shares], None if read.entropies is None else read.entropies[batch.shares])


def _plain_head(model: PreTrainedModel) -> Tensor | None:
    """The weight [vocabulary, width] of the last layer, if logits are its product with the states and nothing else."""
    head = model.get_output_embeddings()
    return head.weight if isinstance(head, torch.nn.Linear) and getattr(model, _PLAIN_HEAD, False) else None


def _find_head(model: PreTrainedModel, ids: Tensor) -> None:
    """Notes on `model` whether its logits are the product of its last layer: some scale or bound them afterwards."""
    head = model.get_output_embeddings()
    plain = False
    if isinstance(head, torch.nn.Linear) and head.bias is None and model.base_model is not model:
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        expected = model(input_ids=ids, use_cache=False).logits
        plain = torch.allclose(head(states), expected, rtol=1e-3, atol=1e-4)
    setattr(model, _PLAIN_HEAD, plain)


def micro_batch_limit(model: PreTrainedModel, asked: int) -> int:
    """Tokens of a micro-batch: `asked`, or fewer where the CPU's caches, or the bound on logits, are too small."""
    limit = asked if _plain_head(model) is not None else min(asked, max(1, LOGIT_BYTES // (4 * _vocabulary(model))))
    return min(limit, CPU_TOKENS) if model.device.type == "cpu" else limit


def _vocabulary(model: PreTrainedModel) -> int:
    """The number of embeddings."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight.shape[0]
