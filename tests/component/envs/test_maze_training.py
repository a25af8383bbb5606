"""A small model is trained on mazes for two steps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from agent_rl.config import load_config
from agent_rl.loop.run_display import Display
from agent_rl.loop.train import train
from agent_rl.rollouts.chat import ChatTokenizer
from tests.component.loop.tiny_runs import own_cache

__all__ = ["own_cache"]

CONFIG = Path(__file__).parents[3] / "configs" / "maze.toml"
SHORT = (
    "environments.0.options={ size = 7, test_tasks = 8 }",
    "model.scratch.width=32",
    "model.scratch.layers=1",
    "model.scratch.ffn_width=64",
    "model.sft.steps=40",
    "sampling.max_tokens=24",
    "loop.steps=2",
    "loop.groups_per_batch=4",
    "loop.group_size=4",
    "evaluation.tasks=8",
    "evaluation.samples=4",
    "evaluation.k=[1, 4]",
    'sandbox.provider="local"',
)


@pytest.mark.local_sandbox
async def test_two_steps_on_mazes_of_size_7(tmp_path: Path) -> None:
    run = await train(load_config(CONFIG, SHORT), tmp_path / "run", display=Display(Console(quiet=True)))
    files = sorted((run / "rollouts").iterdir())
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(rows) == 2 * 4 * 4
    assert {row["verdict"]["tests"][0]["name"] for row in rows} == {"walk"}
    prompts = [[s for s in row["segments"] if s["source"] != "model"] for row in rows]
    # 4 + 7 * 8 tokens, as in the paper; no maze twice in the two batches but those of one group.
    assert {sum(len(s["token_ids"]) for s in segments) for segments in prompts} == {60}
    assert len({row["task"] for row in rows}) == 2 * 4
    evaluated = json.loads((run / "eval.json").read_text())
    assert [(row["policy_version"], row["num_tasks"]) for row in evaluated] == [(0, 8), (2, 8)]
    models = sorted(Path(os.environ["AGENT_RL_CACHE"]).glob("model-*"))
    assert ChatTokenizer.load(models[0]).vocabulary_size == 32
