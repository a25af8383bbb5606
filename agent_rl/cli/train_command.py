"""`agent-rl train`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from agent_rl.cli.options import SetOptions
from agent_rl.errors import ConfigError


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file, or the name of a shipped one: quickstart.")
    ],
    settings: SetOptions = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            "--run-dir",
            metavar="DIR",
            help="Where the run is kept; by default runs/CONFIG-DATE-TIME.",
            readable=False,  # not checked here: the run itself says in one line why it cannot use a folder
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the last checkpoint in --run-dir, or in CONFIG's latest run."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the whole configuration, defaults included, and do nothing.")
    ] = False,
) -> None:
    """Train a policy: evaluate, train, evaluate again, and write a report.

    The run's folder gets config.toml, metrics.jsonl (one line per step), timeline.jsonl, rollouts/ (token by token),
    checkpoints/ (in the Hugging Face format), eval.json, took.json (seconds) and report.html. A run that stopped for
    any reason continues with --resume. Any other run needs a new or empty folder. Only one process may use a folder.

    \b
    Example:
      agent-rl train configs/quickstart.toml --set seed=1 --set loop.steps=40
    """
    from agent_rl.algorithms import with_defaults
    from agent_rl.config import load_config
    from agent_rl.providers import check_sandbox_options

    resolved = with_defaults(load_config(config, settings or ()))
    check_sandbox_options(resolved.sandbox)
    if dry_run:
        print(resolved.to_toml(), end="")
        return
    from agent_rl.cli.run_coroutine import run
    from agent_rl.loop.train import train as run_training
    from agent_rl.records.run_directory import RunDirectory

    folder = run_dir or (latest_run(config) if resume else new_run(config))
    directory = RunDirectory(folder)
    run(run_training(resolved, folder, resume=resume))
    print_outcome(folder, directory.report, directory.read_took())


def new_run(config: Path) -> Path:
    """The path of a new run's folder under runs/, named by config, date and time."""
    from datetime import datetime

    return Path("runs") / f"{config.stem}-{datetime.now():%Y%m%d-%H%M%S}"


def latest_run(config: Path) -> Path:
    """The latest folder that `new_run` named for `config`. Raises ConfigError if there is none."""
    named = re.compile(rf"{re.escape(config.stem)}-\d{{8}}-\d{{6}}")
    found = sorted(path for path in Path("runs").glob("*") if named.fullmatch(path.name))
    if not found:
        raise ConfigError(f"there is no run of {config.stem} in runs/: name its folder with --run-dir", key="--resume")
    return found[-1]


def print_outcome(folder: Path, page: Path, seconds: float) -> None:
    """Prints the held-out results before and after training, the report's path, and how long the run took."""
    from rich.console import Console

    from agent_rl.cli.tables import before_and_after
    from agent_rl.records.eval_file import read_rows
    from agent_rl.report.page import duration

    console = Console(highlight=False)
    rows = read_rows(folder / "eval.json")
    if rows:
        console.print(before_and_after(rows))
    console.print(f"run: {folder}", soft_wrap=True, markup=False)
    console.print(f"report: {page.resolve()}", soft_wrap=True, markup=False)
    console.print(f"took {duration(seconds)}", markup=False)
