"""`agent-rl experiment`: runs in turn, what a killed one leaves behind, and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent_rl.cli import main

SWEEP = """
title = "small"
measures = ["accuracy"]
[likelihood]
classes = 4
steps = 40
held_out = 100
[[grids]]
axes = [
  { name = "method", key = "method", values = ["cross_entropy", "maxrl"] },
  { name = "seed", key = "seed", values = [0, 1] },
]
[[checks]]
what = "more than all"
measure = "accuracy"
of = ["method=maxrl"]
against = ["method=cross_entropy"]
at_least = BOUND
"""
PARITY = Path(__file__).parents[1] / "loop" / "parity.py"
RUN = f"""
environments = [{{ environment = "{PARITY}:Parity", name = "parity" }}]
sampling = {{ max_tokens = 8 }}
loop = {{ steps = 12, groups_per_batch = 2, group_size = 4 }}
sandbox = {{ provider = "{PARITY}:Delayed", workers = 2 }}
evaluation = {{ tasks = 4, samples = 4, k = [1, 4], greedy = false }}
[model.scratch]
vocabulary = 300
width = 32
layers = 1
heads = 2
kv_heads = 2
ffn_width = 64
context = 128
"""
TRAINING = """
title = "training"
measures = ["pass@1", "pass@4"]
training = { config = "CONFIG" }
grids = [{ axes = [{ name = "seed", key = "seed", values = [0, 1] }] }]
average = ""
figures = [{ name = "by_k", title = "pass@k", x = "k", lines = ["seed"] }]
"""


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_finished_runs_are_not_repeated_and_claims_decide_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = written(tmp_path / "small.toml", SWEEP.replace("BOUND", "0.0"))
    asked = ["experiment", small, "--dir", str(tmp_path / "out")]
    assert main([*asked, "--only", "method=maxrl", "--only", "seed=1"]) == 0
    assert [row["run"] for row in rows(tmp_path / "out")] == ["method=maxrl,seed=1"]
    assert main([*asked, "--dry-run", "--json", str(tmp_path / "plan.json")]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert [run["finished"] for run in plan["runs"]] == [False, False, False, True]
    first = (tmp_path / "out" / "results.jsonl").read_text()
    capsys.readouterr()
    assert main([*asked, "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert "1 of 4 runs are finished" in said
    assert "- holds: more than all" in said
    assert (tmp_path / "out" / "results.jsonl").read_text().startswith(first)
    report = json.loads((tmp_path / "out.json").read_text())
    assert (len(report["runs"]), report["failed"], report["claims"][0]["holds"]) == (4, [], True)
    # The same runs, and a claim that they do not show.
    written(tmp_path / "small.toml", SWEEP.replace("BOUND", "100.0"))
    assert main(asked) == 1
    assert "DOES NOT HOLD" in (tmp_path / "out" / "table.md").read_text()
    # Other settings are another experiment.
    assert main([*asked, "--set", "steps=30"]) == 2
    assert "with other settings" in capsys.readouterr().err
    assert main(["experiment", "no_such"]) == 2
    assert main(["experiment"]) == 2
    assert main(["experiment", "--list"]) == 0
    assert "exact_likelihood" in capsys.readouterr().out


def command(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "agent_rl", "experiment", *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def waited(what: str, condition: object, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():  # pyright: ignore
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.mark.local_sandbox
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_a_killed_experiment_goes_on_where_it_was(
    how: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))
    config = written(tmp_path / "run.toml", RUN)
    file = written(tmp_path / "training.toml", TRAINING.replace("CONFIG", config))
    out = tmp_path / "out"
    run = out / "runs" / "seed=0"
    process = command(file, "--dir", str(out))
    waited("three steps", lambda: (run / "metrics.jsonl").exists() and len(_lines(run / "metrics.jsonl")) >= 3)
    process.send_signal(how)
    assert process.wait() == code
    assert not (out / "results.jsonl").exists()
    assert main(["experiment", file, "--dir", str(out)]) == 0
    assert [row["run"] for row in rows(out)] == ["seed=0", "seed=1"]
    # The same run went on: no step twice, its start was evaluated once, and the second run's not at all.
    assert [json.loads(line)["step"] for line in _lines(run / "metrics.jsonl")] == list(range(1, 13))
    assert "resuming" in run.with_name("seed=0.log").read_text()
    first, second = rows(out)
    assert set(first["start"]) == set(first["measures"]) == {"pass@1", "pass@4"}  # pyright: ignore
    assert second["start"] == {}
    table = (out / "table.md").read_text()
    assert "| start |" in table and "| 0 | 1 |" in table and "by_k.svg" in table


@pytest.mark.local_sandbox
def test_a_run_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))
    config = written(tmp_path / "run.toml", RUN.replace("steps = 12", "steps = 1"))
    file = written(tmp_path / "training.toml", TRAINING.replace("CONFIG", config))
    # The environment of seed 0 cannot be imported: the user's mistake, which ends everything.
    broken = TRAINING.replace("CONFIG", config).replace(
        'key = "seed", values = [0, 1]',
        'variants = [{ name = "a", overrides = ["environments.0.environment=nowhere:None"] }]',
    )
    assert main(["experiment", written(tmp_path / "broken.toml", broken), "--dir", str(tmp_path / "broken")]) == 2
    assert "nowhere" in capsys.readouterr().err
    # A run whose process ends by itself: the machinery's failure.
    monkeypatch.setattr("agent_rl.experiments.run_experiment._TRAIN", ("agent_rl.no_such_module",))
    assert main(["experiment", file, "--dir", str(tmp_path / "out")]) == 3
    said = capsys.readouterr()
    assert "2 runs failed: seed=0, seed=1" in said.err
    assert "seed=1 FAILED: it ended with code 1" in said.out


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
