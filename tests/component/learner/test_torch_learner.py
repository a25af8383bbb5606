"""`TorchLearner`: steps, publishing, checkpoints."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM

from agent_rl.algorithms.corrections.tis import TIS
from agent_rl.algorithms.losses.policy_gradient import PolicyGradient
from agent_rl.algorithms.losses.ppo_clip import PPOClip
from agent_rl.algorithms.regularizers.entropy import Entropy, EntropyOptions
from agent_rl.algorithms.regularizers.kl import KL, KLOptions
from agent_rl.config import Optimizer
from agent_rl.contracts import Batch, LossPlan, PackedGroup
from agent_rl.errors import ConfigError, LearnerError
from agent_rl.learner import torch_learner
from agent_rl.learner.torch_learner import TorchLearner, make_optimizer, make_schedule
from agent_rl.testing.contracts.learner_contract import PLAN
from agent_rl.weights.shared_memory import SharedMemoryReceiver

from .conftest import random_batch

OPTIMIZER = Optimizer(learning_rate=1e-2, weight_decay=0.1)


def learner(path: str, **options: object) -> TorchLearner:
    return TorchLearner(path, optimizer=OPTIMIZER, device="cpu", **options)  # type: ignore[arg-type]


async def weights(of: TorchLearner) -> dict[str, torch.Tensor]:
    manifest = await of.publish(of.version)
    return SharedMemoryReceiver().load(manifest)


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


async def with_own_logprobs(of: TorchLearner, batch: Batch) -> Batch:
    """The batch as the learner's own policy would have sampled it."""
    found = await of.forward(batch)
    groups = [
        PackedGroup(g.prefix_ids, [dataclasses.replace(r, logprobs=p) for r, p in zip(g.rows, own, strict=True)])
        for g, own in zip(batch.groups, found, strict=True)
    ]
    return Batch(batch.step, groups)


def without_advantages(batch: Batch) -> Batch:
    """The same rows, of which only regularizers have something to say."""
    groups = [
        PackedGroup(g.prefix_ids, [dataclasses.replace(r, advantages=[0.0] * len(r.token_ids)) for r in g.rows])
        for g in batch.groups
    ]
    return Batch(batch.step, groups)


async def test_logprobs_equal_a_plain_forward_pass(model_path: str) -> None:
    batch = random_batch(1)
    found = await learner(model_path, temperature=0.8).forward(batch)
    model = AutoModelForCausalLM.from_pretrained(model_path)
    assert [[len(r.token_ids) for r in g.rows] for g in batch.groups] == [[len(r) for r in g] for g in found]
    for group, own in zip(batch.groups, found, strict=True):
        for row, values in zip(group.rows, own, strict=True):
            ids = torch.tensor([[*group.prefix_ids, *row.token_ids]])
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, len(group.prefix_ids) - 1 : -1] / 0.8
            expected = logits.log_softmax(-1).gather(-1, torch.tensor(row.token_ids)[:, None]).squeeze(-1)
            torch.testing.assert_close(torch.tensor(values), expected, rtol=0, atol=1e-4)


async def test_an_on_policy_step_reports_ratios_of_one(model_path: str) -> None:
    one = learner(model_path, version=4)
    batch = await with_own_logprobs(one, random_batch(2, step=9))
    report = await one.step(batch, PLAN)
    assert (report.step, report.version, report.trained_tokens) == (9, 5, batch.trained_tokens)
    assert report.mean_ratio == pytest.approx(1.0, abs=1e-4)
    assert report.max_ratio == pytest.approx(1.0, abs=1e-4)
    assert report.mismatch == pytest.approx(0.0, abs=1e-4)
    assert report.shares == {"truncated_share": 0.0}
    assert report.learning_rate == OPTIMIZER.learning_rate
    assert report.gradient_norm > 0
    trained = [p for g in batch.groups for r in g.rows for p, m in zip(r.logprobs, r.loss_mask, strict=True) if m]
    assert report.entropy == pytest.approx(-sum(trained) / len(trained), rel=1e-5)


