"""Weights from the learner to the policy by CUDA IPC: both on GPUs of one host; the weights stay on the GPUs.

A sender holds two buffers on its GPU, as `SharedMemorySender` holds two blobs on the host; a manifest carries the
handle with which another process maps one of them. The receiver has to see the sender's GPU, even if its model is on
another one: the copy then goes from GPU to GPU.

Imports torch: only role processes load this module.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import torch

from agent_rl.contracts.policy import WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.weights.shared_memory import Sender, read


class CudaSender(Sender):
    """Publishes tensors from the memory of one GPU."""

    kind = "cuda_ipc"

    def __init__(self, device: torch.device) -> None:
        """Raises ValueError when `device` is not a GPU."""
        super().__init__()
        if device.type != "cuda":
            raise ValueError(f"CUDA IPC needs the tensors on a GPU, not on {device}")
        self._device = device
        self._buffers: list[tuple[torch.Tensor, str] | None] = [None, None]

    def _buffer(self, turn: int, size: int) -> tuple[torch.Tensor, str]:
        held = self._buffers[turn]
        if held is None or held[0].numel() < size:
            buffer = torch.empty(size, dtype=torch.uint8, device=self._device)
            # Shared only once: each call would make another event, which lives until the receiver releases it.
            shared = packed(buffer.untyped_storage()._share_cuda_())
            gpu = uuid_of(self._device.index or 0)
            name = json.dumps({"gpu": gpu, "offset": buffer.storage_offset(), "storage": shared})
            held = self._buffers[turn] = (buffer, name)
        return held

    def _filled(self) -> None:
        torch.cuda.synchronize(self._device)  # the other process does not wait for this one's stream

    def close(self) -> None:
        self._buffers = [None, None]


class CudaReceiver:
    """Reads what a `CudaSender` of another process on this host has published."""

    def load(
        self, manifest: WeightManifest, *, dtype: torch.dtype | None = None, device: str | torch.device = "cuda"
    ) -> dict[str, torch.Tensor]:
        """Name -> a copy of the tensor on `device`. Raises PolicyError if this process cannot see the sender's GPU."""
        handle: dict[str, Any] = json.loads(manifest.blob)
        found = [i for i in range(torch.cuda.device_count()) if uuid_of(i) == handle["gpu"]]
        if not found:
            raise PolicyError(
                f"the weights of version {manifest.version} lie on GPU {handle['gpu']}, which this process cannot see: "
                "let CUDA_VISIBLE_DEVICES name it too, or set loop.transport to shared_memory"
            )
        _, *rest = unpacked(handle["storage"])
        with torch.cuda.device(found[0]):
            storage = torch.UntypedStorage._new_shared_cuda(found[0], *rest)
            buffer = torch.empty(0, dtype=torch.uint8, device=f"cuda:{found[0]}")
            buffer.set_(storage, handle["offset"], (manifest.nbytes,))  # pyright: ignore[reportCallIssue]
            loaded = read(buffer, manifest, dtype=dtype, device=device)
            torch.cuda.synchronize()  # the sender may fill the buffer again once this has returned
        return loaded


def uuid_of(index: int) -> str:
    """The UUID of GPU `index`, which is the same in every process."""
    return str(torch.cuda.get_device_properties(index).uuid)


def packed(shared: tuple[Any, ...]) -> list[Any]:
    """Torch's description of a shared storage in JSON types: bytes become {"bytes": base64}."""
    return [{"bytes": base64.b64encode(part).decode()} if isinstance(part, bytes) else part for part in shared]


def unpacked(parts: list[Any]) -> tuple[Any, ...]:
    """The inverse of `packed`."""
    return tuple(base64.b64decode(part["bytes"]) if isinstance(part, dict) else part for part in parts)
