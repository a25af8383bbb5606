"""`agent-rl envs list | new | validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent_rl.cli.options import (
    EnvironmentOptions,
    ImageOption,
    JsonOption,
    SandboxOption,
    sandbox_settings,
    write_json,
)
from agent_rl.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from agent_rl.audit.validation_report import ValidationReport
    from agent_rl.config import RunConfig

envs = typer.Typer(help="List, begin and check environments.", no_args_is_help=True, rich_markup_mode=None)


@envs.command("list")
def list_environments(json_file: JsonOption = None) -> None:
    """List the registered environments with what they do and their options.

    Any other class is named as package.module:Class or path/to/file.py:Class; nothing has to be registered.
    """
    from agent_rl.registry import registered, resolve

    rows: list[dict[str, object]] = []
    for name, point in sorted(registered("agent_rl.environments").items()):
        try:
            found = resolve(name, "agent_rl.environments", key="ENV")
            does = (found.__doc__ or "").strip().split("\n")[0]
            options = sorted(found.config_class.model_fields)
        except ConfigError as error:
            does, options = str(error), []
        rows.append({"name": name, "class": point.value, "does": does, "options": options})
        print(f"{name}  ({point.value})\n    {does}\n    options: {', '.join(options) or 'none'}")
    write_json(json_file, {"schema_version": 1, "environments": rows})


@envs.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as unit_conversion.")],
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where the two files go.")] = Path("."),
) -> None:
    """Write a small environment NAME.py and its test test_NAME.py, to be changed into your own.

    They work as they are: `agent-rl envs validate NAME.py:Name` passes, and so does `pytest test_NAME.py`.
    """
    from agent_rl.cli.new_environment import write_environment

    environment, test = write_environment(name, folder)
    print(f"wrote {environment.path} and {test}")
    named = f"{environment.path}:{environment.class_name}"
    print(f"try:    agent-rl envs validate {named}")
    print(
        f"train:  agent-rl train quickstart --set environments.0.environment={named} --set environments.0.options={{}}"
    )


@envs.command("validate")
def validate_environment(
    env: Annotated[
        str,
        typer.Argument(
            metavar="ENV",
            help="A registered name, package.module:Class or path/to/file.py:Class; for a data set `code` with "
            "--option dataset=FILE, for a folder of tasks `folder` with --option folder=FOLDER.",
        ),
    ],
    option: EnvironmentOptions = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Which split, as often as needed; by default train and test.")
    ] = None,
    tasks: Annotated[int, typer.Option(min=0, help="Tasks judged per split, evenly spread; 0 for all.")] = 20,
    times: Annotated[int, typer.Option(min=1, help="How often each oracle solution has to pass.")] = 28,
    mutants: Annotated[
        int, typer.Option(min=0, help="Mutants judged per task, which say how strong its tests are; 0 for none.")
    ] = 20,
    sandbox: SandboxOption = None,
    image: ImageOption = None,
    json_file: JsonOption = None,
) -> None:
    """Check that an environment's tasks tell right from wrong.

    Every oracle solution must pass every time; each time the seed and the order of calls differ. Stubs must fail: an
    empty reply, and functions that do nothing, return None, return an object that equals everything, exit with 0, or
    know the public examples by heart. The report names tests that are vacuous, need a network, or take more than half
    of the time limit with the oracle solution. Ids must be unique, a second load must give the same tasks, and no task
    may be in two splits. Exit 1 if anything is wrong.

    The mutation score of a task's tests is the share of mutants of its oracle solution (one small mistake each) that
    they fail. It is a lower bound, because some mistakes do not change the behaviour. It is only reported here; in
    training, [[environments]] minimum_mutation_score drops weak tasks.
    """
    from agent_rl.cli.run_coroutine import run
    from agent_rl.cli.validation_tables import print_report
    from agent_rl.config import parse_config, parse_options

    _check_name(env)
    entry = {"environment": env, "options": parse_options(option)}
    config = parse_config(
        {"environments": [entry], "model": {"path": "none is used"}, "sandbox": sandbox_settings(sandbox, image)},
        source="the command line",
    )
    try:
        report = run(_validate(config, split or None, tasks or None, times, mutants))
    except ConfigError as error:
        raise ConfigError(str(error).replace("environments.0.options", "--option")) from None
    print_report(report)
    write_json(json_file, report.to_json())
    if not report.passed:
        raise CheckFailed(f"{env}: {sum(len(s.problems) for s in report.splits)} problems")


def _check_name(env: str) -> None:
    """Raises ConfigError if ENV names data instead of an environment; the message shows the right command."""
    if env.endswith((".jsonl", ".json", ".gz", ".parquet")):
        raise ConfigError(f"a data set is read by `code`: envs validate code --option dataset={env}", key="ENV")
    if Path(env).is_dir():
        raise ConfigError(
            f"a folder of tasks is read by `folder`: envs validate folder --option folder={env}", key="ENV"
        )


async def _validate(
    config: RunConfig, splits: list[str] | None, tasks: int | None, times: int, mutants: int
) -> ValidationReport:
    from agent_rl.audit.validate import validate
    from agent_rl.audit.watching_verifier import WatchingVerifier
    from agent_rl.environments import make_environments
    from agent_rl.judging import make_verifier
    from agent_rl.providers import choose_provider

    provider = await choose_provider(config.sandbox)
    # One judge per seed, so that no verdict on an oracle solution comes from a cache.
    verifier = WatchingVerifier(lambda seed: make_verifier(config.sandbox, provider, config.seed + seed))
    (named,) = make_environments(config.environments, verifier)
    async with provider, verifier:
        return await validate(
            named.environment,
            verifier,
            provider,
            name=named.name,
            splits=splits,
            tasks=tasks,
            times=times,
            mutants=mutants,
        )
