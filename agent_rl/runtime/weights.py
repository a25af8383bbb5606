"""Weights from the learner to the policy through shared memory: a sender, a receiver, and a manifest between them.

Imports torch: only role processes load this module.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Mapping

import torch

from agent_rl.contracts.policy import TensorSpec, WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.runtime.blobs import Blob, open_blob

_HEADER = struct.Struct("<q")
_HEADER_BYTES = 64
_ALIGNMENT = 64
_WRITING = -1


class SharedMemorySender:
    """Publishes named tensors. Two blobs alternate, so that a manifest is valid until the publish after the next.

    A blob begins with the version that it holds (-1 while it is written), by which a receiver that comes too late
    finds out. Tensors on a device are copied to the host.
    """

    def __init__(self, blob_prefix: str = "weights") -> None:
        self._prefix = blob_prefix
        self._blobs: list[Blob | None] = [None, None]
        self._turn = 0

    def send(
        self,
        named_tensors: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]],
        version: int,
        *,
        dtype: torch.dtype | None = None,
    ) -> WeightManifest:
        """The manifest of `named_tensors`, copied to shared memory; floating tensors in `dtype` where it is given."""
        tensors = [
            (n, t.detach(), dtype if dtype and t.is_floating_point() else t.dtype)
            for n, t in dict(named_tensors).items()
        ]
        specs, size = _layout(tensors)
        blob = self._writable(size)
        memory = blob.memory
        _HEADER.pack_into(memory, 0, _WRITING)
        for spec, (_, tensor, target) in zip(specs, tensors, strict=True):
            if spec.nbytes:
                view = torch.frombuffer(memory, dtype=target, count=tensor.numel(), offset=spec.offset)
                view.view(spec.shape).copy_(tensor)
        _HEADER.pack_into(memory, 0, version)
        return WeightManifest(version, blob.name, size, tuple(specs))

    def close(self) -> None:
        """No manifest can be loaded any longer. Idempotent."""
        for blob in self._blobs:
            if blob is not None:
                blob.close()
        self._blobs = [None, None]

    def _writable(self, size: int) -> Blob:
        """The blob whose turn it is, at least `size` bytes large."""
        turn, self._turn = self._turn, 1 - self._turn
        blob = self._blobs[turn]
        if blob is None or blob.size < size:
            if blob is not None:
                blob.close()
            blob = self._blobs[turn] = Blob(f"{self._prefix}-{turn}", size)
        return blob


class SharedMemoryReceiver:
    """Reads what a `SharedMemorySender` of another (or this) process has published."""

    def load(
        self, manifest: WeightManifest, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Name -> a copy of the tensor, floating ones in `dtype` where it is given, on `device`.

        Raises PolicyError where the blob no longer holds `manifest.version`, or its owner is gone.
        """
        try:
            memory = open_blob(manifest.blob, manifest.nbytes)
        except (OSError, ValueError) as error:
            raise PolicyError(f"the weights of version {manifest.version} cannot be read: {error}") from error
        _check(memory, manifest)
        tensors: dict[str, torch.Tensor] = {}
        for spec in manifest.tensors:
            source = getattr(torch, spec.dtype)
            target = dtype if dtype is not None and source.is_floating_point else source
            tensor = torch.empty(spec.shape, dtype=target, device=device)
            if spec.nbytes:
                view = torch.frombuffer(memory, dtype=source, count=tensor.numel(), offset=spec.offset)
                tensor.copy_(view.view(spec.shape))
            tensors[spec.name] = tensor
        _check(memory, manifest)
        return tensors


def _check(memory: mmap.mmap, manifest: WeightManifest) -> None:
    """Raises PolicyError unless the blob holds the manifest's version, completely written."""
    (held,) = _HEADER.unpack_from(memory, 0)
    if held != manifest.version:
        what = "is being overwritten" if held == _WRITING else f"holds version {held}"
        raise PolicyError(
            f"the weights of version {manifest.version} are no longer at hand: their blob {what} "
            "(a manifest is valid until the publish after the next)"
        )


def _layout(tensors: list[tuple[str, torch.Tensor, torch.dtype]]) -> tuple[list[TensorSpec], int]:
    """Where each tensor's bytes lie, aligned, after the header; and the blob's size in bytes."""
    specs: list[TensorSpec] = []
    offset = _HEADER_BYTES
    for name, tensor, dtype in tensors:
        nbytes = tensor.numel() * dtype.itemsize
        specs.append(TensorSpec(name, str(dtype).removeprefix("torch."), tuple(tensor.shape), offset, nbytes))
        offset += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
    return specs, offset
