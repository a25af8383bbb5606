"""`Rank`: the place of one process among those that the training is shared out to, and how many there are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOST_RANKS = 8
LEAST_PER_RANK = 4
"""Conversations of a step below which a rank is not worth its process."""


@dataclass(frozen=True, slots=True)
class Rank:
    """One process among `world`, which meet at the file `rendezvous`."""

    index: int
    world: int
    threads: int
    rendezvous: Path


def how_many_ranks(batch_size: int) -> int:
    """One a core, as far as the batch can be shared out evenly and every rank has enough of it."""
    most = min(os.cpu_count() or 1, MOST_RANKS, max(1, batch_size // LEAST_PER_RANK))
    return next(n for n in range(most, 0, -1) if batch_size % n == 0)
