"""Whole runs with real processes and the local sandbox: determinism, resuming after SIGKILL, and what dies within."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent_rl.cli import main
from agent_rl.config import parse_config
from agent_rl.loop.open_run import Run
from agent_rl.loop.train import train
from tests.component.loop.tiny_runs import (
    DETERMINISTIC,
    assert_equal,
    looped_with,
    outcome,
    own_cache,
    quiet,
    settings,
)

__all__ = ["own_cache"]
pytestmark = [pytest.mark.slow, pytest.mark.local_sandbox]


async def test_two_deterministic_runs_are_equal_bit_for_bit(recorded_run: Path, tmp_path: Path) -> None:
    await train(parse_config(settings(20, **DETERMINISTIC)), tmp_path / "second", display=quiet())
    first = outcome(recorded_run)
    assert_equal(first, outcome(tmp_path / "second"))
    assert len(first["metrics"]) == 20
    # The comparison would be empty if nothing had been learned from.
    assert sum(row["trained_tokens"] > 0 for row in first["metrics"]) >= 15
    rates = [row["pass_rate"] for row in first["metrics"]]
    assert len(set(rates)) > 1


def test_a_run_killed_at_random_moments_and_resumed_ends_as_one_never_killed(
    recorded_run: Path, tmp_path: Path
) -> None:
    config = parse_config(settings(20, **DETERMINISTIC))
    file = tmp_path / "config.toml"
    file.write_text(config.to_toml())
    moments = random.Random(5)
    kills = 0
    resume: list[str] = []
    for _ in range(40):
        command = [sys.executable, "-m", "agent_rl", "train", str(file), "--run-dir", str(tmp_path / "killed")]
        process = subprocess.Popen([*command, *resume], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        started = _steps(tmp_path / "killed")
        wanted = started + moments.randint(4, 8)
        while process.poll() is None and _steps(tmp_path / "killed") < wanted:
            time.sleep(0.01)
        if process.poll() is None:
            time.sleep(moments.random() * 0.3)
            process.kill()
            kills += 1
        _, errors = process.communicate()
        resume = ["--resume"]
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors.decode()
    assert process.returncode == 0
    assert kills >= 2
    assert_equal(outcome(recorded_run), outcome(tmp_path / "killed"))


def test_an_evaluation_on_its_own_gives_the_row_that_the_run_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # pass@2 and pass@4 tell how the passes are spread over the tasks: other draws do not give this row by chance.
    held_out = {"enabled": True, "tasks": 8, "samples": 8, "k": [1, 2, 4]}
    config = parse_config(settings(2, evaluation=held_out))
    file, out, run_dir = tmp_path / "config.toml", tmp_path / "row.json", tmp_path / "run"
    file.write_text(config.to_toml())
    asyncio.run(train(config, run_dir, display=quiet()))
    before, after = json.loads((run_dir / "eval.json").read_text())
    assert (before["policy_version"], after["policy_version"]) == (0, 2)
    assert main(["eval", str(file), "--policy", str(run_dir), "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == [after]
    # An equality of rows in which nothing, or everything, passes would say little of the draws.
    assert 0.0 < after["pass_at_k"]["1"]["value"] < 1.0
    assert after["num_excluded"] == 0
    assert "8 x 8" in capsys.readouterr().out


async def test_the_timeline_of_a_resumed_run_goes_on_where_it_stood(tmp_path: Path) -> None:
    for steps, resume in ((3, False), (6, True)):
        await train(parse_config(settings(steps)), tmp_path / "run", resume=resume, display=quiet())
    lines = (tmp_path / "run" / "timeline.jsonl").read_text().splitlines()
    spans = [json.loads(line) for line in lines]
    assert {s["step"] for s in spans} == {1, 2, 3, 4, 5, 6}
    assert max(s["end"] for s in spans if s["step"] <= 3) <= min(s["start"] for s in spans if s["step"] > 3)
    took = json.loads((tmp_path / "run" / "took.json").read_text())
    assert took["resumed"]
    assert took["seconds"] > 0


def _steps(run_dir: Path) -> int:
    file = run_dir / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


async def test_rollouts_and_learning_overlap_in_time(tmp_path: Path) -> None:
    """With max_staleness 1 rollouts are under way while the learner steps, in processes of their own."""

    async def nothing(run: Run) -> None:
        assert run.policy.pids() != [run.learner._process.pid]

    await looped_with(parse_config(settings(12)), tmp_path / "run", 1, nothing)
    spans = [json.loads(line) for line in (tmp_path / "run" / "timeline.jsonl").read_text().splitlines()]
    learner = [s for s in spans if s["role"] == "learner"]
    rollouts = [s for s in spans if s["role"] == "rollouts"]
    assert len(learner) == 12
    overlapping = [a for a in learner if any(b["start"] < a["end"] and a["start"] < b["end"] for b in rollouts)]
    assert len(overlapping) >= 6


async def test_the_policy_is_killed_in_the_middle_and_the_run_goes_on(tmp_path: Path) -> None:
    async def kill(run: Run) -> None:
        os.kill(run.policy.pids()[0], signal.SIGKILL)

    run, metrics = await looped_with(parse_config(settings(8)), tmp_path / "run", 3, kill)
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert run.policy.restarts == 1
    assert (await_versions := max(row["staleness_max"] for row in metrics)) <= 1, await_versions
    assert all(row["rollouts"] == 8 for row in metrics), "every rollout was issued again"


async def test_the_learner_is_killed_in_the_middle_and_the_run_goes_on(tmp_path: Path) -> None:
    async def kill(run: Run) -> None:
        os.kill(run.learner._process.pid, signal.SIGKILL)

    run, metrics = await looped_with(parse_config(settings(8)), tmp_path / "run", 3, kill)
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert run.learner.restarts == 1


async def test_workers_killed_in_the_middle_are_healed_and_no_rollout_is_scored_for_it(tmp_path: Path) -> None:
    killed: list[int] = []

    async def kill(run: Run) -> None:
        for pid in _descendants(os.getpid()):
            if b"agent_rl.launch" not in _command(pid) and b"python3" in _command(pid):
                with contextlib.suppress(ProcessLookupError):  # it went with its parent
                    os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    _, metrics = await looped_with(parse_config(settings(8)), tmp_path / "run", 3, kill)
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert killed
    statuses = {status for row in metrics for status in row["statuses"]}
    assert statuses <= {"passed", "failed"}, "nobody was blamed for what the machine did"


def _descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    found: list[int] = []
    for child, parent in parents.items():
        at = parent
        while at not in (0, 1):
            if at == pid:
                found.append(child)
                break
            at = parents.get(at, 0)
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
