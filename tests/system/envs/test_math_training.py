"""A short training run on generated arithmetic in which the agent calls the Python tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from agent_rl.config import load_config
from agent_rl.loop.run_display import Display
from agent_rl.loop.train import train

CONFIG = Path(__file__).parents[3] / "configs" / "arithmetic-tool.toml"
SHORT = (
    "model.sft.steps=100",
    "loop.steps=2",
    "loop.groups_per_batch=3",
    "loop.group_size=4",
    "evaluation.enabled=false",
    'sandbox.provider="local"',
)


@pytest.mark.slow
@pytest.mark.local_sandbox
async def test_a_short_run_calls_the_tool_and_never_trains_on_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))
    await train(load_config(CONFIG, SHORT), tmp_path / "run", display=Display(Console(quiet=True)))
    rows = [
        json.loads(line)
        for file in sorted((tmp_path / "run" / "rollouts").iterdir())
        for line in file.read_text().splitlines()
    ]
    assert len(rows) == 2 * 3 * 4
    observed = [message for row in rows for turn in row["turns"] for message in turn["observation"]]
    answered = [m for m in observed if m["role"] == "tool" and not m["content"].startswith("Error")]
    assert answered, "after SFT about half of the rollouts call the tool"
    tool_segments = [s for row in rows for s in row["segments"] if s["source"] == "tool"]
    assert len(tool_segments) >= len(answered)
    # Only what the model sampled has a loss mask at all.
    assert all(("loss_mask" in s) == (s["source"] == "model") for row in rows for s in row["segments"])
