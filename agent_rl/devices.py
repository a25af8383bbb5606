"""Finds the accelerators and measures how busy the CPU cores are, without torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NVIDIA = re.compile(r"nvidia\d+$")


def visible_gpus(devices: Path = Path("/dev")) -> int:
    """How many GPUs this process may use: from CUDA_VISIBLE_DEVICES if it is set, else from NVIDIA's device files."""
    present = sum(1 for entry in devices.glob("nvidia*") if _NVIDIA.match(entry.name))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    return min(present, sum(1 for name in chosen.split(",") if name.strip() and name.strip() != "-1"))


def busy_core_seconds(stat: Path = Path("/proc/stat")) -> float:
    """The sum of busy seconds of all cores since the machine started; 0 if the kernel does not report it."""
    try:
        fields = stat.read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, irq, softirq, _stolen = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
