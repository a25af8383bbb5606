"""The exact-likelihood problem: its gradient is that of sampled answers, and with many samples that of the labels."""

from __future__ import annotations

import pytest
import torch

from agent_rl.experiments.gaussian_classes import sample_weights, train_classifier
from agent_rl.experiments.likelihood_config import LikelihoodConfig
from agent_rl.experiments.outcome_tables import advantages_by_count

SMALL = {"classes": 8, "dimensions": 4, "width": 16, "spread": 2.0, "steps": 150, "held_out": 500, "every": 50}


def tables(method: str, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    success, failure = advantages_by_count(method, n)  # pyright: ignore[reportArgumentType]
    return torch.from_numpy(success), torch.from_numpy(failure)


def test_weights_are_the_advantages_of_the_samples_by_class() -> None:
    # N = 4 samples. First input: classes 0, 0, 1, 2 with label 0, so K = 2 and MaxRL's advantages are 1, 1, -1, -1.
    # Second: 1, 1, 1, 2 with label 0: K = 0, no gradient. Third: 2 four times with label 2: all pass, no gradient.
    counts = torch.tensor([[2, 1, 1], [0, 3, 1], [0, 0, 4]], dtype=torch.float64)
    weights = sample_weights(counts, torch.tensor([0, 0, 2]), *tables("maxrl", 4))
    assert weights.tolist() == [[2 / 4, -1 / 4, -1 / 4], [0, 0, 0], [0, 0, 0]]
    # REINFORCE: each success counts 1/N.
    weights = sample_weights(counts, torch.tensor([0, 0, 2]), *tables("reinforce", 4))
    assert weights.tolist() == [[2 / 4, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_with_many_samples_maxrl_has_the_gradient_of_cross_entropy() -> None:
    # counts = N p exactly, as in the limit: K = N p_y, a success has 1/p_y - 1, a failure -1. So
    # w_c = p_c A_c = 1{c = y} - p_c, which is the gradient of log p_y in the logits.
    p = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64)
    weights = sample_weights(64 * p, torch.tensor([1]), *tables("maxrl", 64))
    assert weights[0].tolist() == pytest.approx([-0.5, 0.75, -0.125, -0.125])


def test_runs_are_repeatable_and_maxrl_learns_like_cross_entropy() -> None:
    runs = {
        name: train_classifier(LikelihoodConfig.model_validate({**SMALL, "method": method, "samples": samples}))
        for name, method, samples in (
            ("exact", "cross_entropy", 1),
            ("again", "cross_entropy", 1),
            ("maxrl", "maxrl", 512),
            ("reinforce", "reinforce", 512),
        )
    }
    assert runs["exact"] == runs["again"]
    assert [step for step, _ in runs["exact"].curve] == [0, 50, 100, 150]
    # All begin with the same weights, near the 8 classes' log 8 = 2.08.
    starts = {outcome.curve[0] for outcome in runs.values()}
    assert len(starts) == 1
    assert starts.pop()[1] == pytest.approx(2.08, abs=0.3)
    exact = runs["exact"].negative_log_likelihood
    assert runs["maxrl"].negative_log_likelihood == pytest.approx(exact, rel=0.05)
    assert runs["reinforce"].negative_log_likelihood > 1.2 * exact
