"""What every `Learner` must do. A module that imports these functions and has a fixture `subject` runs them.

Only ids below `LearnerSubject.vocabulary` are used.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent_rl.algorithms.corrections.tis import TIS
from agent_rl.algorithms.losses.policy_gradient import PolicyGradient
from agent_rl.contracts import Batch, Learner, LossPlan, PackedGroup, TrainingRow, WeightManifest
from agent_rl.errors import AgentRLError, LearnerError

PLAN = LossPlan(PolicyGradient(), TIS())
"""The policy gradient with truncated importance sampling."""


@dataclass(frozen=True, slots=True)
class LearnerSubject:
    """A learner that has just started at version 0, and a reader: manifest -> tensor name -> bytes."""

    learner: Learner
    read: Callable[[WeightManifest], dict[str, bytes]]
    folder: Path
    vocabulary: int = 40


def batch(subject: LearnerSubject, seed: int, *, weight: float | None = None) -> Batch:
    """Two groups of four rows of random tokens from another sampler, with weights of both signs."""
    draw = random.Random(seed)
    groups: list[PackedGroup] = []
    for _ in range(2):
        rows: list[TrainingRow] = []
        for number in range(4):
            length = draw.randint(1, 9)
            ids = [draw.randrange(subject.vocabulary) for _ in range(length)]
            mask = [t == 0 or draw.random() < 0.7 for t in range(length)]
            logprobs = [draw.uniform(-5, -2) if trained else 0.0 for trained in mask]
            own = weight if weight is not None else (0.3 if number == 0 else -0.1) / 8
            rows.append(TrainingRow(ids, mask, logprobs, [0] * length, [own * 8 * trained for trained in mask], 1 / 8))
        groups.append(PackedGroup([draw.randrange(subject.vocabulary) for _ in range(3)], rows))
    return Batch(seed, groups)


async def as_sampled(subject: LearnerSubject, off_policy: Batch) -> Batch:
    """The batch with the learner's own log-probabilities."""
    found = await subject.learner.forward(off_policy)
    groups = [
        PackedGroup(g.prefix_ids, [dataclasses.replace(r, logprobs=p) for r, p in zip(g.rows, own, strict=True)])
        for g, own in zip(off_policy.groups, found, strict=True)
    ]
    return Batch(off_policy.step, groups)


async def weights(subject: LearnerSubject, version: int) -> dict[str, bytes]:
    return subject.read(await subject.learner.publish(version))


async def test_every_token_has_a_log_probability(subject: LearnerSubject) -> None:
    given = batch(subject, 1)
    found = await subject.learner.forward(given)
    assert [[len(r) for r in g] for g in found] == [[len(r.token_ids) for r in g.rows] for g in given.groups]
    assert all(math.isfinite(p) and p <= 1e-6 for g in found for r in g for p in r)


async def test_log_probabilities_do_not_depend_on_the_company(subject: LearnerSubject) -> None:
    given = batch(subject, 2)
    together = await subject.learner.forward(given)
    for index, group in enumerate(given.groups):
        for number, row in enumerate(group.rows):
            ((alone,),) = await subject.learner.forward(Batch(1, [PackedGroup(group.prefix_ids, [row])]))
            assert alone == pytest.approx(together[index][number], abs=1e-4)


async def test_a_step_is_a_version_and_changes_the_weights(subject: LearnerSubject) -> None:
    before = await weights(subject, 0)
    given = batch(subject, 7)
    report = await subject.learner.step(given, PLAN)
    assert (report.step, report.version, report.trained_tokens) == (7, 1, given.trained_tokens)
    assert report.gradient_norm > 0
    assert report.seconds > 0
    after = await weights(subject, 1)
    assert before.keys() == after.keys()
    assert before != after


async def test_a_batch_without_groups_is_a_version_too(subject: LearnerSubject) -> None:
    before = await weights(subject, 0)
    report = await subject.learner.step(Batch(1, ()), PLAN)
    assert (report.version, report.trained_tokens) == (1, 0)
    assert await weights(subject, 1) == before


async def test_on_policy_nothing_is_truncated(subject: LearnerSubject) -> None:
    report = await subject.learner.step(await as_sampled(subject, batch(subject, 3)), PLAN)
    assert report.mean_ratio == pytest.approx(1.0, abs=1e-3)
    assert report.max_ratio == pytest.approx(1.0, abs=1e-3)
    assert report.mismatch == pytest.approx(0.0, abs=1e-3)
    assert report.shares["truncated_share"] == 0.0


async def test_off_policy_is_reported(subject: LearnerSubject) -> None:
    given = await as_sampled(subject, batch(subject, 4))
    # Every token's probability is e^3 = 20 times higher for the learner than for the sampler: above any sensible cap.
    shifted = [
        PackedGroup(g.prefix_ids, [dataclasses.replace(r, logprobs=[p - 3.0 for p in r.logprobs]) for r in g.rows])
        for g in given.groups
    ]
    report = await subject.learner.step(Batch(1, shifted), PLAN)
    assert report.mean_ratio == pytest.approx(math.exp(3), rel=1e-3)
    assert report.mismatch == pytest.approx(3.0, rel=1e-3)
    assert report.shares["truncated_share"] == 1.0


