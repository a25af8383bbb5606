"""Which accelerators there are, found out without torch: for processes that decide who uses them."""

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
