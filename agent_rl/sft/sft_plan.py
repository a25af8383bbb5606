"""`SftPlan`: what is trained and on what; and `BatchSource`, the contract of what gives the batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent_rl.config import SftConfig
from agent_rl.contracts import PackedGroup


class BatchSource(Protocol):
    """Where conversations come from and how they become tokens. It is pickled: its batches are made elsewhere."""

    def batches(self, seed: int, conversations_each: int) -> Iterator[tuple[PackedGroup, ...]]:
        """Endless batches of `conversations_each` conversations, decided by `seed`; what is learned has mask 1."""
        ...


@dataclass(frozen=True, slots=True)
class SftPlan:
    """The model in `model_folder` is trained on what `source` gives; every rank gets a copy of this."""

    model_folder: Path
    source: BatchSource
    seed: int
    settings: SftConfig
