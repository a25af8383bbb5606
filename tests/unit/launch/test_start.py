"""Which engine a configuration gets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent_rl.config import RunConfig, parse_config
from agent_rl.devices import visible_gpus
from agent_rl.errors import ConfigError
from agent_rl.inference import start_policy
from agent_rl.inference.start_policy import chosen_engine
from agent_rl.inference.vllm import server


def config(**policy: object) -> RunConfig:
    data = {"environments": [{"environment": "synthesis"}], "model": {"path": "m"}, "policy": policy}
    return parse_config(data)


@pytest.mark.parametrize(
    ("interpreter", "gpus", "policy", "engine"),
    [
        ("python", 1, {}, "vllm"),
        ("python", 0, {}, "transformers"),
        (None, 1, {}, "transformers"),
        ("python", 1, {"device": "cpu"}, "transformers"),
        ("python", 1, {"engine": "transformers"}, "transformers"),
        ("python", 0, {"engine": "vllm"}, "vllm"),
        (None, 1, {"vllm": {"urls": ["http://gpu-1:8000"]}}, "vllm"),
    ],
)
def test_vllm_is_the_default_where_it_is_installed_with_a_gpu(
    monkeypatch: pytest.MonkeyPatch, interpreter: str | None, gpus: int, policy: dict[str, object], engine: str
) -> None:
    monkeypatch.setattr(start_policy, "vllm_interpreter", lambda config: interpreter)
    monkeypatch.setattr(start_policy, "visible_gpus", lambda: gpus)
    assert chosen_engine(config(**policy)) == engine


def test_a_deterministic_run_is_refused_with_vllm() -> None:
    deterministic = config(engine="vllm").model_copy(update={"deterministic": True})
    with pytest.raises(ConfigError, match=r"policy\.engine: deterministic = true needs fixed batch shapes"):
        chosen_engine(deterministic)


def test_vllm_is_found_beside_the_virtual_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = config().policy.vllm
    monkeypatch.delenv(server.INTERPRETER_VARIABLE, raising=False)
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert server.vllm_interpreter(vllm) is None
    beside = tmp_path / ".venv-vllm" / "bin" / "python"
    beside.parent.mkdir(parents=True)
    beside.touch()
    assert server.vllm_interpreter(vllm) == str(beside)
    monkeypatch.setenv(server.INTERPRETER_VARIABLE, "/other/python")
    assert server.vllm_interpreter(vllm) == "/other/python"
    assert server.vllm_interpreter(vllm.model_copy(update={"python": "/chosen"})) == "/chosen"


def test_gpus_are_counted_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus(tmp_path) == 3
    for chosen, count in (("1", 1), ("0,1", 2), ("", 0), ("-1", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        assert visible_gpus(tmp_path) == count


def test_devices_must_be_enough() -> None:
    with pytest.raises(ConfigError, match="devices names 1 GPUs; 2 replicas of tensor_parallel = 2 need 4"):
        config(vllm={"replicas": 2, "tensor_parallel": 2, "devices": [0]})


@pytest.mark.parametrize(
    ("policy", "learner", "transport", "seen"),
    [
        ({}, "auto", "shared_memory", ()),
        ({"device": "cuda:1"}, "cuda:0", "shared_memory", (1,)),
        ({"device": "cuda:1"}, "cuda:0", "cuda_ipc", (1, 0)),
        ({"device": "cuda:0"}, "cuda:0", "cuda_ipc", (0,)),
        ({"vllm": {"devices": [2, 3], "tensor_parallel": 2}}, "auto", "cuda_ipc", (2, 3, 0)),
    ],
)
def test_a_server_sees_its_own_gpus_first_and_those_it_takes_weights_from(
    policy: dict[str, object], learner: str, transport: str, seen: tuple[int, ...], tmp_path: Path
) -> None:
    data = {"environments": [{"environment": "synthesis"}], "model": {"path": "m"}, "policy": policy}
    resolved = parse_config({**data, "learner": {"device": learner}, "loop": {"transport": transport}})
    assert start_policy.visible_to_server(resolved, 0) == seen


def test_cuda_ipc_and_turns_on_one_device_exclude_each_other() -> None:
    data = {"environments": [{"environment": "synthesis"}], "model": {"path": "m"}}
    with pytest.raises(ConfigError, match=r'"cuda_ipc" needs loop\.placement = "separate"'):
        parse_config({**data, "loop": {"transport": "cuda_ipc", "placement": "colocated"}})
