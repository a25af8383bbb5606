"""Every registered policy loss, correction and regularizer on plain tensors, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from agent_rl.algorithms.corrections.icepop import IcePop
from agent_rl.algorithms.corrections.over_age import OverAge, OverAgeOptions
from agent_rl.algorithms.corrections.sequence_masks import (
    OPSM,
    OPSMOptions,
    OutlierMask,
    SequenceMask,
    SequenceMaskOptions,
)
from agent_rl.algorithms.corrections.tis import TIS, TISOptions
from agent_rl.algorithms.losses.cispo import CISPO, CISPOOptions
from agent_rl.algorithms.losses.dppo_tv import DPPO
from agent_rl.algorithms.losses.gspo import GSPO, GSPOOptions
from agent_rl.algorithms.losses.policy_gradient import PolicyGradient
from agent_rl.algorithms.losses.ppo_clip import PPOClip, PPOClipOptions
from agent_rl.algorithms.losses.sapo import SAPO, SAPOOptions
from agent_rl.algorithms.regularizers.entropy import Entropy, EntropyOptions
from agent_rl.algorithms.regularizers.kl import KL, KLOptions
from agent_rl.contracts import Correction, LossPlan, LossTokens, PolicyLoss
from agent_rl.learner.plan_loss import MicroBatchTokens, plan_loss
from agent_rl.registry import registered, resolve

from .conftest import of_tokens

LOSSES: list[PolicyLoss] = [
    resolve(name, "agent_rl.losses", key="name")() for name in sorted(registered("agent_rl.losses"))
]
LOSSES.append(PPOClip(PPOClipOptions(clip_low=0.2, clip_high=0.28, dual_clip=3.0)))
# Rows of 3, 1 and 4 tokens; an advantage for each row.
ROWS = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
ADVANTAGES = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)[ROWS]


def draw(seed: int, spread: float) -> tuple[Tensor, Tensor]:
    """log pi and log mu of the tokens; their differences are about `spread`."""
    generator = torch.Generator().manual_seed(seed)
    sampler = -3 * torch.rand(len(ROWS), generator=generator, dtype=torch.float64) - 0.2
    moved = spread * torch.randn(len(ROWS), generator=generator, dtype=torch.float64)
    return (sampler + moved).clamp(max=-0.01), sampler


def tokens_of(logprobs: Tensor, sampler: Tensor, advantages: Tensor = ADVANTAGES, **fields: Any) -> MicroBatchTokens:
    return MicroBatchTokens(of_tokens(sampler, advantages, ROWS[: len(sampler)], **fields), logprobs, version=0)


class FixedRatios(MicroBatchTokens):
    """Tokens whose ratios stay what they were at `at`, as a loss sees them that stops their gradient."""

    def __init__(self, at: MicroBatchTokens, logprobs: Tensor, batch: Any) -> None:
        super().__init__(batch, logprobs, version=0)
        self._fixed = at.ratios().detach()

    def ratios(self) -> Tensor:
        return self._fixed


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("spread", [1e-4, 0.3, 1.5])
def test_the_gradient_is_that_of_finite_differences(loss: PolicyLoss, spread: float) -> None:
    for seed in range(5):
        logprobs, sampler = draw(seed, spread)
        batch = of_tokens(sampler, ADVANTAGES, ROWS)
        at = logprobs.clone().requires_grad_()
        begun = MicroBatchTokens(batch, at, version=0)
        loss.terms(begun).sum().backward()
        assert at.grad is not None

        def value(moved: Tensor, begun: MicroBatchTokens = begun, batch: Any = batch) -> float:
            tokens: LossTokens = MicroBatchTokens(batch, moved, version=0)
            if isinstance(loss, CISPO):
                tokens = FixedRatios(begun, moved, batch)
            return loss.terms(tokens).sum().item()

        for index in range(len(ROWS)):
            step = torch.zeros_like(logprobs)
            step[index] = 1e-7
            difference = (value(logprobs + step) - value(logprobs - step)) / 2e-7
            assert at.grad[index].item() == pytest.approx(difference, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_at_ratio_one_the_gradient_is_reinforces(loss: PolicyLoss) -> None:
    _, sampler = draw(1, 0.0)
    logprobs = sampler.clone().requires_grad_()
    tokens = tokens_of(logprobs, sampler)
    loss.terms(tokens).sum().backward()
    # - A grad log pi, and nothing is clipped.
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, -ADVANTAGES, rtol=1e-12, atol=1e-12)
    assert set(tokens.counts.values()) <= {0}


def terms(loss: PolicyLoss, ratios: list[float], advantages: list[float]) -> list[float]:
    """The loss's terms where the sampler's probability is 1/4 and the learner's its `ratios`-fold."""
    sampler = torch.full((len(ratios),), math.log(0.25), dtype=torch.float64)
    logprobs = sampler + torch.tensor(ratios, dtype=torch.float64).log()
    return loss.terms(tokens_of(logprobs, sampler, torch.tensor(advantages, dtype=torch.float64))).tolist()


