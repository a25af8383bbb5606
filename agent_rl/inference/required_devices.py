"""Checks that this machine has the devices that a configuration names, before anything starts and without torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from agent_rl.config import RunConfig
from agent_rl.devices import visible_gpus
from agent_rl.errors import ConfigError
from agent_rl.inference.start_policy import chosen_engine

_CUDA = re.compile(r"cuda(?::(\d+))?")
_OTHER = re.compile(r"(auto|cpu|mps|xpu|hpu|npu)(:\d+)?")
_UNCOUNTED = ("kfd", "dxg", "nvhost-gpu")
"""Device files of other GPUs that torch also calls cuda: AMD, WSL, Jetson."""


def require_devices(config: RunConfig, *, learner: bool = True) -> None:
    """The policy's devices exist, and with `learner` the learner's. Raises ConfigError that lists the devices here."""
    engine, vllm = chosen_engine(config), config.policy.vllm
    if not (engine == "vllm" and vllm.urls):  # servers at URLs have their own devices
        require_device(config.policy.device, "policy.device")
        if engine == "vllm" and not config.policy.device.startswith("cpu"):
            for index in vllm.devices:
                require_device(f"cuda:{index}", "policy.vllm.devices")
    if learner:
        require_device(config.learner.device, "learner.device")


def require_device(device: str, key: str, devices: Path = Path("/dev")) -> None:
    """`device` (auto, cpu, cuda, cuda:1) exists. Raises ConfigError that names `key` and lists the devices here."""
    match = _CUDA.fullmatch(device)
    if match is None:
        if not _OTHER.fullmatch(device):
            raise ConfigError(
                f"{device!r} is not a device: give auto, cpu, cuda, or one GPU such as cuda:1",
                key=key,
                value=device,
                valid=("auto", "cpu", "cuda"),
            )
        return
    if any((devices / name).exists() for name in _UNCOUNTED):
        return  # torch checks these itself
    count, wanted = visible_gpus(devices), int(match[1] or 0)
    if wanted < count:
        return
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = "" if chosen is None else f" (CUDA_VISIBLE_DEVICES={chosen})"
    if count == 0:
        raise ConfigError(f'{device!r} needs a GPU, and this process sees none{seen}: set "cpu" or "auto"', key=key)
    last = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
    raise ConfigError(f"{device!r} is not there: this process sees {last}{seen}", key=key)
