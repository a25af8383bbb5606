"""`agent-rl experiment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent_rl.cli.options import JsonOption, SetOptions, write_json
from agent_rl.errors import CheckFailed, ConfigError, InfrastructureError


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
    from agent_rl.experiments.experiment_file import load_experiment, shipped_experiments
    from agent_rl.experiments.planned_runs import planned_runs
    from agent_rl.experiments.results_file import SCHEMA_VERSION, ResultsFile
    from agent_rl.experiments.run_experiment import run_pending
    from agent_rl.experiments.summarise import checked, summarise

    if list_all:
        shown = {each: load_experiment(each).title for each in shipped_experiments()}
        for each, title in shown.items():
            print(f"{each:20} {title}")
        write_json(json_file, {"schema_version": SCHEMA_VERSION, "experiments": shown})
        return
    if name is None:
        raise ConfigError("name an experiment, or ask for --list", key="NAME")
    experiment = load_experiment(name)
    everything = planned_runs(experiment, (), settings or ())
    runs = planned_runs(experiment, only or (), settings or ())
    folder = directory or Path("runs") / "experiments" / Path(name).stem
    results = ResultsFile(folder / "results.jsonl")
    if dry_run:
        finished = results.of(runs)
        for run in runs:
            print(f"{'finished' if run.name in finished else 'to do   '} {run.name}")
        write_json(
            json_file,
            {"schema_version": SCHEMA_VERSION, "runs": [{"run": r.name, "finished": r.name in finished} for r in runs]},
        )
        return
    from agent_rl.experiments.results_page import write_page

    with terminable():
        failed = run_pending(runs, folder)
    found = results.of(everything)
    measured = [found[run.name] for run in everything if run.name in found]
    for path in write_page(experiment, measured, len(everything), folder):
        print(path)
    claims = checked(experiment, summarise(experiment, measured)) if len(measured) == len(everything) else []
    for claim in claims:
        print(claim.line())
    report = {
        "schema_version": SCHEMA_VERSION,
        "runs": [result.to_json() for result in measured],
        "failed": failed,
        "claims": [{"what": c.claim.what, "ratio": c.ratio, "holds": c.holds} for c in claims],
    }
    write_json(json_file, report)
    if failed:
        raise InfrastructureError(f"{len(failed)} runs failed: {', '.join(failed)}")
    if any(claim.holds is False for claim in claims):
        raise CheckFailed("what the experiment claims does not hold")
