"""`Learner`: the training side. A batch in; a step's report and a new policy version out."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from agent_rl.contracts.algorithm import LossPlan
from agent_rl.contracts.policy import WeightManifest

Wanted = Literal["logprobs", "entropies"]
"""What `Learner.forward` computes of every token of every row, at the sampling temperature, in nats."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One leaf's tokens after the group's shared prefix; all sequences of equal length T, aligned with `token_ids`.

    A token is trained where `loss_mask` is true. It is predicted at the token before it; the row's first token is
    predicted at the last token of the prefix. `logprobs` and `versions` are the sampler's, and 0 for tokens that were
    not sampled; `advantages` are 0 for tokens that are not trained. `scale` is the aggregation's factor of each token:
    its term of the policy's loss has the factor advantage * scale.

    `proximal_logprobs` are those of the weights before the step, None where they are not needed. `group` and `rollout`
    say whose tokens these are; `leaf` is the leaf's number among the rollout's rows.
    """

    token_ids: Sequence[int]
    loss_mask: Sequence[bool]
    logprobs: Sequence[float]
    versions: Sequence[int]
    advantages: Sequence[float]
    scale: float
    group: int = 0
    rollout: int = 0
    leaf: int = 0
    proximal_logprobs: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class PackedGroup:
    """One group: the ids that all its rows begin with (at least one id), and the rows after these ids."""

    prefix_ids: Sequence[int]
    rows: Sequence[TrainingRow]


@dataclass(frozen=True, slots=True)
class Batch:
    """The data of one step. Rows whose gradient is exactly zero are already dropped, unless the loss needs them."""

    step: int
    groups: Sequence[PackedGroup]

    @property
    def trained_tokens(self) -> int:
        return sum(sum(r.loss_mask) for g in self.groups for r in g.rows)

    def with_proximal(self, logprobs: Sequence[Sequence[Sequence[float]]]) -> Batch:
        """The batch whose rows have `logprobs` [group][row][T] as their proximal ones."""
        groups = [
            replace(group, rows=[replace(row, proximal_logprobs=p) for row, p in zip(group.rows, own, strict=True)])
            for group, own in zip(self.groups, logprobs, strict=True)
        ]
        return replace(self, groups=groups)

    def minibatches(self, count: int, order: int) -> Iterator[Batch]:
        """The batch in up to `count` parts, by groups, drawn by the step and `order`; the batch itself for 1.

        The parts' scales are those of batches of their own, if the parts are equally large: times the number of parts.
        """
        groups = list(self.groups)
        if count == 1 or not groups:
            yield self
            return
        random.Random(f"minibatches {self.step} {order}").shuffle(groups)
        count = min(count, len(groups))
        for part in range(count):
            chosen = groups[part * len(groups) // count : (part + 1) * len(groups) // count]
            scaled = [
                replace(group, rows=[replace(row, scale=row.scale * count) for row in group.rows]) for group in chosen
            ]
            yield Batch(self.step, scaled)


@dataclass(frozen=True, slots=True)
class LossFigures:
    """What `forward_backward` measured: sums over the tokens that took part in the loss. Ratios are pi / mu."""

    tokens: int = 0
    loss: float = 0.0
    ratios: float = 0.0
    largest_ratio: float = 0.0
    differences: float = 0.0
    """Sum of |log pi - log mu|."""
    surprise: float = 0.0
    """Sum of -log mu."""
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many tokens each part of the algorithm counted, by the metric's name."""

    def __add__(self, other: LossFigures) -> LossFigures:
        counts = {
            name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in {**self.counts, **other.counts}
        }
        return LossFigures(
            self.tokens + other.tokens,
            self.loss + other.loss,
            self.ratios + other.ratios,
            max(self.largest_ratio, other.largest_ratio),
            self.differences + other.differences,
            self.surprise + other.surprise,
            counts,
        )