def test_the_policy_gradient_by_hand() -> None:
    # - A log pi: pi = 1/2 and 1/8.
    assert terms(PolicyGradient(), [2, 0.5], [3, -1]) == pytest.approx([3 * math.log(2), -3 * math.log(2)])


def test_ppo_clip_by_hand() -> None:
    # 1.5 is clipped at 1.2 where it is rewarded, and not where it is punished; 0.5 the other way round, at 0.8.
    found = terms(PPOClip(), [1.5, 1.5, 0.5, 0.5], [1, -1, 1, -1])
    assert found == pytest.approx([-1.2, 1.5, -0.5, 0.8])
    wide = terms(PPOClip(PPOClipOptions(clip_high=0.28)), [1.5, 1.1], [1, 1])
    assert wide == pytest.approx([-1.28, -1.1])
    # A punished token with ratio 8 costs 8; with dual clip 3, it costs 3.
    dual = PPOClip(PPOClipOptions(dual_clip=3.0))
    assert terms(PPOClip(), [8], [-1]) == pytest.approx([8])
    assert terms(dual, [8, 2, 8], [-1, -1, 1]) == pytest.approx([3, 2, -1.2])


def test_cispo_by_hand() -> None:
    # pi = 8/4 would be no probability; what counts is the ratio: 8 is clipped at 5, log pi = log 2.
    assert terms(CISPO(), [8, 2], [1, 1]) == pytest.approx([-5 * math.log(2), -2 * math.log(0.5)])
    assert terms(CISPO(CISPOOptions(lowest_ratio=0.5)), [0.25], [-1]) == pytest.approx([0.5 * math.log(0.0625)])


def test_gspo_by_hand() -> None:
    # Rows of 3 and 1: ratios 2, 2, 1/4 have the geometric mean 1; 1.1 alone is clipped at 1.0004 if rewarded.
    assert terms(GSPO(), [2, 2, 0.25, 1.1], [1, 1, 1, 1]) == pytest.approx([-1, -1, -1, -1.0004])
    assert terms(GSPO(), [2, 2, 2, 1.1], [-1, -1, -1, -1]) == pytest.approx([2, 2, 2, 1.1])
    assert terms(GSPO(GSPOOptions(clip_low=0.2)), [0.5, 0.5, 0.5], [-1, -1, -1]) == pytest.approx([0.8, 0.8, 0.8])


def test_sapo_by_hand() -> None:
    # At ratio 1 the gate is 4 sigmoid(0) / tau = 2 / tau; at ratio 2 and tau 1 it is 4 / (1 + 1/e).
    assert terms(SAPO(), [1, 1], [1, -1]) == pytest.approx([-2, 2 / 1.05])
    assert terms(SAPO(SAPOOptions(tau_positive=1.0)), [2], [3]) == pytest.approx([-3 * 4 / (1 + math.exp(-1))])


def test_dppo_by_hand() -> None:
    # pi - 1/4 is 1/4 (ratio 2), -1/8 (ratio 1/2), -7/32 (ratio 1/8): beyond 0.2 are the first and the last. They are
    # masked where the advantage pushes them on.
    found = terms(DPPO(), [2, 2, 0.5, 0.125, 0.125], [1, -1, -1, -1, 1])
    assert found == pytest.approx([0, 2, 0.5, 0, -0.125])


