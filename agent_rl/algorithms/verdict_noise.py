"""Verdicts that are wrong at known rates: what an unreliable judge does to training. For experiments only."""

from __future__ import annotations

import random
from collections.abc import Sequence


def noisy_outcomes(
    outcomes_N: Sequence[float],
    rollouts_N: Sequence[int],
    *,
    false_passes: float,
    false_failures: float,
    seed: int,
    group: int,
) -> list[float]:
    """`outcomes_N` (0 or 1), where a failure has become 1 with probability `false_passes`, and a success 0 with
    probability `false_failures`.

    One draw per rollout decides, and only the seed, the group's index and the rollout's number decide the draw: a
    retry, a resume or another order of arrival changes nothing, and a higher rate flips what a lower one flips.
    """
    draws = [random.Random(f"verdict noise {seed} {group} {rollout}").random() for rollout in rollouts_N]
    return [
        outcome if draw >= (false_failures if outcome else false_passes) else 1.0 - outcome
        for outcome, draw in zip(outcomes_N, draws, strict=True)
    ]
