"""`ModelMaker`: makes a Qwen3-shaped model with random weights, and its tokenizer. Runs as a role."""

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
    """Makes the model on which the engines are compared; runs in its own process, since this needs torch."""

    def make(self, folder: str, shape: ScratchModel) -> int:
        """Writes a model of `shape` to `folder`; returns its number of parameters. Equal shapes give equal models."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_scratch_model(shape, _texts(shape.vocabulary), Path(folder), seed=0)
        from safetensors import safe_open

        with safe_open(str(Path(folder) / "model.safetensors"), framework="pt") as weights:
            return sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118

    def device(self, wanted: str) -> str:
        """The name of the device that `auto`, `cpu` or `cuda` means on this machine."""
        if wanted != "cpu" and torch.cuda.is_available():
            return torch.cuda.get_device_name()
        return cpu_name()


def _texts(vocabulary: int) -> Iterator[str]:
    """Lines of made-up words. There are more different words than the vocabulary has tokens, so that it fills up."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(max(WORDS, 2 * vocabulary))]
    for _ in range(2000):
        yield " ".join(draw.choices(words, k=20))
