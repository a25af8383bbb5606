"""`PaddedGenerate`: `model.generate` on padded batches, the usual way without an engine. Runs as a role."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from agent_rl.contracts import GenerateRequest


class PaddedGenerate:
    """Cuts the requests into batches in order; each batch is padded on the left and runs until its longest reply ends.

    It does not do a policy's other work: log-probabilities, keyed draws, versions, sessions.
    """

    def __init__(self, model_path: str, *, precision: str, device: str) -> None:
        self._device = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else _cpu(device))
        model = AutoModelForCausalLM.from_pretrained(model_path, dtype=getattr(torch, precision))
        self._model: Any = model.to(self._device).eval()  # pyright: ignore[reportArgumentType]
        self._model.generation_config.eos_token_id = None

    def run(self, requests: Sequence[GenerateRequest], batch: int) -> list[float]:
        """Seconds from the start to the end of each request, which is the end of its batch."""
        started = time.monotonic()
        ends: list[float] = []
        with torch.inference_mode():
            for first in range(0, len(requests), batch):
                part = requests[first : first + batch]
                self._generate(part)
                ends += [time.monotonic() - started] * len(part)
        return ends

    def _generate(self, requests: Sequence[GenerateRequest]) -> None:
        width = max(len(r.prompt_ids) for r in requests)
        length = max(r.sampling.max_tokens for r in requests)
        ids = torch.tensor([[0] * (width - len(r.prompt_ids)) + list(r.prompt_ids) for r in requests])
        mask = torch.tensor([[0] * (width - len(r.prompt_ids)) + [1] * len(r.prompt_ids) for r in requests])
        out = self._model.generate(
            input_ids=ids.to(self._device),
            attention_mask=mask.to(self._device),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=length,
            pad_token_id=0,
        )
        got = out.shape[1] - width  # reading the shape does not wait for the device; the copy below does
        out.cpu()
        if got != length:
            raise RuntimeError(f"generate made {got} tokens of {length}")


def _cpu(device: str) -> str:
    return "cpu" if device == "auto" else device