def weights(correction: Correction, ratios: list[float], advantages: list[float] | None = None, **fields: Any):
    """The correction's weights of tokens in rows of 3, 1 and 4, and what it counted."""
    sampler = torch.full((len(ratios),), -5.0, dtype=torch.float64)
    given = torch.tensor(ratios, dtype=torch.float64)
    own = torch.tensor(advantages or [1.0] * len(ratios), dtype=torch.float64)
    tokens = tokens_of(sampler + given.log(), sampler, own, **fields)
    return correction.weights(given, tokens).tolist(), tokens.counts


def test_corrections_by_hand() -> None:
    # Rows: (2, 3, 1/2), (1), (1.001, 1, 1, 1).
    ratios = [2.0, 3.0, 0.5, 1.0, 1.001, 1.0, 1.0, 1.0]
    assert weights(TIS(), ratios) == ([2, 2, 0.5, 1, 1.001, 1, 1, 1], {"truncated_share": 1})
    # Products of the rows: 3, 1, 1.001.
    found, counts = weights(TIS(TISOptions(level="sequence", cap=2.5)), ratios)
    assert found == pytest.approx([2.5] * 3 + [1] + [1.001] * 4)
    assert counts == {"truncated_share": 3}
    assert weights(IcePop(), [2, 6, 0.4, 0.5]) == ([2, 0, 0, 0.5], {"masked_share": 2})
    # Geometric means: 3^(1/3), 1, 1.001^(1/4).
    assert weights(SequenceMask(), ratios) == ([0, 0, 0, 1, 1, 1, 1, 1], {"masked_share": 3})
    wide = SequenceMask(SequenceMaskOptions(lowest=0.5, highest=1.5))
    assert weights(wide, ratios)[0] == [1] * 8
    assert weights(OutlierMask(), [2, 200, 1, 1])[0] == [0, 0, 0, 1]
    assert weights(OutlierMask(), [2, 2, 0.001, 1])[0] == [0, 0, 0, 1]


def test_opsm_drops_failures_that_have_become_unlikely() -> None:
    # The mean of log mu - log pi is log 2 = 0.69 in the first row and 0 in the second.
    ratios = [0.5, 0.5, 0.5, 1.0]
    half = OPSM(OPSMOptions(delta=0.5))
    assert weights(half, ratios, [-1, -1, -1, -1]) == ([0, 0, 0, 1], {"masked_share": 3})
    assert weights(half, ratios, [1, 1, 1, 1])[0] == [1, 1, 1, 1]
    assert weights(OPSM(OPSMOptions(delta=0.7)), ratios, [-1, -1, -1, -1])[0] == [1, 1, 1, 1]


def test_over_age_masks_old_tokens() -> None:
    ages = torch.tensor([0.0, -1.0, -2.0, -3.0], dtype=torch.float64)
    assert weights(OverAge(), [3.0] * 4, versions=ages) == ([1, 1, 0, 0], {"masked_share": 2})
    assert weights(OverAge(OverAgeOptions(max_age=0)), [3.0] * 4, versions=ages)[0] == [1, 0, 0, 0]


def test_decoupled_ppo_weighs_by_the_proximal_policy() -> None:
    # mu = 1/8, proximal 1/4, pi = 1/2: the correction is (1/4)/(1/8) = 2, truncated at 1.5; the ratio to the proximal
    # policy is 2, clipped at 1.2: - 1.2 * 1.5 * 3.
    sampler, proximal, logprobs = (torch.tensor([p], dtype=torch.float64).log() for p in (0.125, 0.25, 0.5))
    batch = of_tokens(sampler, torch.tensor([3.0], dtype=torch.float64), proximal=proximal)
    tokens = MicroBatchTokens(batch, logprobs, version=0, proximal="recompute")
    plan = LossPlan(PPOClip(), TIS(TISOptions(cap=1.5)), proximal="recompute")
    loss, figures = plan_loss(plan, tokens)
    assert loss.item() == pytest.approx(-1.2 * 1.5 * 3)
    assert figures.counts == {"truncated_share": 1, "clipped_share": 1}
    assert figures.ratios == pytest.approx(4.0), "of learner to sampler, as always"


