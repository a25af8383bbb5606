"""`Algorithm`: the parts that `[algorithm]` names, put together and checked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from agent_rl.algorithms.rewards.weighted_sum import WeightedSum
from agent_rl.config import Part, RunConfig, WeightedPart, config_error
from agent_rl.contracts import (
    AdvantageEstimator,
    Aggregation,
    AlgorithmPart,
    Correction,
    LossPlan,
    PolicyLoss,
    Regularizer,
    RewardPart,
    RolloutReward,
    TrainingSample,
)
from agent_rl.errors import ConfigError
from agent_rl.registry import resolve
from agent_rl.vocabulary import Group

PartT = TypeVar("PartT", bound=AlgorithmPart)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How groups become training samples, how these are aggregated, and what the learner minimizes on them.

    `shuffle_seed`: for the shuffled-reward control, the run's seed; None otherwise. `steps`: of the whole run.
    """

    reward: WeightedSum
    estimator: AdvantageEstimator
    aggregation: Aggregation
    plan: LossPlan
    steps: int = 1
    shuffle_seed: int | None = None

    def line(self, size: int) -> str:
        """What is trained, for groups of `size`, as one line for people."""
        order, plan = self.estimator.order(size), self.plan
        estimates = f"estimates order {order}" if order else "estimates no J_T"
        parts = [plan.loss, plan.correction, *plan.regularizers, self.aggregation]
        names = ", ".join(part.name for part in parts if part is not None)
        steps = "" if plan.passes * plan.minibatches == 1 else f", {plan.passes} x {plan.minibatches} optimizer steps"
        return f"algorithm: {self.estimator.name}, N = {size}, {estimates}; {names}{steps}"

    @property
    def keeps_zeros(self) -> bool:
        """Whether rollouts without an advantage are trained on too: regularizers are terms of their own."""
        return bool(self.plan.regularizers)

    async def rewards(self, groups: Sequence[Group], step: int) -> list[list[RolloutReward]]:
        """The reward of each trajectory of the batch of step `step`, by group. Raises InfrastructureError."""
        return [self._shuffled(group, await self.reward.of_group(group, step, self.steps)) for group in groups]

    def assign(
        self, groups: Sequence[Group], rewards_G_N: Sequence[Sequence[RolloutReward]], step: int
    ) -> list[list[TrainingSample]]:
        """The training samples of the batch of step `step`, by group and trajectory."""
        self.estimator.begin_step(step, self.steps)
        samples = [
            self.estimator.assign(group, [reward.total for reward in own])
            for group, own in zip(groups, rewards_G_N, strict=True)
        ]
        return self.estimator.finish(samples)

    def _shuffled(self, group: Group, rewards: list[RolloutReward]) -> list[RolloutReward]:
        """The rewards, for the control shuffled among the members.

        Only the run's seed and the group's index decide the shuffle. K is unchanged, and nothing is left to learn.
        """
        if self.shuffle_seed is not None:
            random.Random(f"permute {self.shuffle_seed} {group.index}").shuffle(rewards)
        return rewards


