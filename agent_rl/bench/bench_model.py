"""`ModelMaker`: a Qwen3-shaped model with random weights and its tokenizer, made on the spot. Runs as a role."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch

from agent_rl.bench.figures import cpu_name
from agent_rl.config import ScratchModel
from agent_rl.learner.scratch_model import write_scratch_model

WORDS = 6000


class ModelMaker:
    """Makes what the engines are compared on, in a process of its own, since that needs torch."""

    def make(self, folder: str, shape: ScratchModel) -> int:
        """`folder` holds a model of `shape`; its number of parameters. The same shape gives the same model."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_scratch_model(shape, _texts(shape.vocabulary), Path(folder), seed=0)
        from safetensors import safe_open

        with safe_open(str(Path(folder) / "model.safetensors"), framework="pt") as weights:
            return sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118

    def device(self, wanted: str) -> str:
        """The name of the device that `auto`, `cpu` or `cuda` stands for here."""
        if wanted != "cpu" and torch.cuda.is_available():
            return torch.cuda.get_device_name()
        return cpu_name()


def _texts(vocabulary: int) -> Iterator[str]:
    """Lines of made-up words, more different ones than the tokenizer has places, so that it fills them all."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(max(WORDS, 2 * vocabulary))]
    for _ in range(2000):
        yield " ".join(draw.choices(words, k=20))
