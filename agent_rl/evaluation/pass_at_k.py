"""The unbiased estimator of pass@k."""

from __future__ import annotations

import numpy as np


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """The probability that one of `k` samples drawn without replacement from `num_samples` passes.

    1 - C(n-c, k) / C(n, k) with n samples of which c passed (Chen et al. 2021, "Evaluating large language models
    trained on code", section 2.1): unbiased for pass@k for every n >= k. It is 1 if fewer than k samples failed.

    Raises ValueError for k < 1, k > n, or c outside [0, n].
    """
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} cannot be estimated from {num_samples} samples")
    if not 0 <= num_passed <= num_samples:
        raise ValueError(f"{num_passed} of {num_samples} samples passed")
    failed = num_samples - num_passed
    if failed < k:
        return 1.0
    # C(n-c, k) / C(n, k) as a product of factors below 1: there is no overflow and no cancellation.
    terms = 1.0 - k / np.arange(failed + 1, num_samples + 1)
    return float(1.0 - np.prod(terms))
