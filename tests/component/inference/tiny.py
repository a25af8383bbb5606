"""Tiny models with random weights, and what plain transformers says about them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, Qwen3Config
from transformers.utils import logging

logging.disable_progress_bar()

Architecture = Literal["llama", "qwen3"]
VOCABULARY = 64


def tiny_model(architecture: Architecture = "llama", *, seed: int = 0, **changes: object) -> PreTrainedModel:
    """2 layers, width 32, a vocabulary of 64; Qwen3 has 4 query heads on 2 key-value heads."""
    options: dict[str, object] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4 if architecture == "llama" else 2,
        "head_dim": 8,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        **changes,
    }
    torch.manual_seed(seed)
    config = LlamaConfig(**options) if architecture == "llama" else Qwen3Config(**options)  # pyright: ignore
    return AutoModelForCausalLM.from_config(config).eval()


def saved(folder: Path, model: PreTrainedModel) -> str:
    """The folder in which `model` lies."""
    model.save_pretrained(folder)
    return str(folder)


def plain_logprobs(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """log p(. | ids[: t + 1]) for each t, [T, vocabulary], by one forward pass without cache."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)


def says(token: int, architecture: Architecture = "llama", **changes: object) -> PreTrainedModel:
    """A model whose likeliest next token is `token`, by 40 nats, after anything.

    The layers add nothing and all embeddings point the same way, that of `token` with twice the length: after the
    norm, which takes the length away, the last hidden state is the same in every context. The output layer is the
    embedding, so that the logits are 40 for every other token and 80 for `token`.
    """
    model = tiny_model(architecture, **changes)
    width = model.config.hidden_size
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(0.0 if "proj" in name else 1.0)
        model.get_input_embeddings().weight[token] = 2.0  # pyright: ignore
        model.get_parameter("model.norm.weight").fill_(40 / width)
    return model
