"""`agent-rl envs list | new | validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent_rl.cli.options import (
    EnvironmentOptions,
    JsonOption,
    SandboxOption,
    parse_options,
    sandbox_settings,
    write_json,
)
from agent_rl.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from agent_rl.config import RunConfig
    from agent_rl.evaluation.validate import ValidationReport

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
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is to be called, such as unit_conversion.")],
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where the two files go.")] = Path("."),
) -> None:
    """Write a small environment NAME.py and its test test_NAME.py, to be changed into your own.

    They work as they are: `agent-rl envs validate NAME.py:Name` passes, and so does `pytest test_NAME.py`.
    """
    from agent_rl.cli.new_environment import write_environment

    environment, test = write_environment(name, folder)
    print(f"wrote {environment.path} and {test}")
    print(f"try:  agent-rl envs validate {environment.path}:{environment.class_name}")


@envs.command("validate")
def validate_environment(
    env: Annotated[
        str,
        typer.Argument(metavar="ENV", help="A registered name, package.module:Class or path/to/file.py:Class."),
    ],
    option: EnvironmentOptions = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Which split, as often as needed; by default train and test.")
    ] = None,
    tasks: Annotated[int, typer.Option(min=0, help="Tasks judged per split, evenly spread; 0 for all.")] = 20,
    times: Annotated[int, typer.Option(min=1, help="How often each reference has to pass.")] = 3,
    sandbox: SandboxOption = None,
    json_file: JsonOption = None,
) -> None:
    """Check that an environment's tasks tell right from wrong.

    Every reference has to pass each time; stubs have to fail: an empty reply, and functions whose bodies do nothing,
    return None, return an object that equals everything, or exit with 0. Ids are unique, loading again gives the same
    tasks, and no task stands in two splits. Exit 1 where anything is wrong.
    """
    from agent_rl.cli.running import run
    from agent_rl.config import parse_config

    entry = {"environment": env, "options": parse_options(option)}
    config = parse_config(
        {"environments": [entry], "model": {"path": "none is used"}, "sandbox": sandbox_settings(sandbox)},
        source="the command line",
    )
    report = run(_validate(config, split or None, tasks or None, times))
    _print_report(report)
    write_json(json_file, report.to_json())
    if not report.passed:
        raise CheckFailed(f"{env}: {sum(len(s.problems) for s in report.splits)} problems")


async def _validate(config: RunConfig, splits: list[str] | None, tasks: int | None, times: int) -> ValidationReport:
    from agent_rl.environments import make_environments
    from agent_rl.evaluation.validate import validate
    from agent_rl.sandbox_choice import choose_provider
    from agent_rl.verify.verifier import TaskVerifier

    provider = await choose_provider(config.sandbox)
    # No verdict is kept: a reference has to pass each time anew.
    verifier = TaskVerifier(provider, seed=config.seed, cache_size=0)
    (named,) = make_environments(config.environments, verifier)
    async with provider:
        return await validate(named.environment, provider, name=named.name, splits=splits, tasks=tasks, times=times)


def _print_report(report: ValidationReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table()
    for heading in ("split", "tasks", "checked", "references passed", "stubs failed", "problems"):
        table.add_column(heading)
    for s in report.splits:
        passed, failed = f"{s.references_passed} of {s.references}", f"{s.stubs_failed} of {s.stubs}"
        table.add_row(s.split, str(s.tasks), str(s.checked), passed, failed, str(len(s.problems)))
    console.print(table)
    for s in report.splits:
        for problem in s.problems[:20]:
            console.print(f"{s.split} {problem.task}: {problem.what}", markup=False)
        if len(s.problems) > 20:
            console.print(f"{s.split}: and {len(s.problems) - 20} more", markup=False)
