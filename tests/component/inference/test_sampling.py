"""Draws against exact enumeration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent_rl.inference.sampling import TokenFilter, fold_key, sample, top, uniforms


def many(n: int, vocabulary: int, seed: int = 0) -> torch.Tensor:
    """Logits [n, vocabulary], all rows the same."""
    return (2 * torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(seed))).repeat(n, 1)


def test_uniforms_are_uniform_and_keyed() -> None:
    keys = np.array([fold_key((0, i)) for i in range(1000)], np.uint64)
    u = uniforms(np.repeat(keys, 20), np.tile(np.arange(20), 1000))
    assert u.min() >= 0
    assert u.max() < 1
    assert len(np.unique(u)) == 20_000
    counts = np.bincount((u * 16).astype(int), minlength=16)
    # 20,000 draws in 16 cells: 1250 each, standard deviation 34
    assert abs(counts - 1250).max() < 5 * 34
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5 / np.sqrt(20_000)
    assert fold_key((1, 2)) != fold_key((2, 1)) != fold_key((1, 2, 0))
    assert fold_key((-1,)) != fold_key((1,))


@pytest.mark.parametrize("vocabulary", [3, 16, 37, 512, 5000])
def test_the_token_is_the_inverse_of_the_distribution_function(vocabulary: int) -> None:
    logits = many(4000, vocabulary)
    u = (np.arange(4000) + 0.5) / 4000
    drawn = sample(logits, u, np.ones(4000))
    p = torch.softmax(logits[0].double(), -1).numpy()
    upper = np.cumsum(p)
    lower = upper - p
    # u lies in the token's interval, up to the rounding of probabilities to 24 bits
    assert np.all(lower[drawn.tokens] <= u + 1e-5)
    assert np.all(u <= upper[drawn.tokens] + 1e-5)
    assert drawn.logprobs == pytest.approx(np.log(p[drawn.tokens]), abs=1e-5)


def test_tokens_without_probability_are_never_drawn() -> None:
    logits = torch.full((3, 100), -torch.inf)
    logits[:, 40] = 0.0
    u = np.array([0.0, 0.5, 1 - 2.0**-52])
    drawn = sample(logits, u, np.ones(3))
    assert drawn.tokens.tolist() == [40, 40, 40]
    assert drawn.logprobs.tolist() == [0.0, 0.0, 0.0]


def test_temperatures_and_filters_are_of_the_row() -> None:
    # p = 1/2, 1/4, 1/8, 1/8
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log().repeat(6, 1)
    temperatures = np.array([0.0, 1.0, 0.5, 1.0, 1.0, 1.0])
    filters = {3: TokenFilter(1.0, 2), 4: TokenFilter(0.7, 0), 5: TokenFilter(0.1, 0)}
    drawn = sample(logits, np.full(6, 0.7), temperatures, filters)
    # row 2: squares 16, 4, 1, 1 of 22; row 3: 2/3, 1/3; row 4: the first two have 0.75 >= 0.7; row 5: only the first
    expected = [[4, 2, 1, 1], [4, 2, 1, 1], [16, 4, 1, 1], [2, 1, 0, 0], [2, 1, 0, 0], [1, 0, 0, 0]]
    p = np.array(expected) / np.sum(expected, axis=1, keepdims=True)
    assert drawn.probabilities.numpy() == pytest.approx(p, abs=1e-6)
    assert drawn.tokens.tolist() == [0, 1, 0, 1, 1, 0]  # the first token is greedy's; the others exceed 0.7
    assert drawn.logprobs == pytest.approx(np.log(p[np.arange(6), drawn.tokens]), abs=1e-6)


def test_top_is_sorted() -> None:
    ranked = top(torch.tensor([[0.2, 0.5, 0.3]]), 2)
    assert [token for token, _ in ranked[0]] == [1, 2]
    assert [value for _, value in ranked[0]] == pytest.approx([np.log(0.5), np.log(0.3)])
