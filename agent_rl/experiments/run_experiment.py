"""`run_pending`: the runs of an experiment that have no result yet, one after the other, each in a child process."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from agent_rl.config import RunConfig
from agent_rl.errors import AgentRLError, ConfigError, InfrastructureError
from agent_rl.experiments.planned_runs import PlannedRun
from agent_rl.experiments.results_file import MeasuredRun, ResultsFile
from agent_rl.records.eval_file import read_rows
from agent_rl.records.eval_row import Estimate, EvalRow
from agent_rl.records.run_directory import RunDirectory
from agent_rl.records.run_lock import run_lock

_TRAIN = ("agent_rl", "train")
"""The module of the child, and its first argument."""
_LAST_LINES = 5
"""How many lines of a failed run's log are told."""


def run_pending(runs: Sequence[PlannedRun], folder: Path, say: Callable[[str], None] = print) -> list[str]:
    """The names of the runs that failed; all others have a result in `folder`/results.jsonl.

    An interrupted run goes on from its last checkpoint. A run whose infrastructure fails does not stop the others.
    Raises ConfigError for the user's mistakes, such as a folder with results of other settings.
    """
    results = ResultsFile(folder / "results.jsonl")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}", key="--dir") from None
    failed: list[str] = []
    with run_lock(folder / ".agent-rl.lock", say):
        finished = results.of(runs)
        pending = [run for run in runs if run.name not in finished]
        say(f"{len(finished)} of {len(runs)} runs are finished in {folder}")
        with _likelihood_child(pending) as child:
            for number, run in enumerate(pending, 1 + len(finished)):
                try:
                    result = _run(run, folder / "runs" / run.name, child)
                except ConfigError:
                    raise
                except AgentRLError as error:
                    failed.append(run.name)
                    say(f"[{number}/{len(runs)}] {run.name} FAILED: {error}")
                    continue
                results.add(result)
                shown = ", ".join(f"{name} {each.value:.3f}" for name, each in result.measures.items())
                say(f"[{number}/{len(runs)}] {run.name}: {shown} ({result.seconds:.0f} s)")
    return failed


def _run(run: PlannedRun, folder: Path, child: subprocess.Popen[str] | None) -> MeasuredRun:
    if isinstance(run.config, RunConfig):
        return _train(run, run.config, folder)
    assert child is not None
    return _ask(run, child)


def _train(run: PlannedRun, config: RunConfig, folder: Path) -> MeasuredRun:
    """The result of a run of the training loop, which is begun or gone on with in `folder`."""
    directory = RunDirectory(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    settings, log = folder.with_name(f"{folder.name}.toml"), folder.with_name(f"{folder.name}.log")
    settings.write_text(config.to_toml(), encoding="utf-8")
    resume = ["--resume"] if directory.holds_a_run() else []
    with log.open("a", encoding="utf-8") as output:
        command = [*_TRAIN, str(settings), "--run-dir", str(folder), *resume]
        with _child(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as child:
            code = child.wait()
    if code:
        said = " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
        if code == ConfigError.exit_code:
            raise ConfigError(f"the run {run.name} was refused: {said}")
        raise InfrastructureError(f"it ended with code {code}: {said}")
    rows = read_rows(directory.evaluations)
    last = [row for row in rows if row.policy_version == config.loop.steps]
    first = [row for row in rows if row.policy_version == 0]
    seconds = directory.read_took()
    return MeasuredRun(run.name, run.labels, run.digest, seconds, _measures(last), _measures(first))


def _measures(rows: Sequence[EvalRow]) -> dict[str, Estimate]:
    """pass@k and greedy of each environment; of several, the name comes before the measure."""
    measures: dict[str, Estimate] = {}
    for row in rows:
        prefix = f"{row.environment} " if len(rows) > 1 else ""
        measures |= {f"{prefix}pass@{k}": estimate for k, estimate in sorted(row.pass_at_k.items())}
        if row.greedy is not None:
            measures[f"{prefix}greedy"] = row.greedy
    return measures


def _ask(run: PlannedRun, child: subprocess.Popen[str]) -> MeasuredRun:
    """The result of a run of the exact-likelihood experiment."""
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(run.config.model_dump_json() + "\n")
        child.stdin.flush()
        line = child.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        raise InfrastructureError(f"the process that trains ended with code {child.wait()}")
    outcome = json.loads(line)
    measures = {
        name: Estimate(value, value, value)
        for name in ("negative_log_likelihood", "accuracy")
        if math.isfinite(value := outcome[name])  # a run may diverge: it then lacks the measure
    }
    curve = tuple((float(step), float(y)) for step, y in outcome["curve"] if math.isfinite(y))
    return MeasuredRun(run.name, run.labels, run.digest, outcome["seconds"], measures, curve=curve)


@contextmanager
def _likelihood_child(pending: Sequence[PlannedRun]) -> Iterator[subprocess.Popen[str] | None]:
    """One process for all runs that need it, since loading torch takes longer than a run; None if none does."""
    if all(isinstance(run.config, RunConfig) for run in pending):
        yield None
        return
    with _child(["agent_rl.experiments.likelihood_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        yield child


@contextmanager
def _child(
    command: Sequence[str], *, stdin: int, stdout: int | IO[str], stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a module; it has ended at the block's end, and the kernel ends it with this one."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-m", "agent_rl.experiments.child_process", str(os.getpid()), *command],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=environment,
    )
    try:
        yield child
    finally:
        if child.stdin is not None:
            child.stdin.close()
        if child.poll() is None and child.stdin is None:
            child.terminate()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