async def test_steps_make_rewarded_tokens_likelier(model_path: str) -> None:
    one = learner(model_path)
    batch = random_batch(3, groups=2, rows=2)
    up = [
        PackedGroup(
            g.prefix_ids, [dataclasses.replace(r, advantages=[1.0] * len(r.token_ids), scale=0.1) for r in g.rows]
        )
        for g in batch.groups
    ]

    async def likelihood() -> float:
        found = await one.forward(Batch(1, up))
        return sum(p * m for g, fs in zip(up, found, strict=True) for r, f in zip(g.rows, fs, strict=True)
                   for p, m in zip(f, r.loss_mask, strict=True))  # fmt: skip

    before = await likelihood()
    for _ in range(5):
        await one.step(await with_own_logprobs(one, Batch(1, up)), PLAN)
    assert await likelihood() > before + 1


async def test_passes_and_minibatches_are_optimizer_steps_of_one_version(model_path: str) -> None:
    one, two = learner(model_path), learner(model_path)
    batch = random_batch(4, groups=4)
    report = await one.step(batch, dataclasses.replace(PLAN, passes=2, minibatches=2))
    assert (report.version, one.version) == (1, 1)
    for order in range(2):
        parts = list(batch.minibatches(2, order))
        assert [len(part.groups) for part in parts] == [2, 2]
        for number, part in enumerate(parts):
            await two.forward_backward(part, PLAN)
            await two.optim_step(last=order == number == 1)
    assert_equal(await weights(one), await weights(two))
    # The order differs between passes and depends on nothing but the step.
    first, second = ([p.groups[0].prefix_ids for p in batch.minibatches(4, order)] for order in (0, 1))
    assert first != second
    assert sorted(map(tuple, first)) == sorted(map(tuple, second))


async def test_gradients_of_parts_add_up_to_those_of_the_batch(model_path: str) -> None:
    one, two = learner(model_path), learner(model_path)
    batch = random_batch(4, groups=4)
    whole = await one.forward_backward(batch, PLAN)
    halves = [await two.forward_backward(Batch(1, part), PLAN) for part in (batch.groups[:2], batch.groups[2:])]
    both = halves[0] + halves[1]
    assert (both.tokens, both.counts, both.largest_ratio) == (whole.tokens, whole.counts, whole.largest_ratio)
    assert both.loss == pytest.approx(whole.loss, rel=1e-5)
    assert (await one.optim_step()).gradient_norm == pytest.approx((await two.optim_step()).gradient_norm, rel=1e-5)


async def test_a_proximal_policy_is_that_before_the_step(model_path: str) -> None:
    one = learner(model_path)
    batch = random_batch(5)
    before = await one.forward(batch)
    plan = LossPlan(PPOClip(), TIS(), passes=2, proximal="recompute")
    report = await one.step(batch, plan)
    # In the first pass every ratio to it is 1, in the second some have left the bounds.
    assert 0 < report.shares["clipped_share"] <= 0.5
    assert await one.forward(batch) != before
    await one.forward_backward(batch.with_proximal(before), plan)
    with pytest.raises(AssertionError, match=r"Learner\.step"):
        await one.forward_backward(batch, plan)


async def test_a_reference_is_the_starting_model(model_path: str) -> None:
    plan = LossPlan(PolicyGradient(), TIS(), (KL(KLOptions(coefficient=1.0, estimator="k2")),))
    one = learner(model_path, reference=True)
    still = without_advantages(random_batch(6))
    # The starting model is where the divergence is 0: no loss, and no gradient.
    assert (await one.forward_backward(still, plan)).loss == pytest.approx(0.0, abs=1e-9)
    assert (await one.optim_step()).gradient_norm == pytest.approx(0.0, abs=1e-6)
    await one.step(random_batch(6), PLAN)
    away = await one.forward_backward(still, plan)
    assert away.loss > 1e-4
    await one.optim_step()
    assert (await one.forward_backward(still, plan)).loss < away.loss
    with pytest.raises(LearnerError, match="was started without a reference"):
        await learner(model_path).forward_backward(still, plan)


async def test_an_entropy_bonus_raises_the_entropy(model_path: str) -> None:
    one = learner(model_path)
    batch = random_batch(7)

    async def entropy() -> float:
        found = await one.forward(batch, "entropies")
        assert all(0 <= h <= math.log(40) + 1e-5 for group in found for row in group for h in row)
        return sum(h for group in found for row in group for h in row)

    before = await entropy()
    await one.step(
        without_advantages(batch), LossPlan(PolicyGradient(), None, (Entropy(EntropyOptions(coefficient=1.0)),))
    )
    assert await entropy() > before


