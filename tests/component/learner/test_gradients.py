"""The shared-prefix computation and the policy loss, against a plain forward pass of each row, in float64."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from agent_rl.contracts import Batch, LossFigures, PackedGroup, TrainingRow
from agent_rl.learner.causal_model import model_logprobs, with_shared_prefix
from agent_rl.learner.micro_batches import micro_batches
from agent_rl.learner.plan_loss import MicroBatchTokens, plan_loss
from agent_rl.testing.contracts.learner_contract import PLAN

from .conftest import ModelMaker, of_tokens, random_batch

CPU = torch.device("cpu")
CAP = 2.0
ARCHITECTURES = ["llama", "llama-gqa", "qwen3"]


def plain_logprobs(model: PreTrainedModel, prefix: list[int], row: list[int], temperature: float) -> Tensor:
    """log p of each token of `row`, by the model's own attention on one unshared, unpadded sequence."""
    ids = torch.tensor([[*prefix, *row]])
    logits = model(input_ids=ids).logits[0, len(prefix) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(-1, torch.tensor(row)[:, None]).squeeze(-1)


def plain_loss(model: PreTrainedModel, batch: Batch, temperature: float = 1.0) -> Tensor:
    """The definition of the loss, token by token."""
    loss = torch.zeros((), dtype=torch.float64)
    for group in batch.groups:
        for row in group.rows:
            logprobs = plain_logprobs(model, list(group.prefix_ids), list(row.token_ids), temperature)
            for t, trained in enumerate(row.loss_mask):
                if trained:
                    ratio = math.exp(logprobs[t].item() - row.logprobs[t])
                    loss = loss - row.advantages[t] * row.scale * min(ratio, CAP) * logprobs[t]
    return loss


def shared_loss(
    model: PreTrainedModel, batch: Batch, temperature: float = 1.0, max_tokens: int = 10_000
) -> tuple[Tensor, LossFigures]:
    """The same by micro-batches over a flat stream."""
    figures = LossFigures()
    loss = torch.zeros((), dtype=torch.float64)
    for micro in micro_batches(batch.groups, max_tokens=max_tokens, tokens="trained", device=CPU, dtype=torch.float64):
        part, measured = plan_loss(PLAN, MicroBatchTokens(micro, model_logprobs(model, micro, temperature), version=0))
        loss, figures = loss + part, figures + measured
    return loss, figures


def gradient(model: PreTrainedModel, loss: Tensor) -> Tensor:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_loss_and_gradient_equal_those_of_plain_rows(
    make_model: ModelMaker, architecture: str, temperature: float
) -> None:
    batch = random_batch(3)
    plain = make_model(architecture)
    shared = make_model(architecture)
    with_shared_prefix(shared)
    expected = plain_loss(plain, batch, temperature)
    found, _ = shared_loss(shared, batch, temperature)
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)
    torch.testing.assert_close(gradient(shared, found), gradient(plain, expected), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("max_tokens", [1, 12, 25, 60])
def test_micro_batches_change_nothing(make_model: ModelMaker, max_tokens: int) -> None:
    # One denominator for the whole batch: however it is cut, the sum of the parts is the sum of the whole.
    batch = random_batch(4)
    model = make_model("llama")
    with_shared_prefix(model)
    whole, _ = shared_loss(model, batch)
    expected = gradient(model, whole)
    cut, figures = shared_loss(model, batch, max_tokens=max_tokens)
    assert figures.tokens == batch.trained_tokens
    torch.testing.assert_close(gradient(model, cut), expected, rtol=1e-9, atol=1e-11)


def test_the_gradient_is_that_of_finite_differences(make_model: ModelMaker) -> None:
    # With every ratio below the cap the gradient is that of - sum weight * pi/mu, whose differences are taken.
    batch = random_batch(5)
    low = [
        PackedGroup(g.prefix_ids, [dataclasses.replace(r, logprobs=[0.0] * len(r.token_ids)) for r in g.rows])
        for g in batch.groups
    ]
    batch = Batch(1, low)
    model = make_model("qwen3")
    with_shared_prefix(model)

    def surrogate() -> float:
        total = 0.0
        with torch.no_grad():
            for micro in micro_batches(batch.groups, max_tokens=999, tokens="trained", device=CPU, dtype=torch.float64):
                total -= (micro.advantages * model_logprobs(model, micro, 1.0).exp()).sum().item()
        return total

    loss, figures = shared_loss(model, batch)
    assert figures.counts == {"truncated_share": 0}
    loss.backward()
    step = 1e-6
    for parameter in list(model.parameters())[:6]:
        at = int(parameter.grad.abs().argmax())
        flat = parameter.data.view(-1)
        original = flat[at].item()
        flat[at] = original + step
        above = surrogate()
        flat[at] = original - step
        below = surrogate()
        flat[at] = original
        difference = (above - below) / (2 * step)
        assert parameter.grad.view(-1)[at].item() == pytest.approx(difference, rel=1e-5, abs=1e-9)


def test_on_policy_the_gradient_is_reinforce(make_model: ModelMaker) -> None:
    model = make_model("llama")
    batch = random_batch(6)
    on_policy: list[PackedGroup] = []
    score = torch.zeros((), dtype=torch.float64)
    for group in batch.groups:
        rows: list[TrainingRow] = []
        for row in group.rows:
            logprobs = plain_logprobs(model, list(group.prefix_ids), list(row.token_ids), 1.0)
            rows.append(dataclasses.replace(row, logprobs=logprobs.tolist()))
            score = score - row.advantages[0] * row.scale * (logprobs * torch.tensor(row.loss_mask)).sum()
        on_policy.append(PackedGroup(group.prefix_ids, rows))
    expected = gradient(model, score)
    with_shared_prefix(model)
    loss, figures = shared_loss(model, Batch(1, on_policy))
    torch.testing.assert_close(gradient(model, loss), expected, rtol=1e-8, atol=1e-10)
    assert figures.ratios / figures.tokens == pytest.approx(1.0, abs=1e-9)
    assert figures.differences / figures.tokens == pytest.approx(0.0, abs=1e-9)
    assert figures.counts == {"truncated_share": 0}


def test_the_ratio_is_truncated_token_by_token() -> None:
    # log pi = log(1/2, 1/4, 1/8), log mu = log(1/2, 1/16, 1/4): ratios 1, 4, 1/2, truncated at 2: 1, 2, 1/2.
    # The loss is -(1 * 1 * log(1/2) - 3 * 2 * log(1/4) + 2 * .5 * log(1/8)) = -(-1 + 12 - 3) log 2 = -8 log 2.
    logprobs = torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64).log().requires_grad_()
    sampler = torch.tensor([0.5, 0.0625, 0.25], dtype=torch.float64).log()
    weights = torch.tensor([1.0, -3.0, 2.0], dtype=torch.float64)
    loss, figures = plan_loss(PLAN, MicroBatchTokens(of_tokens(sampler, weights), logprobs, version=0))
    loss.backward()
    assert loss.item() == pytest.approx(-8 * math.log(2), abs=1e-12)
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-1.0, 6.0, -1.0], abs=1e-12)
    assert figures.counts == {"truncated_share": 1}
    assert figures.largest_ratio == pytest.approx(4.0)
    assert figures.ratios / figures.tokens == pytest.approx((1 + 4 + 0.5) / 3)
    # |log pi - log mu| = 0, 2 log 2, log 2; -log mu = (1 + 4 + 2) log 2.
    assert figures.differences / figures.tokens == pytest.approx(math.log(2))
    assert figures.surprise / figures.tokens == pytest.approx(7 / 3 * math.log(2))


def test_an_enormous_ratio_stays_finite() -> None:
    batch = of_tokens(torch.tensor([-200.0]), torch.tensor([1.0]))
    loss, figures = plan_loss(PLAN, MicroBatchTokens(batch, torch.tensor([-1.0]), version=0))
    assert loss.item() == 2.0
    assert math.isfinite(figures.largest_ratio)


def test_a_plain_model_is_the_expected_one(make_model: ModelMaker) -> None:
    # What the tests above compare with is transformers' own attention.
    model = make_model("llama")
    assert model.config._attn_implementation in ("sdpa", "eager")
    with_shared_prefix(model)
    assert model.config._attn_implementation == "agent_rl_shared_prefix"
