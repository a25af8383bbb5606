"""Log-probabilities and entropies in chunks are those of all logits at once, with their gradients."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from agent_rl.learner import causal_model
from agent_rl.learner.causal_model import CPU_TOKENS, micro_batch_limit, model_figures, with_shared_prefix
from agent_rl.learner.micro_batches import micro_batches
from agent_rl.learner.token_logprobs import TokenFigures, head_figures, token_figures

from .conftest import ModelMaker, random_batch

CPU = torch.device("cpu")


def summed(figures: TokenFigures, entropies: bool) -> Tensor:
    """A loss with another factor for each token, so that gradients of different tokens cannot cancel."""
    factors = torch.linspace(-1, 2, len(figures.logprobs), dtype=figures.logprobs.dtype)
    loss = (factors * figures.logprobs).sum()
    if entropies:
        assert figures.entropies is not None
        loss = loss + (factors.flip(0) * figures.entropies).sum()
    return loss


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("entropies", [False, True])
@pytest.mark.parametrize("chunk_bytes", [1, 4 * 11 * 3, 4 * 11 * 100], ids=["rows of one", "of three", "one chunk"])
def test_a_last_layer_in_chunks_is_the_whole(temperature: float, entropies: bool, chunk_bytes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (7,), generator=generator)
    whole = token_figures(states @ weight.t(), targets, temperature, entropies=entropies)
    expected = torch.autograd.grad(summed(whole, entropies), (states, weight))
    parts = head_figures(states, weight, targets, temperature, entropies=entropies, chunk_bytes=chunk_bytes)
    found = torch.autograd.grad(summed(parts, entropies), (states, weight))
    torch.testing.assert_close(parts.logprobs, whole.logprobs, rtol=1e-12, atol=1e-12)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    if entropies:
        assert parts.entropies is not None and whole.entropies is not None
        torch.testing.assert_close(parts.entropies, whole.entropies, rtol=1e-12, atol=1e-12)


def test_the_entropy_of_equal_logits_is_the_logarithm_of_their_number() -> None:
    found = token_figures(torch.zeros(1, 8, dtype=torch.float64), torch.tensor([3]), 1.0, entropies=True)
    assert found.entropies is not None
    assert (found.logprobs.item(), found.entropies.item()) == pytest.approx((-2.0794415416798357, 2.0794415416798357))


@pytest.mark.parametrize("architecture", ["llama", "llama-gqa", "qwen3"])
@pytest.mark.parametrize("chunk_bytes", [1, 4 * 40 * 7])
def test_a_models_gradient_in_chunks_is_the_whole(make_model: ModelMaker, architecture: str, chunk_bytes: int) -> None:
    model = make_model(architecture)
    with_shared_prefix(model)
    (micro,) = micro_batches(
        random_batch(8).groups, max_tokens=10_000, tokens="trained", device=CPU, dtype=torch.float64
    )

    def gradient(chunk_bytes: int) -> Tensor:
        model.zero_grad(set_to_none=True)
        summed(model_figures(model, micro, 0.9, entropies=True, chunk_bytes=chunk_bytes), entropies=True).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient(10**9)
    torch.testing.assert_close(gradient(chunk_bytes), whole, rtol=1e-9, atol=1e-11)


def test_a_model_that_changes_its_logits_is_computed_whole(
    make_model: ModelMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama")
    plain = model.forward

    def scaled(*args: object, **kwargs: object) -> object:
        output = plain(*args, **kwargs)
        output.logits = 0.5 * output.logits
        return output

    scaled.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
    model.forward = scaled  # type: ignore[method-assign]
    with_shared_prefix(model)
    (micro,) = micro_batches(random_batch(8).groups, max_tokens=999, tokens="trained", device=CPU, dtype=torch.float64)
    assert micro_batch_limit(model, 10**9) == CPU_TOKENS
    monkeypatch.setattr(causal_model, "LOGIT_BYTES", 4 * 40 * 7)  # of 7 tokens, with a vocabulary of 40
    assert micro_batch_limit(model, 10**9) == 7
    whole, chunked = (model_figures(model, micro, 1.0, chunk_bytes=size).logprobs for size in (10**9, 1))
    torch.testing.assert_close(chunked, whole)
