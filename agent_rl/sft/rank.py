"""`Rank`: the number of one process among those that share the training; and how many processes to use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOST_RANKS = 8
LEAST_PER_RANK = 4
"""The fewest conversations per step for which a rank is worth its process."""


@dataclass(frozen=True, slots=True)
class Rank:
    """One of `world` processes, which find each other through the file `rendezvous`."""

    index: int
    world: int
    threads: int
    rendezvous: Path


def how_many_ranks(batch_size: int) -> int:
    """The number of ranks: one per core, or fewer so that the batch divides evenly and each rank gets enough of it."""
    most = min(os.cpu_count() or 1, MOST_RANKS, max(1, batch_size // LEAST_PER_RANK))
    return next(n for n in range(most, 0, -1) if batch_size % n == 0)
