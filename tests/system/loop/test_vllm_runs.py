"""A whole run with a real vLLM on the CPU, whose engine is killed in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from agent_rl.config import parse_config
from agent_rl.loop.open_run import Run
from tests.component.loop.tiny_runs import looped_with, settings

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]


def processes_of(group: int) -> dict[int, str]:
    """Of each process in the process group `group`, its name."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text()
            except OSError:
                continue
            name, rest = fields[fields.index("(") + 1 : fields.rindex(")")], fields[fields.rindex(")") + 2 :].split()
            if int(rest[2]) == group and rest[0] != "Z":
                found[int(entry.name)] = name
    return found


def groups_below(pid: int) -> set[int]:
    """The process groups of the children of `pid`."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {os.getpgid(int(child)) for child in children}


async def test_an_engine_killed_in_the_middle_is_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    data: dict[str, Any] = settings(6)
    data["model"]["scratch"]["width"] = 64  # heads of 32: vLLM's attention on a CPU knows no smaller ones
    data["policy"] = {**data.get("policy", {}), "engine": "vllm", "max_batch": 64}
    groups: set[int] = set()

    async def kill_the_engine(run: Run) -> None:
        groups.update(groups_below(run.policy.pids()[0]))
        workers = [pid for group in groups for pid, name in processes_of(group).items() if name.startswith("VLLM")]
        assert workers, "vLLM's engine and worker run below the policy"
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):  # it went with its parent
                os.kill(pid, signal.SIGKILL)

    run, metrics = await looped_with(parse_config(data), tmp_path / "run", 2, kill_the_engine)
    assert run.policy.restarts == 1
    assert [row["step"] for row in metrics] == [1, 2, 3, 4, 5, 6]
    size = data["loop"]["group_size"]
    for file in sorted((tmp_path / "run" / "rollouts").glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert all(row.get("verdict") is not None for row in rows if "dropped" not in row)
        assert len(rows) % size == 0
    assert max(row["mismatch"] for row in metrics if row["staleness_max"] == 0) < 1e-3
    async with asyncio.timeout(30):
        while any(processes_of(group) for group in groups):
            await asyncio.sleep(0.1)
