"""An experiment's file and the runs that it plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_rl.config import RunConfig
from agent_rl.errors import ConfigError
from agent_rl.experiments.experiment_file import Experiment, load_experiment, matches, shipped_experiments
from agent_rl.experiments.likelihood_config import LikelihoodConfig
from agent_rl.experiments.planned_runs import planned_runs

SWEEP = """
title = "two methods"
measures = ["accuracy"]
[likelihood]
steps = 5
[[grids]]
axes = [{ name = "method", key = "method", values = ["cross_entropy"] }, { name = "seed", key = "seed", values = [0] }]
[[grids]]
axes = [
  { name = "method", key = "method", values = ["maxrl", "grpo"] },
  { name = "N", key = "samples", values = [4, 8] },
  { name = "seed", key = "seed", values = [0, 1] },
]
"""
TRAINING = """
title = "training"
measures = ["pass@1"]
[training]
config = "quickstart"
overrides = ["loop.steps=3"]
[[grids]]
axes = [
  { name = "algorithm", variants = [
    { name = "wide", overrides = ["loop.group_size=32", "loop.groups_per_batch=8"] },
    { name = "narrow", overrides = [] },
  ] },
  { name = "seed", key = "seed", values = [0, 1] },
]
"""


def experiment(tmp_path: Path, text: str) -> Experiment:
    (tmp_path / "one.toml").write_text(text)
    return load_experiment(str(tmp_path / "one.toml"))


def test_every_combination_of_each_grid_is_a_run(tmp_path: Path) -> None:
    runs = planned_runs(experiment(tmp_path, SWEEP))
    # 1 x 1 and 2 x 2 x 2.
    assert [run.name for run in runs] == [
        "method=cross_entropy,seed=0",
        *(f"method={m},N={n},seed={s}" for m in ("maxrl", "grpo") for n in (4, 8) for s in (0, 1)),
    ]
    last = runs[-1].config
    assert isinstance(last, LikelihoodConfig)
    assert (last.method, last.samples, last.seed, last.steps) == ("grpo", 8, 1, 5)
    assert len({run.digest for run in runs}) == 9


def test_only_some_runs_and_other_settings(tmp_path: Path) -> None:
    whole = experiment(tmp_path, SWEEP)
    runs = planned_runs(whole, ["method=maxrl", "N=4", "N=8", "seed=1"], ["steps=2"])
    assert [run.name for run in runs] == ["method=maxrl,N=4,seed=1", "method=maxrl,N=8,seed=1"]
    assert [run.config.steps for run in runs if isinstance(run.config, LikelihoodConfig)] == [2, 2]
    # Other settings, another digest: their results are not taken for each other's.
    assert runs[0].digest != planned_runs(whole, ["method=maxrl", "N=4", "seed=1"])[0].digest
    with pytest.raises(ConfigError, match=r"--only: .*did you mean 'method=maxrl'"):
        planned_runs(whole, ["method=maxlr"])


def test_runs_of_the_training_loop_have_their_settings(tmp_path: Path) -> None:
    runs = planned_runs(experiment(tmp_path, TRAINING), (), ["loop.steps=2"])
    configs = [run.config for run in runs if isinstance(run.config, RunConfig)]
    assert [(c.loop.group_size, c.loop.groups_per_batch, c.seed) for c in configs] == [
        (32, 8, 0),
        (32, 8, 1),
        (16, 16, 0),
        (16, 16, 1),
    ]
    assert {c.loop.steps for c in configs} == {2}
    # The runs share their start: the first measures it.
    assert [c.evaluation.before for c in configs] == [True, False, False, False]
    only = planned_runs(experiment(tmp_path, TRAINING), ["seed=1"])
    assert [run.digest for run in only] == [
        run.digest for run in planned_runs(experiment(tmp_path, TRAINING)) if run.labels["seed"] == "1"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('titel = "x"' + SWEEP, "unknown key .*did you mean 'title'"),
        (SWEEP.replace("[likelihood]\nsteps = 5", ""), r"give either \[training\] or \[likelihood\]"),
        (SWEEP.replace('key = "samples", ', ""), "axis N: give either key and values, or variants"),
        (SWEEP + '[[figures]]\nname = "f"\ntitle = "f"\nx = "M"\ny = "accuracy"\n', "figure f: there is no axis M"),
        (SWEEP + "x", "not a readable TOML file"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(tmp_path, text)


def test_mistakes_in_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'samples'"):
        planned_runs(experiment(tmp_path, SWEEP.replace('key = "samples"', 'key = "sample"')))
    with pytest.raises(ConfigError, match="two runs are named"):
        planned_runs(experiment(tmp_path, SWEEP.replace("values = [4, 8]", "values = [4, 4]")))
    with pytest.raises(ConfigError, match="did you mean 'exact_likelihood'"):
        load_experiment("exact_likelihod")


@pytest.mark.parametrize("name", shipped_experiments())
def test_each_shipped_experiment_plans_its_runs_and_says_what_it_costs(name: str) -> None:
    runs = planned_runs(load_experiment(name))
    assert len(runs) >= 2
    comment = [line for line in shipped_experiments()[name].read_text().splitlines() if line.startswith("#")]
    assert any("minute" in line or "hour" in line for line in comment)


def test_choices_of_one_axis_are_alternatives() -> None:
    labels = {"method": "maxrl", "N": "4"}
    assert matches(labels, ())
    assert matches(labels, ["N=4", "N=8", "method=maxrl"])
    assert not matches(labels, ["N=8", "method=maxrl"])
    assert not matches(labels, ["seed=0"])
