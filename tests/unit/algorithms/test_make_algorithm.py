"""`[algorithm]` read: names, options, what does not fit, and what reaches the samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_rl.algorithms import make_algorithm, with_defaults
from agent_rl.algorithms.advantages import GRPO, RLOO, MaxRL, Reinforce
from agent_rl.algorithms.aggregations.token_scales import Constant, TokenMean
from agent_rl.algorithms.corrections.tis import TIS
from agent_rl.algorithms.losses.policy_gradient import PolicyGradient
from agent_rl.config import RunConfig, parse_config
from agent_rl.errors import ConfigError
from agent_rl.registry import registered, resolve
from agent_rl.vocabulary import Group
from tests.unit.rollouts.support import make_task
from tests.unit.rollouts.test_pack import single

OWN = """
from agent_rl import AdvantageEstimator, PartOptions


class Options(PartOptions):
    factor: float = 2.0


class Centred(AdvantageEstimator):
    name = "centred"
    options_class = Options

    def advantages(self, rewards_N):
        mean = sum(rewards_N) / len(rewards_N)
        return [self.options.factor * (r - mean) for r in rewards_N]
"""


def config(size: int = 4, reward: list[dict[str, Any]] | None = None, **algorithm: Any) -> RunConfig:
    return parse_config(
        {
            "environments": [{"environment": "code"}],
            "model": {"path": "model"},
            "loop": {"group_size": size},
            "algorithm": algorithm,
            **({} if reward is None else {"reward": reward}),
        }
    )


def test_the_default_is_maxrl_with_tis() -> None:
    made = make_algorithm(config(16))
    assert (type(made.estimator), type(made.aggregation)) == (MaxRL, Constant)
    assert (type(made.plan.loss), type(made.plan.correction)) == (PolicyGradient, TIS)
    assert (made.plan.passes, made.plan.minibatches, made.plan.needs, made.keeps_zeros) == (1, 1, frozenset(), False)
    assert made.line(16) == "algorithm: maxrl, N = 16, estimates order 15; policy_gradient, tis, constant"


def test_options_reach_their_part() -> None:
    made = make_algorithm(
        config(
            advantage={"name": "maxrl", "truncation_order": 3, "baseline_at_zero": True},
            correction={"name": "tis", "cap": 4.0},
            aggregation={"name": "token_mean"},
            passes=2,
        )
    )
    assert (made.estimator.options.truncation_order, made.estimator.options.baseline_at_zero) == (3, True)
    assert made.plan.correction is not None and made.plan.correction.options.cap == 4.0
    assert (type(made.aggregation), made.plan.passes) == (TokenMean, 2)


@pytest.mark.parametrize(("name", "kind"), [("reinforce", Reinforce), ("rloo", RLOO), ("grpo", GRPO)])
def test_estimators_have_names(name: str, kind: type) -> None:
    made = make_algorithm(config(advantage={"name": name}))
    assert type(made.estimator) is kind
    assert made.estimator.name == name


@pytest.mark.parametrize("kind", ["advantages", "losses", "corrections", "aggregations", "regularizers", "rewards"])
def test_every_registered_part_is_called_what_it_says(kind: str) -> None:
    points = registered(f"agent_rl.{kind}")
    assert points
    for name in points:
        part = resolve(name, f"agent_rl.{kind}", key="name")
        assert part.name == name
        needed = {"free": 1, "longest": 2} if name == "length_penalty" else {}
        assert part(part.options_class(**needed)).options == part.options_class(**needed)


async def test_an_own_estimator_is_found_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    name = f"{tmp_path}/own.py:Centred"
    made = make_algorithm(config(advantage={"name": name, "factor": 4.0}))
    group = Group(0, "env", make_task(), 2, (single(10), single(11)))
    (samples,) = made.assign([group], await made.rewards([group], 1), 1)
    # Both pass: each is the mean.
    assert [s.advantage for s in samples] == [0.0, 0.0]
    assert made.estimator.advantages([1.0, 0.0]) == [2.0, -2.0]
    filled = with_defaults(config(advantage={"name": name}))
    assert filled.algorithm.advantage.options == {"factor": 2.0}


def test_the_resolved_config_has_every_option_and_stays_as_it_is() -> None:
    filled = with_defaults(config())
    assert filled.algorithm.advantage.options == {"baseline_at_zero": False}
    assert filled.algorithm.correction is not None
    assert filled.algorithm.correction.options == {"cap": 2.0, "level": "token"}
    assert with_defaults(filled) == filled
    assert "cap = 2.0" in filled.to_toml()


@pytest.mark.parametrize(
    ("size", "algorithm", "message"),
    [
        (4, {"advantage": {"name": "maxlr"}}, r"algorithm\.advantage\.name.*is not registered.*did you mean.*maxrl"),
        (
            4,
            {"advantage": {"name": "grpo", "epsilo": 1.0}},
            r"algorithm\.advantage.*unknown key.*did you mean.*epsilon",
        ),
        (4, {"advantage": {"name": "tsallis", "q": 2.0}}, r"algorithm\.advantage\.q.*less than or equal to 1"),
        (4, {"advantage": {"name": "maxrl", "baseline_at_zero": True}}, "baseline_at_zero needs truncation_order"),
        (4, {"loss": {"name": "agent_rl.algorithms.advantages:GRPO"}}, "is no PolicyLoss"),
        (4, {"advantage": {"name": "pass_at_k", "k": 4}}, "has no gradient for groups of 4: take larger groups"),
        (1, {}, r"loop\.group_size.*needs at least 2 rollouts of a task"),
        (
            4,
            {"loss": {"name": "ppo_clip"}, "correction": {"name": "tis"}},
            r"the loss 'ppo_clip' has the ratio to the sampler in it.*correction\.name = \"none\"",
        ),
    ],
)
def test_what_does_not_fit_is_refused(size: int, algorithm: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        make_algorithm(config(size, **algorithm))


@pytest.mark.parametrize(
    "reward",
    [
        [{"name": "score"}],
        [{"name": "outcome", "weight": 2.0}],
        [{"name": "outcome"}, {"name": "length_penalty", "free": 8, "longest": 16}],
        [{"name": "dense_then_binary"}],
    ],
)
def test_no_graded_reward_reaches_a_binary_estimator(reward: list[dict[str, Any]]) -> None:
    for name in ("maxrl", "tsallis", "pass_at_k"):
        with pytest.raises(ConfigError, match="takes rewards of 0 and 1 only"):
            make_algorithm(config(reward=reward, advantage={"name": name}))
    assert not make_algorithm(config(reward=reward, advantage={"name": "rloo"})).reward.is_binary
    assert make_algorithm(config(reward=[{"name": "score", "threshold": 0.5}])).reward.is_binary


def test_a_loss_with_a_ratio_has_no_correction_by_default() -> None:
    assert make_algorithm(config(loss={"name": "ppo_clip"})).plan.correction is None
    assert with_defaults(config(loss={"name": "ppo_clip"})).algorithm.correction is not None


def test_reinforce_takes_groups_of_one() -> None:
    assert make_algorithm(config(1, advantage={"name": "reinforce"})).estimator.smallest_group == 1
