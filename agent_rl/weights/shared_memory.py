"""Weights from the learner to the policy through shared memory: a sender, a receiver, and a manifest between them.

Imports torch: only role processes load this module.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch

from agent_rl.contracts.policy import TensorSpec, Transport, WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.weights.blobs import Blob, open_blob

_HEADER = struct.Struct("<q")
_HEADER_BYTES = 64
_ALIGNMENT = 64
_WRITING = -1


class Sender(ABC):
    """Publishes named tensors. Two buffers alternate, so that a manifest is valid until the publish after the next.

    A buffer begins with the version that it holds (-1 while it is written), so that a receiver notices when it is too
    late.
    """

    kind: Transport

    def __init__(self) -> None:
        self._turn = 0

    def send(
        self,
        named_tensors: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]],
        version: int,
        *,
        dtype: torch.dtype | None = None,
    ) -> WeightManifest:
        """The manifest of `named_tensors`, copied to a buffer; floating tensors are converted to `dtype` if given."""
        tensors = offered(named_tensors, dtype)
        specs, size = layout(tensors)
        turn, self._turn = self._turn, 1 - self._turn
        buffer, name = self._buffer(turn, size)
        fill(buffer, version, specs, [tensor for _, tensor, _ in tensors])
        self._filled()
        return WeightManifest(version, name, size, tuple(specs), kind=self.kind)

    @abstractmethod
    def _buffer(self, turn: int, size: int) -> tuple[torch.Tensor, str]:
        """Buffer `turn` (0 or 1), at least `size` bytes, and the name by which another process finds it."""

    def _filled(self) -> None:
        """Other processes can now read what was written."""
        return

    @abstractmethod
    def close(self) -> None:
        """Manifests can no longer be loaded. Idempotent."""


class SharedMemorySender(Sender):
    """Publishes tensors through the host's memory; tensors on a device are copied there."""

    kind = "shared_memory"

    def __init__(self, blob_prefix: str = "weights") -> None:
        super().__init__()
        self._prefix = blob_prefix
        self._blobs: list[Blob | None] = [None, None]

    def _buffer(self, turn: int, size: int) -> tuple[torch.Tensor, str]:
        blob = self._blobs[turn]
        if blob is None or blob.size < size:
            if blob is not None:
                blob.close()
            blob = self._blobs[turn] = Blob(f"{self._prefix}-{turn}", size)
        return torch.frombuffer(blob.memory, dtype=torch.uint8), blob.name

    def close(self) -> None:
        for blob in self._blobs:
            if blob is not None:
                blob.close()
        self._blobs = [None, None]


class SharedMemoryReceiver:
    """Reads what a `SharedMemorySender` of another (or this) process has published."""

    def load(
        self, manifest: WeightManifest, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Name -> a copy of the tensor on `device`; floating tensors are converted to `dtype` if given.

        Raises PolicyError when the blob no longer holds `manifest.version` or its owner is gone.
        """
        try:
            memory = open_blob(manifest.blob, manifest.nbytes)
        except (OSError, ValueError) as error:
            raise PolicyError(f"the weights of version {manifest.version} cannot be read: {error}") from error
        return read(torch.frombuffer(memory, dtype=torch.uint8), manifest, dtype=dtype, device=device)


def offered(
    named_tensors: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]], dtype: torch.dtype | None
) -> list[tuple[str, torch.Tensor, torch.dtype]]:
    """Name, tensor, and the dtype in which it is sent: `dtype` for floating tensors if given, else its own."""
    return [
        (n, t.detach(), dtype if dtype and t.is_floating_point() else t.dtype) for n, t in dict(named_tensors).items()
    ]


def fill(buffer: torch.Tensor, version: int, specs: Sequence[TensorSpec], tensors: Sequence[torch.Tensor]) -> None:
    """`buffer` (bytes) holds `tensors` where `specs` say, and `version` in its header (-1 during the copy)."""
    header = buffer[: _HEADER.size].view(torch.int64)
    header.fill_(_WRITING)
    for spec, tensor in zip(specs, tensors, strict=True):
        if spec.nbytes:
            view = buffer[spec.offset : spec.offset + spec.nbytes].view(getattr(torch, spec.dtype))
            view.view(spec.shape).copy_(tensor)
    header.fill_(version)


def read(
    buffer: torch.Tensor, manifest: WeightManifest, *, dtype: torch.dtype | None, device: str | torch.device
) -> dict[str, torch.Tensor]:
    """Copies of the tensors in `buffer` (bytes). Raises PolicyError if its version is not that of `manifest`."""
    _check(buffer, manifest)
    tensors: dict[str, torch.Tensor] = {}
    for spec in manifest.tensors:
        source = getattr(torch, spec.dtype)
        target = dtype if dtype is not None and source.is_floating_point else source
        tensor = torch.empty(spec.shape, dtype=target, device=device)
        if spec.nbytes:
            view = buffer[spec.offset : spec.offset + spec.nbytes].view(source)
            tensor.copy_(view.view(spec.shape))
        tensors[spec.name] = tensor
    _check(buffer, manifest)
    return tensors


def _check(buffer: torch.Tensor, manifest: WeightManifest) -> None:
    """Raises PolicyError unless the buffer holds the manifest's version, completely written."""
    held = int(buffer[: _HEADER.size].view(torch.int64))
    if held != manifest.version:
        what = "is being overwritten" if held == _WRITING else f"holds version {held}"
        raise PolicyError(
            f"the weights of version {manifest.version} are no longer at hand: their blob {what} "
            "(a manifest is valid until the publish after the next)"
        )


def layout(tensors: list[tuple[str, torch.Tensor, torch.dtype]]) -> tuple[list[TensorSpec], int]:
    """The aligned place of each tensor's bytes after the header, and the blob's size in bytes."""
    specs: list[TensorSpec] = []
    offset = _HEADER_BYTES
    for name, tensor, dtype in tensors:
        nbytes = tensor.numel() * dtype.itemsize
        specs.append(TensorSpec(name, str(dtype).removeprefix("torch."), tuple(tensor.shape), offset, nbytes))
        offset += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
    return specs, offset
