"""Receives weights by the transport that a manifest names."""

from __future__ import annotations

import torch

from agent_rl.contracts.policy import WeightManifest
from agent_rl.weights.cuda_ipc import CudaReceiver
from agent_rl.weights.shared_memory import SharedMemoryReceiver


def receive(
    manifest: WeightManifest, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> dict[str, torch.Tensor]:
    """Name -> a copy of the tensor on `device`, by the transport that `manifest` names. Raises PolicyError."""
    if manifest.kind == "cuda_ipc":
        return CudaReceiver().load(manifest, dtype=dtype, device=device)
    return SharedMemoryReceiver().load(manifest, dtype=dtype, device=device)
