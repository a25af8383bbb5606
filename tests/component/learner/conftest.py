"""Tiny models and batches for the learner's tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from agent_rl.contracts import Batch, PackedGroup, TrainingRow
from agent_rl.learner.micro_batches import MicroBatch

VOCABULARY = 40
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
}
ModelMaker = Callable[[str], PreTrainedModel]


def build_model(architecture: str) -> PreTrainedModel:
    """A model in float64 with random weights: "llama", "llama-gqa" (4 heads, 2 of keys) or "qwen3" (the same)."""
    torch.manual_seed(1)
    match architecture:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=4, tie_word_embeddings=True))
        case "llama-gqa":
            model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2, tie_word_embeddings=False))
        case "qwen3":
            model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, num_key_value_heads=2, tie_word_embeddings=True))
        case _:
            raise ValueError(architecture)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                setattr(module, name, ExactNorm(child.weight, child.variance_epsilon))
    return model.double().eval()


class ExactNorm(torch.nn.Module):
    """transformers' RMSNorm without its detour through float32, so that float64 stays float64."""

    def __init__(self, weight: torch.nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


def random_batch(seed: int, *, groups: int = 3, rows: int = 5, step: int = 1) -> Batch:
    """Groups with prefixes and rows of random lengths; observations in the middle of rows are not trained."""
    draw = random.Random(seed)
    packed: list[PackedGroup] = []
    for _ in range(groups):
        prefix = [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 9))]
        packed.append(PackedGroup(prefix, [_row(draw) for _ in range(rows)]))
    return Batch(step, packed)


def _row(draw: random.Random) -> TrainingRow:
    length = draw.randint(1, 14)
    mask = [draw.random() < 0.7 for _ in range(length)]
    mask[draw.randrange(length)] = True
    return TrainingRow(
        token_ids=[draw.randrange(VOCABULARY) for _ in range(length)],
        loss_mask=mask,
        logprobs=[draw.uniform(-6, -1) if trained else 0.0 for trained in mask],
        versions=[0] * length,
        advantages=[draw.choice([-1.0, -0.5, 0.25, 3.0])] * length,
        scale=1 / 15,
    )


def of_tokens(
    sampler_logprobs: Tensor,
    advantages: Tensor,
    rows: Tensor | None = None,
    versions: Tensor | None = None,
    proximal: Tensor | None = None,
) -> MicroBatch:
    """A micro-batch that knows only what losses see: of one row, unless `rows` says each token's."""
    n = len(advantages)
    zeros, ones = torch.zeros(n, dtype=torch.int64), torch.ones(n, dtype=advantages.dtype)
    nothing: Any = None
    return MicroBatch(
        ids=zeros[None],
        positions=zeros[None],
        layout=nothing,
        select=zeros,
        targets=zeros,
        shares=None,
        sampler_logprobs=sampler_logprobs,
        versions=0 * ones if versions is None else versions,
        advantages=advantages,
        scales=ones,
        rows=zeros if rows is None else rows,
        proximal_logprobs=proximal,
        places=([], [], []),
    )


@pytest.fixture
def make_model() -> ModelMaker:
    return build_model


@pytest.fixture
def model_path(tmp_path: Path) -> str:
    """A folder with the Llama in float32."""
    build_model("llama").float().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture(autouse=True)
def _fresh_torch() -> Iterator[None]:
    """accelerate keeps the precision of its first use for the process, and deterministic mode is one for all."""
    torch.set_num_threads(1)
    yield
    AcceleratorState._reset_state(True)
    torch.use_deterministic_algorithms(False)
