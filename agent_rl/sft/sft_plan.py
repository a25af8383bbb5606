"""`SftPlan`: the model to train and its data; and `BatchSource`, the interface of a source of batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent_rl.config import SftConfig
from agent_rl.contracts import PackedGroup


class BatchSource(Protocol):
    """Where conversations come from and how they become tokens. Must be picklable: another process makes batches."""

    def batches(self, seed: int, conversations_each: int) -> Iterator[tuple[PackedGroup, ...]]:
        """Endless batches of `conversations_each` conversations, decided by `seed`; tokens to learn have mask 1."""
        ...


@dataclass(frozen=True, slots=True)
class SftPlan:
    """Trains the model in `model_folder` on the batches of `source`; every rank gets a copy of this plan."""

    model_folder: Path
    source: BatchSource
    seed: int
    settings: SftConfig
