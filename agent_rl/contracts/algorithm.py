"""`Algorithm`'s parts: how a group becomes training samples, and what the learner minimizes on them.

    Group ──> AdvantageEstimator ──> TrainingSample ──> Aggregation ──> rows ──> PolicyLoss x Correction + Regularizers

Each part is one class with options of its own, named in `[algorithm]` by a registered short name or as
`package.module:Class`. None of them needs to import torch: losses call methods of the tensors that they are given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agent_rl.config import Section
from agent_rl.registry import class_name, resolve
from agent_rl.vocabulary import Group, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

Requirement = Literal["reference", "entropy"]
"""What a part needs besides the learner's and the sampler's log-probabilities.

reference: those of the starting model, which costs a pass and a second copy of the weights; entropy: of each token's
distribution, which costs memory.
"""
Proximal = Literal["sampler", "recompute", "interpolate"]
"""Where `LossTokens.old_logprobs` come from, the policy that a ratio loss stays close to.

sampler: the sampler's own. recompute: the learner's before the step, by one more pass (decoupled PPO, arXiv
2505.24298). interpolate: between the two by the token's age a, without a pass (A-3PO, arXiv 2512.06547):
log pi_old = log mu + a/(a+1) (sg(log pi) - log mu), the sampler's for a fresh token.
"""


class PartOptions(Section):
    """Options of a part, read strictly: an own part subclasses this and names it as `options_class`."""


class AlgorithmPart(ABC):
    """A part with its options. Losses, corrections and regularizers are sent to the learner's process, also those whose
    class is in a file of the user's: keep nothing else in them that cannot be pickled.
    """

    name: ClassVar[str]
    options_class: ClassVar[type[PartOptions]] = PartOptions
    requires: ClassVar[frozenset[Requirement]] = frozenset()

    def __init__(self, options: Any = None) -> None:
        """`options`: an instance of `options_class`; None for its defaults."""
        self.options: Any = self.options_class() if options is None else options

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name: the other process loads a user's file itself."""
        state = {name: value for name, value in vars(self).items() if name != "options"}
        return _made, (class_name(type(self)), self.options.model_dump(), state)


def _made(name: str, options: dict[str, Any], state: dict[str, Any]) -> AlgorithmPart:
    """The part that was pickled."""
    kind: type[AlgorithmPart] = resolve(name, "agent_rl.algorithms", key="algorithm")
    part = kind(kind.options_class(**options))
    vars(part).update(state)
    return part


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """One rollout with its credit: `advantage` for each of its trained tokens, unless its segment has an own one.

    `segment_advantages`: by index of the trajectory's segments.
    """

    trajectory: Trajectory
    advantage: float
    segment_advantages: Mapping[int, float] | None = None

    def of_segment(self, index: int) -> float:
        """The advantage of the trained tokens of segment `index`."""
        own = self.segment_advantages
        return self.advantage if own is None else own.get(index, self.advantage)

    @property
    def is_zero(self) -> bool:
        """Whether every token's advantage is 0."""
        own = self.segment_advantages
        return self.advantage == 0.0 and (own is None or not any(own.values()))


class AdvantageEstimator(AlgorithmPart):
    """Turns the rewards of one group into advantages. `order` says what it estimates."""

    rewards: ClassVar[Literal["binary", "scalar"]] = "scalar"
    """binary: only outcomes of 0 and 1 may reach it."""
    smallest_group: ClassVar[int] = 2
    """A group with fewer surviving rollouts is dropped. An estimator with a baseline needs two."""

    @abstractmethod
    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """A_i of each of the N surviving rollouts; the gradient is (1/N) sum_i A_i grad log pi(y_i).

        Raises ValueError for N < `smallest_group`, or for a reward that is not of the kind named by `rewards`.
        """

    def order(self, n: int) -> int:
        """The T whose J_T has the expected gradient (see `agent_rl.algorithms`), for N = `n` surviving rollouts.

        0 if the expected gradient is not the gradient of any J_T.
        """
        return 0

    def assign(self, group: Group, rewards_N: Sequence[float]) -> list[TrainingSample]:
        """The samples of `group`, one for each of its trajectories, in their order; `rewards_N` are their rewards.

        Override it for credit within a rollout.
        """
        advantages = self.advantages(rewards_N)
        return [TrainingSample(t, a) for t, a in zip(group.trajectories, advantages, strict=True)]

    def begin_step(self, step: int, steps: int) -> None:
        """Called before each batch: step `step` of `steps`, from 1. For what changes while a run goes on."""

    def finish(self, samples_G_N: list[list[TrainingSample]]) -> list[list[TrainingSample]]:
        """The samples of a whole batch, by group, as they are trained. For what looks at all groups together."""
        return samples_G_N