async def test_a_batch_without_groups_is_a_version_but_no_step(model_path: str) -> None:
    one = learner(model_path)
    await one.step(random_batch(1), PLAN)  # so that there is momentum that an update would go on with
    before = await weights(one)
    report = await one.step(Batch(2, ()), PLAN)
    assert (report.version, one.version) == (2, 2)
    assert (report.loss, report.gradient_norm, report.trained_tokens) == (0.0, 0.0, 0)
    # Nothing was measured: an entropy of 0 or a ratio of 1 would be a claim.
    measured = (report.mean_ratio, report.max_ratio, report.mismatch, report.entropy)
    assert measured == (None,) * 4
    assert report.shares == {}
    assert_equal(await weights(one), before)


async def test_a_gradient_that_is_not_finite_is_refused(model_path: str) -> None:
    one = learner(model_path)
    before = await weights(one)
    batch = random_batch(1)
    first = batch.groups[0].rows[0]
    broken = PackedGroup(batch.groups[0].prefix_ids, [dataclasses.replace(first, scale=math.nan)])
    with pytest.raises(LearnerError, match="the gradient's norm is nan: no step is taken"):
        await one.step(Batch(1, [broken]), PLAN)
    assert one.version == 0
    assert_equal(await weights(one), before)
    assert (await one.step(batch, PLAN)).version == 1


async def test_published_weights_are_those_that_the_policy_needs(model_path: str) -> None:
    one = learner(model_path)
    await one.step(random_batch(1), PLAN)
    found = await weights(one)
    names = {name for name, _ in AutoModelForCausalLM.from_pretrained(model_path).named_parameters()}
    assert found.keys() == names
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    with pytest.raises(LearnerError, match="version 7 was to be published, but the weights are of version 1"):
        await one.publish(7)
    await one.close()
    await one.close()


async def test_a_loaded_learner_goes_on_bit_for_bit(model_path: str, tmp_path: Path) -> None:
    one = learner(model_path, seed=1)
    for step in range(3):
        await one.step(random_batch(step), PLAN)
    await one.save(str(tmp_path / "saved"))
    random_after_save = torch.rand(3)
    two = learner(model_path, seed=2)
    await two.load(str(tmp_path / "saved"))
    assert torch.equal(torch.rand(3), random_after_save)
    assert two.version == 3
    for step in range(3, 5):
        first, second = await one.step(random_batch(step), PLAN), await two.step(random_batch(step), PLAN)
        assert dataclasses.replace(first, seconds=0) == dataclasses.replace(second, seconds=0)
    assert_equal(await weights(one), await weights(two))


async def test_a_checkpoint_is_a_model_of_transformers(model_path: str, tmp_path: Path) -> None:
    (Path(model_path) / "tokenizer.json").write_text('{"any": "bytes"}')
    one = learner(model_path)
    await one.step(random_batch(1), PLAN)
    path = tmp_path / "checkpoints" / "step-1"
    await one.save(str(path))
    assert (path / "tokenizer.json").read_text() == '{"any": "bytes"}'
    assert json.loads((path / "learner.json").read_text()) == {"schema_version": 2, "version": 1}
    loaded = dict(AutoModelForCausalLM.from_pretrained(path).named_parameters())
    assert_equal({name: p.detach() for name, p in loaded.items()}, await weights(one))
    assert loaded.keys() == (await weights(one)).keys()


async def test_a_learner_saves_its_tokenizer_after_the_checkpoint_that_it_loaded_is_gone(
    model_path: str, tmp_path: Path
) -> None:
    (Path(model_path) / "tokenizer.json").write_text('{"any": "bytes"}')
    one = learner(model_path)
    await one.save(str(tmp_path / "first"))
    await one.load(str(tmp_path / "first"))
    shutil.rmtree(tmp_path / "first")
    await one.save(str(tmp_path / "second"))
    assert (tmp_path / "second" / "tokenizer.json").read_text() == '{"any": "bytes"}'


