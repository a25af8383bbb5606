"""`agent-rl eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent_rl.cli.options import (
    EnvironmentOptions,
    ImageOption,
    JsonOption,
    SandboxOption,
    SetOptions,
    parse_sizes,
    sandbox_overrides,
    sandbox_settings,
    write_json,
)
from agent_rl.errors import ConfigError

if TYPE_CHECKING:
    from agent_rl.config import RunConfig
    from agent_rl.evaluation.evaluation_plan import EvaluationPlan


ConfigArgument = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="A run's TOML file: its environments are evaluated.")
]
PolicyOption = Annotated[
    str,
    typer.Option(
        metavar="SPEC",
        help="A run's folder (its latest checkpoint), a checkpoint, a model's folder, a model on the hub, `gold` "
        "(says the oracle solutions) or `empty` (says nothing).",
    ),
]
EnvironmentOption = Annotated[
    str | None,
    typer.Option(
        "--env",
        metavar="ENV",
        help="One environment in the place of CONFIG: a registered name (see `agent-rl envs list`), "
        "package.module:Class or path/to/file.py:Class.",
    ),
]
SplitOption = Annotated[str | None, typer.Option(help="Which tasks; by default CONFIG's held-out split, or test.")]
TasksOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Only so many tasks, chosen by their ids: the same ones each time, and in training. By default CONFIG's "
        "number, or all.",
    ),
]
SamplesOption = Annotated[
    int | None, typer.Option(min=1, help="Rollouts per task; by default CONFIG's, or 8; 1 for gold and empty.")
]
SizesOption = Annotated[str | None, typer.Option("--k", metavar="K,K", help="Which pass@k, such as 1,8.")]
GreedyOption = Annotated[
    bool | None, typer.Option("--greedy/--no-greedy", help="One greedily decoded rollout per task besides.")
]
TemperatureOption = Annotated[float | None, typer.Option(min=0.01, help="Of the sampled rollouts.")]
MaxTokensOption = Annotated[int | None, typer.Option(min=1, help="The most that a turn may be long.")]
SeedOption = Annotated[
    int | None,
    typer.Option(
        help="Of the sampling; by default CONFIG's: then what a run drew when it was evaluated is drawn again."
    ),
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The evaluation that the options ask for. None: the configuration's value, or a default that suits the policy."""

    policy: str
    split: str | None
    tasks: int | None
    samples: int | None
    k: tuple[int, ...] | None
    greedy: bool | None
    temperature: float | None
    max_tokens: int | None
    seed: int | None


def eval_command(
    config: ConfigArgument = None,
    policy: PolicyOption = "",
    env: EnvironmentOption = None,
    option: EnvironmentOptions = None,
    split: SplitOption = None,
    tasks: TasksOption = None,
    samples: SamplesOption = None,
    k: SizesOption = None,
    greedy: GreedyOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    sandbox: SandboxOption = None,
    image: ImageOption = None,
    settings: SetOptions = None,
    json_file: JsonOption = None,
) -> None:
    """Measure pass@k of a policy on a held-out suite, with 95 % intervals over tasks.

    A rollout is a whole episode with all its turns, judged on hidden tests. Rollouts with infrastructure failures are
    excluded and counted, never scored 0. --json gets a list with one row per environment, in the form of a run's
    eval.json.

    \b
    Examples:
      agent-rl eval configs/quickstart.toml --policy runs/quickstart-20250101-120000 --samples 64 --k 1,8,64
      agent-rl eval --env code --option dataset=HumanEval.jsonl.gz --policy gold
    """
    from rich.console import Console

    from agent_rl.cli.run_coroutine import run
    from agent_rl.cli.tables import counts, evaluation_table
    from agent_rl.evaluation.evaluation_plan import run_plan

    resolved = _configuration(config, env, option, (sandbox, image), settings)
    asked = _Asked(policy, split, tasks, samples, parse_sizes(k), greedy, temperature, max_tokens, seed)
    rows = run(run_plan(resolved, _plan(resolved, asked, from_file=config is not None)))
    console = Console(highlight=False)
    console.print(evaluation_table(rows))
    for line in counts(rows):
        console.print(line, markup=False)
    if policy == "gold" and any(estimate.value < 1 for row in rows for estimate in row.pass_at_k.values()):
        console.print("`agent-rl envs validate` says why an oracle solution does not pass", markup=False)
    write_json(json_file, [row.to_json() for row in rows])


def _configuration(
    config: Path | None,
    env: str | None,
    option: list[str] | None,
    sandbox: tuple[str | None, str | None],
    settings: list[str] | None,
) -> RunConfig:
    """The run's configuration, or one with only the environment `env` in it. `sandbox`: a provider and an image."""
    from agent_rl.config import load_config, parse_config, parse_options

    if (config is None) == (env is None):
        raise ConfigError("give either CONFIG or --env ENV", key="eval")
    if config is not None:
        if option:
            raise ConfigError("goes with --env; with CONFIG use --set environments.0.options.KEY=VALUE", key="--option")
        return load_config(config, [*(settings or ()), *sandbox_overrides(*sandbox)])
    if settings:
        raise ConfigError("goes with CONFIG; with --env use --option KEY=VALUE", key="--set")
    entry = {"environment": env, "options": parse_options(option)}
    return parse_config(
        {"environments": [entry], "model": {"path": "given by --policy"}, "sandbox": sandbox_settings(*sandbox)},
        source="the command line",
    )


def _plan(config: RunConfig, asked: _Asked, *, from_file: bool) -> EvaluationPlan:
    """The plan: each value is the one asked for, else the configuration's, else a default that suits the policy."""
    from agent_rl.evaluation.evaluation_plan import EvaluationPlan
    from agent_rl.evaluation.policy_spec import resolve_policy

    if not asked.policy:
        raise ConfigError("name the policy to evaluate: a run, a checkpoint, a model, gold or empty", key="--policy")
    source = resolve_policy(asked.policy)
    fixed = isinstance(source, str)
    number = asked.samples or (1 if fixed else config.evaluation.samples)
    sizes = asked.k or tuple(size for size in config.evaluation.k if size <= number) or (1,)
    if max(sizes) > number:
        raise ConfigError(f"pass@{max(sizes)} needs at least as many samples: --samples {number}", key="--k")
    return EvaluationPlan(
        policy=source,
        split=asked.split or config.evaluation.split,
        tasks=asked.tasks or (config.evaluation.tasks if from_file and not fixed else None),
        samples=number,
        k=sizes,
        greedy=asked.greedy if asked.greedy is not None else (config.evaluation.greedy and not fixed),
        temperature=asked.temperature or config.sampling.temperature,
        max_tokens=asked.max_tokens or config.sampling.max_tokens,
        seed=config.seed if asked.seed is None else asked.seed,
    )
