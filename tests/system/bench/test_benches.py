"""Every bench runs, on something small, and says what it says in the form that is promised. Nothing is timed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent_rl.bench import bench_engines
from agent_rl.bench.bench_engines import EngineSettings
from agent_rl.bench.controller_bench import ControllerPlan, DialogueShape, measure_controller
from agent_rl.bench.generate_bench import GeneratePlan, compare_engines
from agent_rl.bench.scheduling_bench import SCENARIOS, measure
from agent_rl.bench.turns_bench import TurnsPlan, measure_turns
from agent_rl.cli.app import main
from agent_rl.config import ScratchModel
from agent_rl.contracts import SandboxProvider
from agent_rl.errors import ConfigError
from agent_rl.testing.in_memory_sandbox import InMemoryProvider

TINY = ScratchModel(
    architecture="qwen3", vocabulary=300, width=32, layers=1, heads=2, kv_heads=1, ffn_width=32, context=512
)


@pytest.mark.parametrize("name", ["balanced", "heavy_tail"])
async def test_the_schedulers_efficiency_is_a_share_of_the_ideal(name: str) -> None:
    small = replace(SCENARIOS[name], groups_per_batch=2, group_size=2, places=2, mean=0.01, steps=4, warm_up=1)
    achieved = await measure(small, InMemoryProvider())
    assert achieved.learner_bound == pytest.approx(0.02)
    # 16 of the drawn times, whose mean is .01, in 2 places over 4 steps: .02 too, give or take the draws.
    assert 0.005 < achieved.rollout_bound < 0.06
    assert 0.0 < achieved.efficiency <= 1.05
    assert achieved.to_json()["efficiency"] == round(achieved.efficiency, 4)


@pytest.mark.slow
async def test_the_engines_are_compared_on_the_same_requests() -> None:
    lines: list[str] = []
    plan = GeneratePlan(
        engines=("padded", "transformers"), requests=20, shape=TINY, prompts=(4, 32), completions=(2, 16)
    )
    report = await compare_engines(plan, lines.append)
    data = report.to_json()
    assert set(data["engines"]) == {"padded", "transformers"}
    # Batches of 16 and, all 20 in one, 64; 256 would be the same again.
    assert set(data["padded_batches"]) == {"16", "64"}
    for figures in data["engines"].values():
        assert set(figures) == {"tokens_per_second", "p50_ms", "p95_ms"}
        assert 0 < figures["p50_ms"] <= figures["p95_ms"]
        assert figures["tokens_per_second"] > 0
    assert set(data["ratios"]) == {"transformers"}
    assert data["workload"]["requests"] == 20
    first = [line.split(":")[1].strip() for line in lines if line.startswith("round 1")]
    assert first == ["padded 16", "padded 64", "transformers"]
    # One of the padded batches may be too slow to be worth another round; the best of them and the engine never are.
    assert len(lines) in (5, 6) and lines[-1].startswith("round 2: transformers")


@pytest.mark.slow
async def test_a_conversation_is_measured_turn_by_turn() -> None:
    shape = TINY.model_copy(update={"context": 1024})
    report = await measure_turns(TurnsPlan(turns=6, reply=4, observation=8, shape=shape, settings=EngineSettings()))
    assert len(report.turns) == 6
    tokens = [t.request_tokens for t in report.turns]
    assert tokens == sorted(tokens) and tokens[0] < tokens[-1]
    assert all(t.generating > 0 and t.preparing > 0 for t in report.turns)
    assert list(report.to_json()["at"]) == ["6"]


async def test_the_controllers_cost_is_measured_with_every_kind_of_policy() -> None:
    plan = ControllerPlan({"short": DialogueShape(3, 16, 16)}, rollouts=2, rounds=1)
    lines: list[str] = []
    report = await measure_controller(plan, InMemoryProvider(), lines.append)
    data = report.to_json()
    assert data["schema_version"] == 1
    assert set(data["policies"]) == {"in_process", "role", "vllm"}
    for kind, shapes in data["policies"].items():
        cost = shapes["short"]
        assert cost["sampled_tokens"] == 2 * 3 * 16  # two rollouts of three turns of 16 tokens
        assert cost["tokens_per_cpu_second"] > 0
        assert (cost["of_policy_process"] is None) == (kind == "in_process")
        assert shapes["growth"] is None
    assert data["bar"]["reached"] is None
    assert len(lines) == 3


async def test_an_unknown_engine_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"--engines: there is no such engine.*did you mean 'padded'"):
        await compare_engines(GeneratePlan(engines=("paded",)))


@pytest.mark.slow
async def test_an_engine_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_engines, "vllm_interpreter", lambda config: None)
    lines: list[str] = []
    report = await compare_engines(
        GeneratePlan(engines=("vllm",), requests=2, shape=TINY, prompts=(4, 8)), lines.append
    )
    assert lines == ["vllm: not installed"]
    assert report.to_json()["engines"] == {}
    assert report.to_json()["absent"] == {"vllm": "not installed"}


def test_a_missed_bar_is_an_error_only_where_it_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from agent_rl.bench import scheduling_bench

    async def measured(scenario: scheduling_bench.Scenario, provider: SandboxProvider) -> scheduling_bench.Achieved:
        await asyncio.sleep(0)
        return scheduling_bench.Achieved(1.0, 0.9, 1.08, 0.05, 0.03, 0.0, 0.0)

    monkeypatch.setattr(scheduling_bench, "measure", measured)
    file = tmp_path / "out" / "overlap.json"
    command = ["bench", "overlap", "--part", "scheduling", "--json", str(file)]
    assert main(command) == 0
    # 1 / 1.08 = .926: enough for the heavy tail, not for the balanced case.
    out = capsys.readouterr().out
    assert "the bar (balanced at least 0.95): missed" in out
    assert "the bar (heavy_tail at least 0.9): reached" in out
    data = json.loads(file.read_text())
    assert data["schema_version"] == 1
    assert {name: figures["efficiency"] for name, figures in data["scheduling"].items()} == {
        "balanced": 0.9259,
        "heavy_tail": 0.9259,
    }
    assert main([*command, "--require"]) == 1
    assert "missed: balanced at least 0.95" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["controller", "generate", "overlap", "turns", "verify"])
def test_every_bench_says_what_it_measures_and_its_bar(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text and "--require" in text and "bar" in text
