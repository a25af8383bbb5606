"""`Learner`: the training side. A batch in; a step's report and a new policy version out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent_rl.contracts.policy import WeightManifest


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One leaf's tokens after the group's shared prefix; all lists of equal length T, aligned with `token_ids`.

    A token is trained where `loss_mask` is true. It is predicted at the token before it; the row's first token is
    predicted at the last token of the prefix. `logprobs` and `versions` are the sampler's, and 0 for tokens that were
    not sampled. `weight` multiplies the token's term of the loss: advantage / N / number of groups.
    """

    token_ids: Sequence[int]
    loss_mask: Sequence[bool]
    logprobs: Sequence[float]
    versions: Sequence[int]
    advantage: float
    weight: float


@dataclass(frozen=True, slots=True)
class PackedGroup:
    """One group: the ids that all its rows begin with (at least one id), and the rows after these ids."""

    prefix_ids: Sequence[int]
    rows: Sequence[TrainingRow]


@dataclass(frozen=True, slots=True)
class Batch:
    """The data of one optimizer step. Groups whose gradient is exactly zero are already dropped."""

    step: int
    groups: Sequence[PackedGroup]

    @property
    def trained_tokens(self) -> int:
        return sum(sum(r.loss_mask) for g in self.groups for r in g.rows)


@dataclass(frozen=True, slots=True)
class StepReport:
    """The result of one optimizer step. Losses in nats; `seconds` of wall clock; ratios are pi_learner / mu_sampler.

    Figures over trained tokens are None if no token took part in the loss: such a step measures none of them.
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
    truncated_share: float | None = None
    mismatch: float | None = None
    """mean |log pi_learner - log mu_sampler| over trained tokens."""
    entropy: float | None = None
    """mean of -log mu over trained tokens: an unbiased estimate of the sampler's entropy."""
    details: Mapping[str, float] = field(default_factory=dict[str, float])


class Learner(ABC):
    """One object that stands for all ranks.

    It starts awake. During sleep, `save` and `publish` work as usual, from the host's memory. `step`, `logprobs` and
    `load` need the device: during sleep they raise LearnerError and change nothing.
    """

    @abstractmethod
    async def step(self, batch: Batch) -> StepReport:
        """The report of one optimizer step. The version has grown by one, even if the batch has no gradient."""

    @abstractmethod
    async def publish(self, version: int) -> WeightManifest:
        """The manifest of the weights of `version`, ready to be loaded by the policy.

        It stays valid until the second `publish` after this one.
        """

    @abstractmethod
    async def logprobs(self, batch: Batch) -> list[list[list[float]]]:
        """log p of every token of every row, by group and row, at the sampling temperature; [group][row][T]."""

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