async def test_the_weights_sign_decides_the_direction(subject: LearnerSubject) -> None:
    for sign, seed in ((1.0, 5), (-1.0, 6)):
        given = batch(subject, seed, weight=sign / 8)

        async def likelihood(given: Batch = given) -> float:
            found = await subject.learner.forward(given)
            rows = [r for g in given.groups for r in g.rows]
            values = [v for g in found for v in g]
            pairs = zip(rows, values, strict=True)
            return sum(p for r, v in pairs for p, m in zip(v, r.loss_mask, strict=True) if m)

        before = await likelihood()
        await subject.learner.step(await as_sampled(subject, given), PLAN)
        assert (await likelihood() - before) * sign > 0


async def test_only_the_current_version_can_be_published(subject: LearnerSubject) -> None:
    with pytest.raises(LearnerError, match="version 3 was to be published"):
        await subject.learner.publish(3)


async def test_a_manifest_is_valid_until_the_publish_after_the_next(subject: LearnerSubject) -> None:
    first = await subject.learner.publish(0)
    held = subject.read(first)
    await subject.learner.step(batch(subject, 1), PLAN)
    await subject.learner.publish(1)
    assert subject.read(first) == held
    await subject.learner.step(batch(subject, 2), PLAN)
    await subject.learner.publish(2)
    with pytest.raises(AgentRLError):
        subject.read(first)


async def test_what_was_saved_comes_back_bit_for_bit(subject: LearnerSubject) -> None:
    path = subject.folder / "checkpoints" / "1"
    await subject.learner.step(batch(subject, 1), PLAN)
    await subject.learner.save(str(path))
    saved = await weights(subject, 1)
    ahead = [await subject.learner.step(batch(subject, seed), PLAN) for seed in (2, 3)]
    there = await weights(subject, 3)
    assert there != saved
    await subject.learner.load(str(path))
    assert await weights(subject, 1) == saved
    again = [await subject.learner.step(batch(subject, seed), PLAN) for seed in (2, 3)]
    assert [dataclasses.replace(r, seconds=0) for r in again] == [dataclasses.replace(r, seconds=0) for r in ahead]
    assert await weights(subject, 3) == there


async def test_saving_over_a_checkpoint_replaces_it(subject: LearnerSubject) -> None:
    path = subject.folder / "checkpoint"
    await subject.learner.save(str(path))
    await subject.learner.step(batch(subject, 1), PLAN)
    held = await weights(subject, 1)
    await subject.learner.save(str(path))
    await subject.learner.step(batch(subject, 2), PLAN)
    await subject.learner.load(str(path))
    assert await weights(subject, 1) == held
    assert [p.name for p in subject.folder.iterdir()] == ["checkpoint"]


async def test_sleep_and_wake_change_nothing(subject: LearnerSubject) -> None:
    """A learner that has slept takes the same steps as one that has not, bit for bit: weights, momentum, counters."""
    path = str(subject.folder / "checkpoint")
    await subject.learner.step(batch(subject, 1), PLAN)
    await subject.learner.save(path)
    undisturbed = [await subject.learner.step(batch(subject, seed), PLAN) for seed in (2, 3)]
    expected = await weights(subject, 3)
    await subject.learner.load(path)
    for seed, report in zip((2, 3), undisturbed, strict=True):
        await subject.learner.sleep()
        await subject.learner.wake()
        after_sleep = await subject.learner.step(batch(subject, seed), PLAN)
        assert dataclasses.replace(after_sleep, seconds=0) == dataclasses.replace(report, seconds=0)
    assert await weights(subject, 3) == expected


async def test_what_needs_the_device_is_refused_asleep(subject: LearnerSubject) -> None:
    path = str(subject.folder / "checkpoint")
    await subject.learner.save(path)
    before = await weights(subject, 0)
    await subject.learner.sleep()
    try:
        for call in (
            lambda: subject.learner.step(batch(subject, 1), PLAN),
            lambda: subject.learner.forward(batch(subject, 1)),
            lambda: subject.learner.load(path),
        ):
            with pytest.raises(LearnerError, match="the learner is asleep"):
                await call()
    finally:
        await subject.learner.wake()
    assert await weights(subject, 0) == before
    assert (await subject.learner.step(batch(subject, 1), PLAN)).version == 1


async def test_asleep_it_saves_and_publishes_what_it_does_awake(subject: LearnerSubject) -> None:
    path = subject.folder / "checkpoint"
    await subject.learner.step(batch(subject, 1), PLAN)
    held = await weights(subject, 1)
    await subject.learner.sleep()
    assert await weights(subject, 1) == held
    await subject.learner.save(str(path))
    await subject.learner.wake()
    ahead = await subject.learner.step(batch(subject, 2), PLAN)
    there = await weights(subject, 2)
    await subject.learner.load(str(path))
    assert await weights(subject, 1) == held
    again = await subject.learner.step(batch(subject, 2), PLAN)
    assert dataclasses.replace(again, seconds=0) == dataclasses.replace(ahead, seconds=0)
    assert await weights(subject, 2) == there


async def test_sleep_and_wake_are_idempotent(subject: LearnerSubject) -> None:
    held = await weights(subject, 0)
    await subject.learner.wake()
    await subject.learner.sleep()
    await subject.learner.sleep()
    await subject.learner.wake()
    await subject.learner.wake()
    assert await weights(subject, 0) == held
    assert (await subject.learner.step(batch(subject, 1), PLAN)).version == 1
