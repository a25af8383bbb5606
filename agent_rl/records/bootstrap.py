"""A mean over tasks with its bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agent_rl.records.eval_row import Estimate

RESAMPLES = 2000
_Z = 1.959964
"""The 97.5 % quantile of the normal distribution."""
_CHUNK = 1 << 22
"""Resampled values held in memory at once (32 MiB of indices)."""


def bootstrap_mean(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `values`, one per task, with its 95 % percentile-bootstrap interval over tasks.

    Tasks are resampled, not rollouts, since the rollouts of one task are not independent. If all values are equal, a
    bootstrap sees no variation, and its interval would have width 0. The interval is then Wilson's, of a share of
    tasks: 0 of 80 is 0 [0, 0.046]. No mean of values in [0, 1] varies more than such a share. Raises ValueError for no
    values, and for equal values outside of [0, 1].
    """
    values_T = np.asarray(values, dtype=np.float64)
    if values_T.size == 0:
        raise ValueError("a mean of no tasks")
    first = float(values_T[0])
    if (values_T == first).all():
        return Estimate(first, *wilson(first * values_T.size, values_T.size))
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // values_T.size)
    means = np.concatenate(
        [
            values_T[generator.integers(0, values_T.size, size=(min(rows, resamples - start), values_T.size))].mean(1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(value=float(values_T.mean()), low=float(low), high=float(high))


def wilson(hits: float, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson 1927); (0, 1) if `of` is 0.

    Raises ValueError for hits outside of [0, of].
    """
    if not 0 <= hits <= of:
        raise ValueError(f"{hits} hits of {of}")
    if of == 0:
        return 0.0, 1.0
    share, z2 = hits / of, _Z**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    # At the ends the bounds are exactly 0 and 1; the sums of floats would be slightly off.
    return 0.0 if hits == 0 else middle - half, 1.0 if hits == of else middle + half
