"""The unbiased estimator of pass@k, and bootstrap intervals over tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent_rl.records.eval_row import Estimate

RESAMPLES = 2000
_CHUNK = 1 << 22
"""Resampled values held at once (32 MiB of indices)."""


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """The probability that one of `k` samples drawn without replacement from `num_samples` passes.

    1 - C(n-c, k) / C(n, k) with n samples of which c passed (Chen et al. 2021, "Evaluating large language models
    trained on code", section 2.1): unbiased for pass@k for every n >= k. It is 1 where fewer than k failed.

    Raises ValueError for k < 1, k > n, or c outside [0, n].
    """
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} cannot be estimated from {num_samples} samples")
    if not 0 <= num_passed <= num_samples:
        raise ValueError(f"{num_passed} of {num_samples} samples passed")
    failed = num_samples - num_passed
    if failed < k:
        return 1.0
    # C(n-c, k) / C(n, k) as a product of k factors below 1: neither overflows nor cancels.
    terms = 1.0 - k / np.arange(failed + 1, num_samples + 1)
    return float(1.0 - np.prod(terms))


def bootstrap_mean(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """The mean of `values`, one per task, with its 95 % percentile-bootstrap interval over tasks.

    Tasks are what is resampled, since samples of one task are not independent of each other. The interval of equal
    values has no width: a bootstrap sees no variation that the sample does not have. Raises ValueError for no values.
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