async def test_saving_replaces_all_or_nothing(model_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "saved"
    one = learner(model_path)
    await one.save(str(path))
    await one.step(random_batch(1), PLAN)

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(torch_learner.torch, "save", full_disk)
        with pytest.raises(OSError, match="no space left"):
            await one.save(str(path))
    assert json.loads((path / "learner.json").read_text())["version"] == 0
    await one.save(str(path))
    assert json.loads((path / "learner.json").read_text())["version"] == 1
    assert [p.name for p in tmp_path.iterdir() if p.name != "model"] == ["saved"]


async def test_what_is_no_checkpoint_is_refused(model_path: str, tmp_path: Path) -> None:
    one = learner(model_path)
    with pytest.raises(ConfigError, match="is not a learner's checkpoint"):
        await one.load(str(tmp_path))
    await one.save(str(tmp_path / "saved"))
    (tmp_path / "saved" / "learner.json").write_text('{"schema_version": 99}')
    with pytest.raises(ConfigError, match="was written by another version of agent-rl"):
        await one.load(str(tmp_path / "saved"))
    with pytest.raises(ConfigError, match="there is no folder"):
        learner(str(tmp_path / "nowhere"))


async def test_deterministic_steps_are_bit_equal(model_path: str) -> None:
    runs: list[dict[str, torch.Tensor]] = []
    for _ in range(2):
        one = learner(model_path, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        for step in range(3):
            await one.step(random_batch(step), PLAN)
        runs.append(await weights(one))
    assert_equal(*runs)


async def test_half_precision_is_near(model_path: str) -> None:
    batch = random_batch(1)
    exact = await learner(model_path).forward(batch)

    AcceleratorState._reset_state(True)
    near = await learner(model_path, precision="bfloat16").forward(batch)
    flat = [[p for g in found for r in g for p in r] for found in (exact, near)]
    differences = [abs(a - b) for a, b in zip(*flat, strict=True)]
    assert 0 < max(differences) < 0.3


def test_an_unusable_device_is_refused(model_path: str) -> None:
    with pytest.raises(ConfigError, match=r"learner\.device: the device 'nonsense' cannot be used"):
        TorchLearner(model_path, optimizer=OPTIMIZER, device="nonsense")


def rates_of(settings: Optimizer, steps: int) -> list[float]:
    """The learning rates of the first `steps` steps."""
    optimizer = make_optimizer(torch.nn.Linear(1, 1), settings)
    schedule = make_schedule(optimizer, settings)
    rates: list[float] = []
    for _ in range(steps):
        assert len({group["lr"] for group in optimizer.param_groups} | {*schedule.get_last_lr()}) == 1
        rates += schedule.get_last_lr()[:1]
        optimizer.step()
        schedule.step()
    return rates


def test_the_learning_rate_rises_over_the_warmup() -> None:
    settings = Optimizer(learning_rate=0.4, warmup_steps=4)
    assert rates_of(settings, 6) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert rates_of(Optimizer(learning_rate=0.4), 1) == [0.4]
    # After two steps of warm-up it falls by 0.9 * 0.4 / 3 = 0.12 a step, to a tenth of 0.4.
    falling = Optimizer(learning_rate=0.4, warmup_steps=2, decay_steps=3)
    assert rates_of(falling, 7) == pytest.approx([0.2, 0.4, 0.4, 0.28, 0.16, 0.04, 0.04])


@pytest.mark.parametrize(("warmup", "decay"), [(0, 0), (3, 0), (0, 7), (3, 7), (10, 29)])
def test_learning_rates_are_those_of_the_formula_bit_for_bit(warmup: int, decay: int) -> None:
    settings = Optimizer(learning_rate=3e-5, warmup_steps=warmup, decay_steps=decay)
    expected: list[float] = []
    for step in range(50):
        warm = min(1.0, (step + 1) / max(warmup, 1))
        decayed = min(1.0, max(0, step - warmup) / decay) if decay else 0.0
        expected.append(3e-5 * warm * (1.0 - 0.9 * decayed))
    assert rates_of(settings, 50) == expected


async def test_the_learning_rate_goes_on_where_it_was_saved(model_path: str, tmp_path: Path) -> None:
    settings = Optimizer(learning_rate=1e-3, warmup_steps=2, decay_steps=3)

    def made() -> TorchLearner:
        return TorchLearner(model_path, optimizer=settings, device="cpu")

    one, found = made(), list[float]()
    for step in range(6):
        # An empty batch takes no step of the optimizer, and none of the schedule.
        assert (await one.step(Batch(step, ()), PLAN)).learning_rate == 0.0
        found.append((await one.step(random_batch(step), PLAN)).learning_rate)
        await one.save(str(tmp_path / "saved"))
        one = made()
        await one.load(str(tmp_path / "saved"))
    assert found == rates_of(settings, 6)
