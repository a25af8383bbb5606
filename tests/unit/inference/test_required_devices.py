"""A GPU that is not there is found out before anything is made, and without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_rl.config import RunConfig, parse_config
from agent_rl.errors import ConfigError
from agent_rl.inference import required_devices
from agent_rl.inference.required_devices import require_device, require_devices


def config(**changes: Any) -> RunConfig:
    return parse_config({"environments": [{"environment": "toy"}], "model": {"path": "none"}, **changes})


@pytest.mark.parametrize(
    ("device", "gpus", "chosen", "says"),
    [
        ("cuda", 0, None, '\'cuda\' needs a GPU, and this process sees none: set "cpu" or "auto"'),
        ("cuda:1", 0, None, '\'cuda:1\' needs a GPU, and this process sees none: set "cpu" or "auto"'),
        ("cuda", 2, "", "'cuda' needs a GPU, and this process sees none (CUDA_VISIBLE_DEVICES=): set"),
        ("cuda:1", 1, None, "'cuda:1' is not there: this process sees cuda:0"),
        ("cuda:7", 2, None, "'cuda:7' is not there: this process sees cuda:0 to cuda:1"),
        ("cuda:1", 2, "1", "'cuda:1' is not there: this process sees cuda:0 (CUDA_VISIBLE_DEVICES=1)"),
        (
            "cdua",
            2,
            None,
            "'cdua' is not a device: give auto, cpu, cuda, or one GPU such as cuda:1 (did you mean 'cuda'?)",
        ),
        ("cuda:", 2, None, "'cuda:' is not a device"),
        *((device, 0, None, None) for device in ("auto", "cpu", "mps")),
        *((device, 2, None, None) for device in ("cuda", "cuda:0", "cuda:1")),
    ],
)
def test_a_device_is_there_or_the_line_says_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, chosen: str | None, says: str | None
) -> None:
    for index in range(gpus):
        (tmp_path / f"nvidia{index}").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    if says is None:
        require_device(device, "policy.device", tmp_path)
        return
    with pytest.raises(ConfigError) as caught:
        require_device(device, "policy.device", tmp_path)
    assert str(caught.value).startswith(f"policy.device: {says}")


def test_gpus_that_cannot_be_counted_are_left_to_torch(tmp_path: Path) -> None:
    (tmp_path / "kfd").touch()  # AMD's: torch calls them cuda too
    require_device("cuda:3", "policy.device", tmp_path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, None),
        ({"policy": {"device": "cuda"}}, "policy.device"),
        ({"learner": {"device": "cuda:1"}}, "learner.device"),
        ({"policy": {"engine": "vllm", "vllm": {"devices": [2]}}}, "policy.vllm.devices"),
        ({"policy": {"engine": "vllm", "device": "cpu", "vllm": {"devices": [2]}}}, None),
        # Servers that are up already have GPUs of their own, perhaps on another machine.
        ({"policy": {"engine": "vllm", "device": "cuda", "vllm": {"urls": ["http://gpu-1:8000"]}}}, None),
    ],
)
def test_the_devices_of_a_run(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], key: str | None) -> None:
    monkeypatch.setattr(required_devices, "visible_gpus", lambda devices: 0)
    if key is None:
        require_devices(config(**changes))
        return
    with pytest.raises(ConfigError, match=f"^{key}: 'cuda"):
        require_devices(config(**changes))


def test_an_evaluation_needs_no_learner_s_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(required_devices, "visible_gpus", lambda devices: 0)
    require_devices(config(learner={"device": "cuda"}), learner=False)
    with pytest.raises(ConfigError, match=r"^policy\.device: 'cuda' needs a GPU"):
        require_devices(config(policy={"device": "cuda"}), learner=False)