class Aggregation(AlgorithmPart):
    """Loss aggregation: what the sum over a batch's tokens is divided by."""

    @abstractmethod
    def scales(self, tokens_G_N: Sequence[Sequence[int]]) -> list[list[float]]:
        """The factor of each token's term, by group and rollout, given the rollouts' numbers of trained tokens."""


class LossTokens(ABC):
    """The n trained tokens of a micro-batch, as losses see them. All tensors are [n], float, on the model's device.

    A *sequence* is one row: a leaf of a trajectory with the tokens that are trained in it. Micro-batches hold rows
    whole, so that sums over a sequence are complete.
    """

    logprobs: Tensor
    """log pi, of the weights that are trained; the only tensor with a gradient."""
    sampler_logprobs: Tensor
    """log mu, of the weights that sampled the token (in the engine's arithmetic)."""
    old_logprobs: Tensor
    """log-probabilities of the policy that ratio losses stay close to: the proximal ones, or else the sampler's."""
    advantages: Tensor
    """The advantage times the aggregation's scale times the correction's weight: the token's factor in the loss."""
    scales: Tensor
    """The aggregation's scale, for terms that do not depend on the advantage."""
    ages: Tensor
    """How many versions older than the trained weights those are that sampled the token."""

    @abstractmethod
    def ratios(self) -> Tensor:
        """pi / pi_old of each token, with gradient; the log-difference is bounded, so that it never overflows."""

    @abstractmethod
    def row_sums(self, values: Tensor) -> Tensor:
        """For each token the sum of `values` over its sequence."""

    @abstractmethod
    def row_means(self, values: Tensor) -> Tensor:
        """For each token the mean of `values` over its sequence."""

    @abstractmethod
    def count(self, name: str, chosen: Tensor) -> None:
        """The share of tokens with `chosen` true is a metric of the step, as `name`."""

    @property
    @abstractmethod
    def reference_logprobs(self) -> Tensor:
        """log-probabilities of the reference model; only where `requires` has "reference"."""

    @property
    @abstractmethod
    def entropies(self) -> Tensor:
        """Entropy of each token's distribution in nats, with gradient; only where `requires` has "entropy"."""


class PolicyLoss(AlgorithmPart):
    """The term of the loss that the advantages enter."""

    has_ratio: ClassVar[bool] = False
    """Whether pi / pi_old is in the loss itself. A correction then weighs pi_old / mu, so pi_old must not be mu."""

    @abstractmethod
    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]; their sum is minimized. It must not be divided: `advantages` has the scale.

        At ratio one the gradient is REINFORCE's: -advantages * grad log pi.
        """


class Correction(AlgorithmPart):
    """Importance correction against the sampler."""

    @abstractmethod
    def weights(self, ratios: Tensor, tokens: LossTokens) -> Tensor:
        """The factor of each token [n], without gradient; `ratios` are pi / mu (pi_old / mu for a loss with a ratio).

        `tokens.advantages` is not corrected yet.
        """


class Regularizer(AlgorithmPart):
    """A term that is added to the policy's loss."""

    @abstractmethod
    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n], with `tokens.scales` and the coefficient in it."""


@dataclass(frozen=True, slots=True)
class LossPlan:
    """What the learner minimizes in a step, and in how many optimizer steps.

    `passes` over the batch, each in `minibatches` parts (PPO epochs); all of them together are one version.
    `correction` None: every weight is 1.
    """

    loss: PolicyLoss
    correction: Correction | None = None
    regularizers: tuple[Regularizer, ...] = ()
    passes: int = 1
    minibatches: int = 1
    proximal: Proximal = "sampler"

    @property
    def needs(self) -> frozenset[Requirement]:
        """What the parts need besides log-probabilities."""
        parts: tuple[AlgorithmPart | None, ...] = (self.loss, self.correction, *self.regularizers)
        return frozenset[Requirement]().union(*(part.requires for part in parts if part is not None))


__all__ = [
    "AdvantageEstimator",
    "Aggregation",
    "AlgorithmPart",
    "Correction",
    "LossPlan",
    "LossTokens",
    "Requirement",
    "PartOptions",
    "PolicyLoss",
    "Regularizer",
    "TrainingSample",
]