@dataclass(frozen=True, slots=True)
class OptimizerStep:
    """The weights' version, the gradient's norm before clipping, and the learning rate; zeros without a gradient."""

    version: int
    gradient_norm: float = 0.0
    learning_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """The result of one step. Losses in nats; `seconds` of wall clock; ratios are pi_learner / mu_sampler.

    With several optimizer steps, `loss`, `gradient_norm` and `learning_rate` are those of the last one, and the figures
    over tokens are means over all of them. They are None if no token took part in the loss: such a step measures none.
    """

    step: int
    version: int
    loss: float
    gradient_norm: float
    learning_rate: float
    trained_tokens: int
    seconds: float
    mean_ratio: float | None = None
    max_ratio: float | None = None
    mismatch: float | None = None
    """mean |log pi_learner - log mu_sampler| over trained tokens."""
    entropy: float | None = None
    """mean of -log mu over trained tokens: an unbiased estimate of the sampler's entropy."""
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    """The shares of tokens that parts of the algorithm counted, such as "truncated_share"."""


class Learner(ABC):
    """One object that stands for all ranks.

    It starts awake. During sleep, `save` and `publish` work as usual, from the host's memory. All other calls need the
    device: during sleep they raise LearnerError and change nothing.
    """

    @abstractmethod
    async def forward(self, batch: Batch, wanted: Wanted = "logprobs") -> list[list[list[float]]]:
        """The figure `wanted` of every token of every row, trained or not, by group and row; [group][row][T]."""

    @abstractmethod
    async def forward_backward(self, batch: Batch, plan: LossPlan) -> LossFigures:
        """The gradient of the batch's loss has been added to what is there. Raises LearnerError."""

    @abstractmethod
    async def optim_step(self, *, last: bool = True) -> OptimizerStep:
        """The weights have taken a step along the gradient, if there is one, and the gradient is gone.

        With `last` the version has grown by one, even if there was no gradient. Raises LearnerError when the gradient
        is not finite: weights and version are then as before.
        """

    async def step(self, batch: Batch, plan: LossPlan) -> StepReport:
        """The report of one step: `plan.passes` over the batch. The version has grown by one.

        A batch without any gradient changes neither weights nor optimizer (no momentum, no decay).
        """
        started = time.monotonic()
        if plan.proximal == "recompute":
            batch = batch.with_proximal(await self.forward(batch))
        total, figures, done = LossFigures(), LossFigures(), OptimizerStep(0)
        for order in range(plan.passes):
            parts = list(batch.minibatches(plan.minibatches, order))
            for number, part in enumerate(parts, 1):
                figures = await self.forward_backward(part, plan)
                total += figures
                done = await self.optim_step(last=order == plan.passes - 1 and number == len(parts))

        def mean(value: float) -> float | None:
            return value / total.tokens if total.tokens else None

        return StepReport(
            step=batch.step,
            version=done.version,
            loss=figures.loss,
            gradient_norm=done.gradient_norm,
            learning_rate=done.learning_rate,
            trained_tokens=batch.trained_tokens,
            seconds=time.monotonic() - started,
            mean_ratio=mean(total.ratios),
            max_ratio=total.largest_ratio if total.tokens else None,
            mismatch=mean(total.differences),
            entropy=mean(total.surprise),
            shares={name: count / total.tokens for name, count in total.counts.items()},
        )

    @abstractmethod
    async def publish(self, version: int) -> WeightManifest:
        """The manifest of the weights of `version`, ready to be loaded by the policy.

        It stays valid until the second `publish` after this one.
        """

    @abstractmethod
    async def save(self, path: str) -> None:
        """`path` is a folder with the model (Hugging Face format), the optimizer and counters, written atomically."""

    @abstractmethod
    async def load(self, path: str) -> None:
        """The learner has the state that `save` wrote, bit for bit."""

    @abstractmethod
    async def sleep(self) -> None:
        """Weights, gradients and optimizer state are on the host, and the device's memory is free. Idempotent."""

    @abstractmethod
    async def wake(self) -> None:
        """The state is back on the device, bit for bit as it was. Idempotent."""
