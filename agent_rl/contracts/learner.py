"""`Learner`: the training side. A batch in; a step's report and a new policy version out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent_rl.contracts.policy import WeightManifest


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One leaf's tokens after the group's shared prefix; all lists of equal length T, aligned with `token_ids`.

    A token is trained where `loss_mask` holds; its prediction is read at the token before it (the last of the prefix
    for the first). `logprobs` and `versions` are the sampler's, and 0 where not sampled. `weight` multiplies the
    token's term of the loss: the trajectory's advantage over the group's N over the number of groups.
    """

    token_ids: Sequence[int]
    loss_mask: Sequence[bool]
    logprobs: Sequence[float]
    versions: Sequence[int]
    advantage: float
    weight: float


@dataclass(frozen=True, slots=True)
class PackedGroup:
    """One group: the ids that all its rows begin with (at least one), and the rows."""

    prefix_ids: Sequence[int]
    rows: Sequence[TrainingRow]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one optimizer step is made of. Groups without any gradient are already left away (exactly, not nearly)."""

    step: int
    groups: Sequence[PackedGroup]

    @property
    def trained_tokens(self) -> int:
        return sum(sum(r.loss_mask) for g in self.groups for r in g.rows)


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one optimizer step did. Losses in nats; `seconds` of the wall clock; ratios are pi_learner / mu_sampler."""

    step: int
    version: int
    loss: float
    gradient_norm: float
    learning_rate: float
    trained_tokens: int
    seconds: float
    mean_ratio: float = 1.0
    max_ratio: float = 1.0
    truncated_share: float = 0.0
    mismatch: float = 0.0
    """mean |log pi_learner - log mu_sampler| over trained tokens."""
    entropy: float = 0.0
    """mean of -log mu over trained tokens: an unbiased estimate of the sampler's entropy."""
    details: Mapping[str, float] = field(default_factory=dict[str, float])


class Learner(ABC):
    """One object in front of all ranks.

    It begins awake. Asleep, `save` and `publish` do what they do awake, from the host's memory; `step`, `logprobs` and
    `load` need the device, and raise LearnerError, after which nothing has changed.
    """

    @abstractmethod
    async def step(self, batch: Batch) -> StepReport:
        """One optimizer step; the version has grown by one, also where the batch holds no gradient."""

    @abstractmethod
    async def publish(self, version: int) -> WeightManifest:
        """The weights of `version` lie where the policy can take them; valid until the publish after the next."""

    @abstractmethod
    async def logprobs(self, batch: Batch) -> list[list[list[float]]]:
        """log p of every token of every row, by group and row, at the sampling temperature; [group][row][T]."""

    @abstractmethod
    async def save(self, path: str) -> None:
        """`path` is a folder with model (Hugging Face format), optimizer and counters. Written atomically."""

    @abstractmethod
    async def load(self, path: str) -> None:
        """The state that `save` wrote, bit for bit."""

    @abstractmethod
    async def sleep(self) -> None:
        """Weights, gradients and optimizer state are on the host, the device's memory is free. Idempotent."""

    @abstractmethod
    async def wake(self) -> None:
        """The state is back on the device, bit for bit as it was. Idempotent."""
