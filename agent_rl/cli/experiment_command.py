"""`agent-rl experiment`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent_rl.cli.options import JsonOption, SetOptions, write_json
from agent_rl.errors import CheckFailed, ConfigError, InfrastructureError

if TYPE_CHECKING:
    from agent_rl.experiments.experiment_file import Experiment
    from agent_rl.experiments.planned_runs import PlannedRun

SCHEMA_VERSION = 1


def experiment_command(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A shipped experiment (see --list), or the path of a file.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Print the shipped experiments and exit.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the runs, and which are finished.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="AXIS=CHOICE",
            help="Only these runs, as often as needed: --only N=16 --only seed=0. Choices of an axis are alternatives.",
        ),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Where everything is kept; by default runs/experiments/NAME."),
    ] = None,
    settings: SetOptions = None,
    json_file: JsonOption = None,
) -> None:
    """Run an experiment: all of its runs in turn, then a table and figures of what they show.

    DIR gets results.jsonl (a line for each finished run), table.md, figures, and runs/ with the folders of the runs. A
    run that has finished is not repeated, and an interrupted one goes on from its last checkpoint: start the same
    command again at any time. Exit 1: what the experiment claims does not hold. Exit 3: runs failed; they are tried
    again next time.

    \b
    Example:
      agent-rl experiment exact_likelihood --only method=maxrl
    """
    from agent_rl.cli.run_coroutine import terminable
    from agent_rl.experiments.experiment_file import load_experiment
    from agent_rl.experiments.planned_runs import planned_runs
    from agent_rl.experiments.run_experiment import run_pending

    if list_all:
        _list(json_file)
        return
    if name is None:
        raise ConfigError("name an experiment, or ask for --list", key="NAME")
    experiment = load_experiment(name)
    runs = planned_runs(experiment, only or (), settings or ())
    folder = directory or Path("runs") / "experiments" / Path(name).stem
    if dry_run:
        _print_plan(runs, folder, json_file)
        return
    with terminable():
        failed = run_pending(runs, folder)
    _report(experiment, planned_runs(experiment, (), settings or ()), failed, folder, json_file)


def _list(json_file: Path | None) -> None:
    """Prints the shipped experiments with their titles."""
    from agent_rl.experiments.experiment_file import load_experiment, shipped_experiments

    shown = {name: load_experiment(name).title for name in shipped_experiments()}
    for name, title in shown.items():
        print(f"{name:20} {title}")
    write_json(json_file, {"schema_version": SCHEMA_VERSION, "experiments": shown})


def _print_plan(runs: Sequence[PlannedRun], folder: Path, json_file: Path | None) -> None:
    """Prints each run, and whether `folder` has its result."""
    from agent_rl.experiments.results_file import ResultsFile

    finished = ResultsFile(folder / "results.jsonl").of(runs)
    for run in runs:
        print(f"{'finished' if run.name in finished else 'to do   '} {run.name}")
    plan = [{"run": run.name, "finished": run.name in finished} for run in runs]
    write_json(json_file, {"schema_version": SCHEMA_VERSION, "runs": plan})


def _report(
    experiment: Experiment, runs: Sequence[PlannedRun], failed: Sequence[str], folder: Path, json_file: Path | None
) -> None:
    """Writes table, figures and JSON of all results so far. `runs` are all of the experiment.

    Raises InfrastructureError if runs `failed`, and CheckFailed if all have finished and a claim does not hold.
    """
    from agent_rl.experiments.results_file import ResultsFile
    from agent_rl.experiments.results_page import write_page
    from agent_rl.experiments.summarise import checked, summarise

    found = ResultsFile(folder / "results.jsonl").of(runs)
    measured = [found[run.name] for run in runs if run.name in found]
    for path in write_page(experiment, measured, len(runs), folder):
        print(path)
    claims = checked(experiment, summarise(experiment, measured)) if len(measured) == len(runs) else []
    for claim in claims:
        print(claim.line())
    report = {
        "schema_version": SCHEMA_VERSION,
        "runs": [result.to_json() for result in measured],
        "failed": list(failed),
        "claims": [{"what": c.claim.what, "ratio": c.ratio, "holds": c.holds} for c in claims],
    }
    write_json(json_file, report)
    if failed:
        raise InfrastructureError(f"{len(failed)} runs failed: {', '.join(failed)}")
    if any(claim.holds is False for claim in claims):
        raise CheckFailed("what the experiment claims does not hold")