def test_the_interpolated_proximal_policy_moves_with_age() -> None:
    # Ages 0, 1 and 3: shares 0, 1/2 and 3/4 of the way from log mu = -4 to log pi = -2.
    sampler = torch.full((3,), -4.0, dtype=torch.float64)
    logprobs = torch.full((3,), -2.0, dtype=torch.float64, requires_grad=True)
    versions = torch.tensor([5.0, 4.0, 2.0], dtype=torch.float64)
    batch = of_tokens(sampler, torch.ones(3, dtype=torch.float64), versions=versions)
    tokens = MicroBatchTokens(batch, logprobs, version=5, proximal="interpolate")
    assert tokens.ages.tolist() == [0, 1, 3]
    assert tokens.old_logprobs.tolist() == pytest.approx([-4, -3, -2.5])
    assert not tokens.old_logprobs.requires_grad


REGULARIZED = torch.tensor([-1.0, -2.0], dtype=torch.float64)
REFERENCE = torch.tensor([-2.0, -1.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("estimator", "values", "slopes"),
    [
        # d = 1 and -1/2.
        ("k1", [1.0, -0.5], [1.0, -0.5]),
        ("k2", [0.5, 0.125], [1.0, -0.5]),
        ("k3", [math.exp(-1) - 1 + 1, math.exp(0.5) - 1 - 0.5], [1 - math.exp(-1), 1 - math.exp(0.5)]),
    ],
)
def test_kl_by_hand(estimator: Any, values: list[float], slopes: list[float]) -> None:
    logprobs = REGULARIZED.clone().requires_grad_()
    batch = of_tokens(REGULARIZED, torch.zeros(2, dtype=torch.float64))
    tokens = MicroBatchTokens(batch, logprobs, version=0, reference=REFERENCE)
    found = KL(KLOptions(coefficient=2.0, estimator=estimator)).terms(tokens)
    assert found.tolist() == pytest.approx([2 * v for v in values])
    found.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([2 * s for s in slopes])


def test_the_entropy_bonus_and_its_target() -> None:
    entropies = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    batch = of_tokens(REGULARIZED, torch.zeros(2, dtype=torch.float64))
    tokens = MicroBatchTokens(batch, REGULARIZED, version=0, entropies=entropies)
    assert Entropy(EntropyOptions(coefficient=0.1)).terms(tokens).tolist() == pytest.approx([-0.05, -0.2])
    Entropy(EntropyOptions(coefficient=0.1, target=1.0)).terms(tokens).sum().backward()
    # Above the target there is no bonus for more.
    assert entropies.grad is not None
    assert entropies.grad.tolist() == pytest.approx([-0.1, 0.0])


def test_a_regularizer_is_added_to_the_loss() -> None:
    batch = of_tokens(REGULARIZED, torch.ones(2, dtype=torch.float64))
    tokens = MicroBatchTokens(batch, REGULARIZED, version=0, reference=REFERENCE)
    plan = LossPlan(PolicyGradient(), None, (KL(KLOptions(coefficient=1.0, estimator="k2")),))
    loss, _ = plan_loss(plan, tokens)
    assert plan.needs == {"reference"}
    # -(-1) - (-2), and 1/2 + 1/8.
    assert loss.item() == pytest.approx(3 + 0.625)


def test_a_plan_multiplies_the_correction_into_the_advantages() -> None:
    # pi / mu = 4 and 1/2, truncated at 2: the loss is -(3 * 2 * log pi_0 - 1 * 1/2 * log pi_1).
    sampler = torch.tensor([-3.0, -1.0], dtype=torch.float64)
    logprobs = sampler + torch.tensor([4.0, 0.5], dtype=torch.float64).log()
    tokens = tokens_of(logprobs, sampler, torch.tensor([3.0, -1.0], dtype=torch.float64))
    loss, figures = plan_loss(LossPlan(PolicyGradient(), TIS()), tokens)
    expected = -(6 * logprobs[0] - 0.5 * logprobs[1])
    assert loss.item() == pytest.approx(expected.item())
    assert (figures.tokens, figures.largest_ratio, figures.counts) == (2, pytest.approx(4.0), {"truncated_share": 1})
