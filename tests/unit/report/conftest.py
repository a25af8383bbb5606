"""A run's folder with made-up figures, in the form that the loop writes."""

import json
import math
import random
from pathlib import Path

import pytest

from agent_rl.records.eval_file import append_row
from agent_rl.records.eval_row import Estimate, EvalRow
from agent_rl.records.run_mark import RunMark

CONFIG = """seed = 3
[[environments]]
environment = "synthesis"
name = "synthesis"
[model.scratch]
width = 128
[algorithm.advantage]
name = "maxrl"
[loop]
steps = 60
group_size = 16
max_staleness = 1
"""


def evaluation(version: int, value: float) -> EvalRow:
    estimates = {k: Estimate(v, v - 0.05, min(1.0, v + 0.05)) for k, v in ((1, value), (8, min(1.0, value + 0.3)))}
    return EvalRow(version, "test", "synthesis", 200, 8, 1, Estimate(value - 0.02, value - 0.08, value), estimates)


def metrics_row(step: int, steps: int, generator: random.Random) -> dict[str, object]:
    rate = 0.2 + 0.6 / (1 + math.exp(-8 * (step / steps - 0.4))) + generator.gauss(0, 0.03)
    return {
        "step": step,
        "version": step,
        "pass_rate": rate,
        "groups_all_failed": int(10 * (1 - rate)),
        "groups_all_passed": int(10 * rate**2),
        "tampered_share": 0.01 if step % 10 == 0 else 0.0,
        "groups": 16,
        "rollouts": 256,
        "staleness_mean": generator.uniform(0.3, 0.9),
        "staleness_max": 1,
        "dropped": {"sandbox": 1} if step % 20 == 0 else {},
        "gradient_norm": generator.uniform(0.2, 0.8),
        "entropy": 0.4 - 0.2 * step / steps,
        "turns_mean": 1.8 - 0.6 * step / steps,
        "env/synthesis/pass_rate": rate,
        "timings": {
            "total": generator.uniform(1.9, 2.4),
            "waiting": generator.uniform(0.1, 0.6),
            "learner": generator.uniform(1.4, 1.8),
            "sampled_tokens_per_second": generator.uniform(9e3, 11e3),
            "trained_tokens_per_second": generator.uniform(2e4, 2.4e4),
            "verdicts_per_second": generator.uniform(150, 210),
        },
    }


def spans(step: int, generator: random.Random) -> list[dict[str, object]]:
    start = 2.0 * step
    rows: list[dict[str, object]] = [
        {"step": step, "role": "learner", "what": f"step {step}", "start": start, "end": start + 1.6},
        {"step": step, "role": "publish", "what": f"version {step}", "start": start + 1.6, "end": start + 1.7},
    ]
    for group in range(16):
        begin = start - 1.5 + 2.0 * group / 16
        end = begin + generator.uniform(0.5, 1.9)
        rows.append({"step": step, "role": "rollouts", "what": f"group {group}", "start": begin, "end": end})
    return rows


def rollout_row(number: int, passed: bool, text: str = "def f(x):\n    return x + 1") -> dict[str, object]:
    return {
        "task": f"synthesis/{number}",
        "environment": "synthesis",
        "prompt": [{"role": "user", "content": "Write f(x) that adds one & doubles.\n>>> f(2)\n6"}],
        "advantage": 2.5 if passed else -1.0,
        "ended": "answered",
        "turns": [
            {
                "text": text,
                "finish_reason": "stop",
                "observation": [{"role": "user", "content": "f(2) gave 3, expected 6"}],
                "scores": {},
            },
            {"text": "def f(x):\n    return (x + 1) * 2", "finish_reason": "stop", "observation": [], "scores": {}},
        ],
        "verdict": {
            "passed": passed,
            "status": "passed" if passed else "failed",
            "tier": "values",
            "isolation": "namespaces",
            "seconds": 0.006,
            "tests": [{"name": "f(2)", "passed": passed, "detail": "" if passed else "6 expected, got <b>3</b>"}],
        },
    }


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of 60 steps, evaluated before and after."""
    run, steps, generator = tmp_path / "quickstart", 60, random.Random(0)
    run.mkdir()
    (run / "config.toml").write_text("# Written by a run of agent-rl\n" + CONFIG)
    RunMark.new().write(run)
    write_lines(run / "metrics.jsonl", [metrics_row(s, steps, generator) for s in range(1, steps + 1)])
    write_lines(run / "timeline.jsonl", [row for s in range(1, steps + 1) for row in spans(s, generator)])
    for step in (1, 30, 60):
        rows = [rollout_row(n, passed=n % 2 == 0) for n in range(6)]
        write_lines(run / "rollouts" / f"step_{step:06d}.jsonl", rows)
    append_row(run / "eval.json", evaluation(0, 0.21))
    append_row(run / "eval.json", evaluation(60, 0.74))
    return run
