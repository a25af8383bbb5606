"""Advantages by the number of successes."""

from __future__ import annotations

import numpy as np
import pytest

from agent_rl.experiments.outcome_tables import advantages_by_count


@pytest.mark.parametrize(
    ("method", "success", "failure"),
    [
        ("reinforce", [0, 1, 1], [0, 0, 0]),
        # N/(N-1) (r - rbar) with N = 2: at K = 1, 2 (1 - 1/2) = 1 and 2 (0 - 1/2) = -1.
        ("rloo", [0, 1, 0], [0, -1, 0]),
        # (r - rbar)/rbar: at K = 1, (1 - 1/2)/(1/2) = 1 and -1.
        ("maxrl", [0, 1, 0], [0, -1, 0]),
        # The deviation of (1, 0) with N - 1 is sqrt(1/2): .5/.7071 = .7071.
        ("grpo", [0, 0.5**0.5, 0], [0, -(0.5**0.5), 0]),
    ],
)
def test_two_samples(method: str, success: list[float], failure: list[float]) -> None:
    found = advantages_by_count(method, 2)  # pyright: ignore[reportArgumentType]
    assert np.allclose(found[0], success, atol=1e-5)
    assert np.allclose(found[1], failure, atol=1e-5)


def test_maxrl_of_four() -> None:
    # (r - K/4)/(K/4): a success has 4/K - 1, a failure -1.
    success, failure = advantages_by_count("maxrl", 4)
    assert success.tolist() == pytest.approx([0, 3, 1, 1 / 3, 0])
    assert failure.tolist() == pytest.approx([0, -1, -1, -1, 0])