def make_algorithm(config: RunConfig) -> Algorithm:
    """The algorithm of `[algorithm]`.

    Raises ConfigError for an unknown part, a wrong option, or parts that do not fit.
    """
    given = config.algorithm
    estimator = _part(given.advantage, AdvantageEstimator, "algorithm.advantage", "agent_rl.advantages")
    reward = WeightedSum(
        tuple(_part(part, RewardPart, f"reward.{i}", "agent_rl.rewards") for i, part in enumerate(config.reward)),
        tuple(part.weight for part in config.reward),
    )
    if estimator.rewards == "binary" and not reward.is_binary:
        raise ConfigError(
            f"algorithm.advantage.name = {estimator.name!r} takes rewards of 0 and 1 only: leave [[reward]] away, name "
            "one part of weight 1 (outcome, or score with a threshold), or an estimator of scalar rewards (rloo, grpo)",
            key="reward",
            value=" + ".join(f"{part.weight:g} {part.name}" for part in config.reward),
        )
    if config.loop.group_size < estimator.smallest_group:
        raise ConfigError(
            f"algorithm.advantage.name = {estimator.name!r} needs at least {estimator.smallest_group} rollouts of a "
            "task: fewer have no baseline, and no gradient",
            key="loop.group_size",
            value=config.loop.group_size,
        )
    _require_gradient(estimator, config.loop.group_size)
    loss = _part(given.loss, PolicyLoss, "algorithm.loss", "agent_rl.losses")
    if given.proximal != "sampler" and not loss.has_ratio:
        raise ConfigError(
            f"the loss {loss.name!r} has no ratio that could be one to a proximal policy: leave algorithm.proximal "
            "away, or name a loss with a ratio, such as ppo_clip",
            key="algorithm.proximal",
            value=given.proximal,
        )
    to_sampler = loss.has_ratio and given.proximal == "sampler"
    named = given.correction or Part(name="none" if to_sampler else "tis")
    correction = None
    if named.name != "none":
        correction = _part(named, Correction, "algorithm.correction", "agent_rl.corrections")
        if to_sampler:
            raise ConfigError(
                f"the loss {loss.name!r} has the ratio to the sampler in it, so that {correction.name!r} would count it"
                ' twice: set algorithm.correction.name = "none", or algorithm.proximal = "recompute"',
                key="algorithm.correction.name",
                value=correction.name,
            )
    plan = LossPlan(
        loss,
        correction,
        tuple(
            _part(part, Regularizer, f"algorithm.regularizers.{index}", "agent_rl.regularizers")
            for index, part in enumerate(given.regularizers)
        ),
        given.passes,
        given.minibatches,
        given.proximal,
    )
    aggregation = _part(given.aggregation, Aggregation, "algorithm.aggregation", "agent_rl.aggregations")
    seed = config.seed if given.shuffle_rewards else None
    return Algorithm(reward, estimator, aggregation, plan, config.loop.steps, seed)


def _require_gradient(estimator: AdvantageEstimator, n: int) -> None:
    """Raises ConfigError where neither one success nor one failure in a group of `n` gives the estimator a gradient."""
    groups = ([float(i == 0) for i in range(n)], [float(i > 0) for i in range(n)])
    if not any(any(estimator.advantages(rewards)) for rewards in groups):
        raise ConfigError(
            f"algorithm.advantage.name = {estimator.name!r} has no gradient for groups of {n}: take larger groups, "
            "or a smaller k where it has one",
            key="loop.group_size",
            value=n,
        )


def _part(given: Part, kind: type[PartT], key: str, group: str) -> PartT:
    """The part that the table `key` names, with its options."""
    found: Any = resolve(given.name, group, key=f"{key}.name")
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ConfigError(f"{given.name} is no {kind.__name__}", key=f"{key}.name", value=given.name)
    try:
        options = found.options_class(**given.options)
    except ValidationError as error:
        raise config_error(error, found.options_class, f"options of {given.name}", prefix=f"{key}.") from None
    return found(options)


def with_defaults(config: RunConfig) -> RunConfig:
    """`config` with every option of the algorithm's parts, defaults included. Raises as `make_algorithm`."""
    made = make_algorithm(config)
    plan = made.plan
    given = config.algorithm
    parts = {
        "advantage": _filled(given.advantage.name, made.estimator),
        "loss": _filled(given.loss.name, plan.loss),
        "correction": _filled(given.correction.name if given.correction else "tis", plan.correction),
        "aggregation": _filled(given.aggregation.name, made.aggregation),
        "regularizers": tuple(
            _filled(part.name, regularizer)
            for part, regularizer in zip(given.regularizers, plan.regularizers, strict=True)
        ),
    }
    reward = tuple(
        WeightedPart(name=given.name, weight=given.weight, **_options(part))
        for given, part in zip(config.reward, made.reward.parts, strict=True)
    )
    return config.model_copy(update={"algorithm": given.model_copy(update=parts), "reward": reward})


def _options(part: AlgorithmPart) -> dict[str, Any]:
    return part.options.model_dump(mode="json", exclude_none=True)


def _filled(name: str, part: AlgorithmPart | None) -> Part:
    return Part(name="none") if part is None else Part(name=name, **_options(part))
