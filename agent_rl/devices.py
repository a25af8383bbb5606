"""Which accelerators there are, and how busy the cores are, found out without torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NVIDIA = re.compile(r"nvidia\d+$")


def visible_gpus(devices: Path = Path("/dev")) -> int:
    """How many GPUs this process may use: CUDA_VISIBLE_DEVICES where it is set, else the device files of NVIDIA's."""
    present = sum(1 for entry in devices.glob("nvidia*") if _NVIDIA.match(entry.name))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    return min(present, sum(1 for name in chosen.split(",") if name.strip() and name.strip() != "-1"))


def busy_core_seconds(stat: Path = Path("/proc/stat")) -> float:
    """Seconds that this machine's cores have worked since it started, added up; 0 where the kernel does not say."""
    try:
        fields = stat.read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, irq, softirq, _stolen = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
