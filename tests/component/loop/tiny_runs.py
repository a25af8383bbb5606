"""Small whole runs with real processes: their settings, how they are run, and what two of them are compared by."""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent_rl.config import RunConfig
from agent_rl.loop.open_run import Run, open_run
from agent_rl.loop.run_display import Display
from agent_rl.loop.train import run_loop

HERE = Path(__file__).parent


def settings(steps: int = 20, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "seed": 7,
        "environments": [{"environment": f"{HERE / 'parity.py'}:Parity", "name": "parity"}],
        "model": {
            "scratch": {
                "vocabulary": 300,
                "width": 32,
                "layers": 1,
                "heads": 2,
                "kv_heads": 2,
                "ffn_width": 64,
                "context": 128,
            }
        },
        "sampling": {"max_tokens": 8},
        "optimizer": {"learning_rate": 3e-3},
        "loop": {"steps": steps, "groups_per_batch": 2, "group_size": 4, "max_staleness": 1},
        "sandbox": {"provider": f"{HERE / 'parity.py'}:Delayed", "workers": 2},
        "evaluation": {"enabled": False},
    }
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    return data


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whole runs of a module keep what they prepare in a folder of the module's own.

    A run collects what lies about when it begins: the Docker SDK's unclosed sockets, say, of earlier tests' daemons.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_RL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def quiet() -> Display:
    return Display(Console(quiet=True))


def outcome(run_dir: Path) -> dict[str, Any]:
    """Everything of a run that may not depend on time: token ids, verdicts, advantages, losses, and the final weights.

    The run's own id, which is random, says only whose the rollouts are.
    """
    rollouts = {}
    for file in sorted((run_dir / "rollouts").iterdir()):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            del row["run"], row["timings"], row["verdict"]["seconds"]
        rollouts[file.name] = rows
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for row in metrics:
        del row["timings"]
    newest = max((run_dir / "checkpoints").iterdir())
    return {"rollouts": rollouts, "metrics": metrics, "weights": (newest / "model.safetensors").read_bytes()}


def assert_equal(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first["rollouts"].keys() == second["rollouts"].keys()
    for name in first["rollouts"]:
        assert first["rollouts"][name] == second["rollouts"][name], name
    assert first["metrics"] == second["metrics"]
    assert first["weights"] == second["weights"]


DETERMINISTIC = {"deterministic": True, "loop": {"max_staleness": 0}}


async def looped_with(
    config: RunConfig, run_dir: Path, after: int, mishap: Callable[[Run], Awaitable[None]]
) -> tuple[Run, list[dict[str, Any]]]:
    """A run to whose parts `mishap` happens once `after` steps are done."""

    async def wait_and_strike(run: Run) -> None:
        while run.capacity.version < after:
            await asyncio.sleep(0.005)
        await mishap(run)

    async with open_run(config, run_dir, resume=False, display=quiet()) as run:
        running = run.running_groups()
        async with running, asyncio.TaskGroup() as group:
            group.create_task(wait_and_strike(run))
            await run_loop(run, running)
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return run, [json.loads(line) for line in lines]
