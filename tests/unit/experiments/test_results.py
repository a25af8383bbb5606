"""Results of runs, what they show together, and the page that says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError
from agent_rl.experiments.experiment_file import Experiment
from agent_rl.experiments.likelihood_config import LikelihoodConfig
from agent_rl.experiments.planned_runs import PlannedRun
from agent_rl.experiments.results_file import MeasuredRun, ResultsFile
from agent_rl.experiments.results_page import write_page
from agent_rl.experiments.summarise import checked, summarise
from agent_rl.records.eval_row import Estimate


def measured(labels: dict[str, str], curve: tuple[tuple[float, float], ...] = (), **measures: Any) -> MeasuredRun:
    """A finished run; a measure is a value, or (value, low, high)."""
    estimates = {name.replace("_at_", "@"): _estimate(each) for name, each in measures.items()}
    return MeasuredRun(",".join(f"{k}={v}" for k, v in labels.items()), labels, "d", 60.0, estimates, curve=curve)


def _estimate(value: float | tuple[float, float, float]) -> Estimate:
    return Estimate(*value) if isinstance(value, tuple) else Estimate(value, value, value)


def experiment(**changes: Any) -> Experiment:
    axes = [{"name": name, "key": name, "values": [0]} for name in ("method", "N", "rate", "seed")]
    data = {"title": "T", "likelihood": {}, "grids": [{"axes": axes}], "measures": ["pass@1"], **changes}
    return Experiment.model_validate(data)


def test_lines_come_back_and_a_finished_run_is_found(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "deep" / "results.jsonl")
    assert file.read() == []
    one = measured({"N": "4"}, ((0.0, 2.0), (5.0, 1.0)), pass_at_1=(0.5, 0.4, 0.6))
    two = measured({"N": "8"}, pass_at_1=1.0)
    file.add(one)
    file.add(two)
    assert file.read() == [one, two]
    assert [json.loads(line)["run"] for line in file.path.read_text().splitlines()] == ["N=4", "N=8"]


def test_a_result_of_other_settings_is_none_of_this_run(tmp_path: Path) -> None:
    file = ResultsFile(tmp_path / "results.jsonl")
    run, other = (PlannedRun({"N": "4"}, LikelihoodConfig(steps=steps)) for steps in (1, 2))
    file.add(MeasuredRun(run.name, run.labels, run.digest, 1.0, {}))
    assert list(file.of([run])) == ["N=4"]
    with pytest.raises(ConfigError, match=r"--dir: .* a result of N=4 with other settings"):
        file.of([other])
    file.path.write_text("[]\n")
    with pytest.raises(ConfigError, match="does not hold results of an experiment"):
        file.read()


def test_a_row_averages_over_seeds() -> None:
    runs = [
        measured({"method": "a", "seed": "0"}, ((0.0, 4.0), (1.0, 2.0)), pass_at_1=(0.2, 0.1, 0.3)),
        measured({"method": "a", "seed": "1"}, ((0.0, 6.0), (1.0, 1.0), (2.0, 1.0)), pass_at_1=(0.4, 0.3, 0.6)),
        measured({"method": "b", "seed": "0"}, pass_at_1=0.5),
    ]
    a, b = summarise(experiment(), runs)
    assert (a.labels, len(a.runs)) == ({"method": "a"}, 2)
    mean = a.measure("pass@1")
    # (.2 + .4)/2 with the interval from (.1 + .3)/2 to (.3 + .6)/2.
    assert mean is not None
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.3, 0.2, 0.45))
    assert a.spread("pass@1") == (0.2, 0.4)
    assert a.curve == [(0.0, 5.0), (1.0, 1.5)]
    assert b.measure("pass@1") == Estimate(0.5, 0.5, 0.5)
    assert b.measure("greedy") is None


@pytest.mark.parametrize(("direction", "chosen"), [("lowest", "0.1"), ("highest", "0.2")])
def test_of_a_swept_axis_the_best_mean_is_shown(direction: str, chosen: str) -> None:
    # Means over seeds: .3 at rate .1, .35 at rate .2 (whose single best seed is lower than any at .1), none at .3.
    values = {("0.1", "0"): 0.3, ("0.1", "1"): 0.3, ("0.2", "0"): 0.1, ("0.2", "1"): 0.6}
    runs = [measured({"method": "a", "rate": r, "seed": s}, loss=v) for (r, s), v in values.items()]
    runs.append(measured({"method": "a", "rate": "0.3", "seed": "0"}))
    best = {"axis": "rate", "measure": "loss", "direction": direction}
    (row,) = summarise(experiment(best=best), runs)
    assert (row.best, row.labels, len(row.runs)) == (chosen, {"method": "a"}, 2)


def test_claims_hold_or_not_or_cannot_be_said_yet() -> None:
    claim = {"what": "w", "measure": "loss", "of": ["method=a"], "against": ["method=b"], "at_least": 0.9}
    whole = experiment(checks=[claim, {**claim, "at_most": 1.0}, {**claim, "against": ["method=c"]}])
    runs = [measured({"method": "a"}, loss=2.2), measured({"method": "b"}, loss=2.0)]
    first, second, third = checked(whole, summarise(whole, runs))
    assert first.ratio == second.ratio == pytest.approx(1.1)
    assert (first.holds, second.holds, third.holds) == (True, False, None)
    assert first.line() == "- holds: w (ratio 1.1000)"
    assert second.line() == "- DOES NOT HOLD: w (ratio 1.1000)"
    assert third.line() == "- not measured yet: w"


def test_the_page_has_a_table_and_its_figures(tmp_path: Path) -> None:
    figures = [
        {"name": "by_n", "title": "by N", "x": "N", "y": "pass@4", "transform": "minus_log", "lines": ["method"]},
        {"name": "by_k", "title": "by k", "x": "k", "lines": ["method", "N"], "where": ["method=a"]},
        {"name": "never", "title": "never", "x": "step", "lines": ["method"]},
    ]
    whole = experiment(measures=["pass@1", "pass@4"], figures=figures)
    runs = [
        measured({"method": m, "N": n, "seed": s}, pass_at_1=(0.1, 0.05, 0.2), pass_at_4=(value, value - 0.1, 1.0))
        for m, value in (("a", 0.5), ("b", 0.1))
        for n in ("4", "16")
        for s in ("0", "1")
    ]
    files = write_page(whole, runs, 10, tmp_path)
    assert [file.name for file in files] == ["table.md", "by_n.svg", "by_k.svg"]  # no run has a curve
    table = files[0].read_text()
    assert "8 of 10 runs, which took 8 minutes together." in table
    assert "| a | 4 | 2 | 0.100 [0.050, 0.200] (0.100 to 0.100) | 0.500 [0.400, 1.000] (0.500 to 0.500) |" in table
    assert "![by_n](by_n.svg)" in table
    by_n, by_k = (file.read_text() for file in files[1:])
    assert by_n.startswith("<svg")
    assert ">-log pass@4<" in by_n
    assert ">a<" in by_n and ">b<" in by_n
    assert ">a, N = 16<" in by_k and ">b, N = 16<" not in by_k


def test_a_missing_measure_says_why(tmp_path: Path) -> None:
    runs = [measured({"method": "a", "seed": "0"}, pass_at_1=0.5), measured({"method": "a", "seed": "1"})]
    assert "| a | 2 | diverged |" in write_page(experiment(), runs, 2, tmp_path)[0].read_text()
    training = experiment(likelihood=None, training={"config": "quickstart"})
    assert "| a | 2 | not measured |" in write_page(training, runs, 2, tmp_path)[0].read_text()


def test_the_start_is_a_row_of_its_own(tmp_path: Path) -> None:
    start = {"pass@1": Estimate(0.25, 0.2, 0.3)}
    run = MeasuredRun("r", {"method": "a", "N": "4"}, "d", 1.0, {"pass@1": Estimate(0.5, 0.4, 0.6)}, start)
    table = write_page(experiment(), [run], 1, tmp_path)[0].read_text()
    assert "| start |  |  | 0.250 [0.200, 0.300] |\n| a | 4 | 1 | 0.500 [0.400, 0.600] |" in table
