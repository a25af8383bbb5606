"""Whether this machine has the devices that a configuration names, found out before anything is made, without torch."""

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
"""Device files of GPUs that torch calls cuda too, and that are not NVIDIA's usual ones: AMD's, WSL's, Jetson's."""


def require_devices(config: RunConfig, *, learner: bool = True) -> None:
    """The policy's devices are there, and with `learner` its device. Raises ConfigError that says what there is."""
    engine, vllm = chosen_engine(config), config.policy.vllm
    if not (engine == "vllm" and vllm.urls):  # those servers have devices of their own, elsewhere
        require_device(config.policy.device, "policy.device")
        if engine == "vllm" and not config.policy.device.startswith("cpu"):
            for index in vllm.devices:
                require_device(f"cuda:{index}", "policy.vllm.devices")
    if learner:
        require_device(config.learner.device, "learner.device")


def require_device(device: str, key: str, devices: Path = Path("/dev")) -> None:
    """`device` (auto, cpu, cuda, cuda:1) is there. Raises ConfigError, that names `key` and what there is instead."""
    match = _CUDA.fullmatch(device)
    if match is None:
        if not _OTHER.fullmatch(device):
            raise ConfigError(
                f"{device!r} is no device: give auto, cpu, cuda, or one GPU such as cuda:1",
                key=key,
                value=device,
                valid=("auto", "cpu", "cuda"),
            )
        return
    if any((devices / name).exists() for name in _UNCOUNTED):
        return  # torch will tell
    count, wanted = visible_gpus(devices), int(match[1] or 0)
    if wanted < count:
        return
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = "" if chosen is None else f" (CUDA_VISIBLE_DEVICES={chosen})"
    if count == 0:
        raise ConfigError(f'{device!r} needs a GPU, and this process sees none{seen}: set "cpu" or "auto"', key=key)
    last = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
    raise ConfigError(f"{device!r} is not there: this process sees {last}{seen}", key=key)
