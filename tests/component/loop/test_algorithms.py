"""Every part of `[algorithm]` trains from a TOML for three real steps, and resumes bit for bit."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from accelerate.state import AcceleratorState
from rich.console import Console

from agent_rl.algorithms import make_algorithm
from agent_rl.config import load_config
from agent_rl.loop.run_display import Display
from agent_rl.loop.train import train
from agent_rl.registry import registered
from tests.component.loop.in_process_roles import use_in_process_roles
from tests.component.loop.tiny_runs import HERE, assert_equal, outcome, own_cache, quiet, settings

__all__ = ["own_cache"]

OWN = Path(__file__).parents[3] / "docs" / "algorithms.md"
STEPS = 3


def of(kind: str, table: str) -> list[str]:
    """A TOML for every registered part of a kind."""
    return [f'[algorithm.{table}]\nname = "{name}"' for name in sorted(registered(f"agent_rl.{kind}"))]


TOMLS = [
    *of("advantages", "advantage"),
    '[algorithm.advantage]\nname = "maxrl"\ntruncation_order = 2\nbaseline_at_zero = true',
    '[algorithm.advantage]\nname = "pkpo"\nk = 3\nfinal_k = 1',
    *of("losses", "loss"),
    '[algorithm]\npasses = 2\nminibatches = 2\n[algorithm.loss]\nname = "ppo_clip"\nclip_high = 0.28\ndual_clip = 3.0',
    '[algorithm]\npasses = 2\nproximal = "recompute"\n[algorithm.loss]\nname = "ppo_clip"',
    '[algorithm]\nproximal = "interpolate"\n[algorithm.loss]\nname = "ppo_clip"',
    *of("corrections", "correction"),
    '[algorithm.correction]\nname = "tis"\nlevel = "sequence"',
    *of("aggregations", "aggregation"),
    '[[reward]]\nname = "score"\n[algorithm.advantage]\nname = "rloo"',
    '[[reward]]\nname = "outcome"\n[[reward]]\nname = "length_penalty"\nfree = 4\nlongest = 16\nweight = 0.5\n'
    '[algorithm.advantage]\nname = "grpo"',
    '[[reward]]\nname = "dense_then_binary"\n[algorithm.advantage]\nname = "grpo"',
    *(
        f'[[algorithm.regularizers]]\nname = "{name}"\ncoefficient = 0.1'
        for name in sorted(registered("agent_rl.regularizers"))
    ),
]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_in_process_roles(monkeypatch)
    # Charts would take most of the time, and other tests look at them.
    monkeypatch.setattr("agent_rl.loop.train.write_report", lambda folder: None)
    yield
    AcceleratorState._reset_state(True)
    torch.use_deterministic_algorithms(False)


def write_config(folder: Path, toml: str) -> Path:
    """A deterministic run of three steps with `toml` in its config."""
    parity = HERE / "parity.py"
    base = settings(
        STEPS,
        deterministic=True,
        environments=[{"environment": f"{parity}:JudgedHere", "name": "parity"}],
        loop={"max_staleness": 0, "group_size": 8},
        optimizer={"learning_rate": 3e-2},
        sandbox={"provider": f"{parity}:InMemory"},
    )
    file = folder / "config.toml"
    file.write_text(tomli_w.dumps(base) + "\n" + toml + "\n")
    return file


class Interrupted(Exception):
    """Ends a run in the middle."""


class EndsAfterTwoSteps(Display):
    """A display by which a run ends after its second step."""

    def step(self, row: dict[str, Any]) -> None:
        if row["step"] == 2:
            raise Interrupted


async def trained(folder: Path, toml: str, *, resume: bool = False, display: Display | None = None) -> Path:
    config = load_config(write_config(folder, toml))
    return await train(config, folder / "run", resume=resume, display=display or quiet())


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("toml", TOMLS, ids=lambda toml: " ".join(toml.replace("algorithm", "").split()))
async def test_three_steps_and_a_resumed_run(toml: str, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = await trained(tmp_path / "whole", toml)
    found = rows(whole)
    assert [row["version"] for row in found] == [1, 2, 3]
    assert any(row["trained_tokens"] > 0 and row["gradient_norm"] > 0 for row in found), "nothing was learned from"
    weights = {f.read_bytes() for f in whole.glob("checkpoints/*/model.safetensors")}
    assert len(weights) == len(list(whole.glob("checkpoints/*"))) == 2, "the last two of three steps are kept"
    with pytest.raises(Interrupted):
        await trained(tmp_path / "parts", toml, display=EndsAfterTwoSteps(Console(quiet=True)))
    assert not (tmp_path / "parts" / "run" / "checkpoints" / "step_000003").exists()
    assert_equal(outcome(await trained(tmp_path / "parts", toml, resume=True)), outcome(whole))


def test_parts_reach_another_process_also_from_a_users_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("\n".join(b for b in code_blocks(OWN, "python") if b.startswith("# own.py")))
    config = load_config(
        write_config(
            tmp_path,
            f'''
[algorithm.loss]
name = "{tmp_path}/own.py:CappedRatio"
highest = 4.0
''',
        )
    )
    plan = tmp_path / "plan.pickle"
    plan.write_bytes(pickle.dumps(make_algorithm(config).plan))
    program = (
        "import pickle, sys\n"
        "plan = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(plan.loss.name, plan.loss.options.highest, plan.loss.has_ratio)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(plan)], capture_output=True, text=True, check=True)
    assert done.stdout == "capped_ratio 4.0 True\n"


def code_blocks(page: Path, language: str) -> list[str]:
    """The code of a page in one language."""
    blocks = page.read_text(encoding="utf-8").split("```")[1::2]
    return [b.removeprefix(language + "\n") for b in blocks if b.startswith(language + "\n")]


async def test_the_documents_own_estimator_and_loss_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [block for block in code_blocks(OWN, "python") if block.startswith("# own.py")]
    assert len(own) == 2
    assert all(len(block.splitlines()) < 30 for block in own)
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("\n".join(own))
    (toml,) = (block for block in code_blocks(OWN, "toml") if "own.py" in block)
    found = rows(await trained(tmp_path, toml))
    assert any(row["gradient_norm"] > 0 for row in found)
    assert all("capped_share" in row for row in found if row["trained_tokens"])
