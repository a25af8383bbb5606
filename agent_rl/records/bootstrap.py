"""A mean over tasks with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent_rl.records.eval_row import Estimate

RESAMPLES = 2000
_CHUNK = 1 << 22
"""Resampled values held in memory at once (32 MiB of indices)."""


def bootstrap_mean(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `values`, one per task, with its 95 % percentile-bootstrap interval over tasks.

    Tasks are resampled, not rollouts, since the rollouts of one task are not independent. If all values are equal, the
    interval has width 0: a bootstrap only sees the variation in the sample. Raises ValueError for no values.
    """
    values_T = np.asarray(values, dtype=np.float64)
    if values_T.size == 0:
        raise ValueError("a mean of no tasks")
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
