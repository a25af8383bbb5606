"""The receiving side of a weight update inside vLLM's workers: loads the weights that the learner's manifest names.

Runs in vLLM's processes only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from vllm.distributed.weight_transfer.base import (  # pyright: ignore[reportMissingImports]
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead  # pyright: ignore[reportMissingImports]
from vllm.model_executor.model_loader.reload import (  # pyright: ignore[reportMissingImports]
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from agent_rl.contracts.policy import TensorSpec, WeightManifest
from agent_rl.weights.receive import receive


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Empty: each manifest describes itself."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """Where the weights are: a `WeightManifest` in its JSON form, or the folder of a model."""

    manifest: dict[str, Any] | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if (self.manifest is None) == (self.path is None):
            raise ValueError("an update names either a manifest or a path")

    def tensors(self, device: torch.device) -> Iterable[tuple[str, torch.Tensor]]:
        """Names and values, in the checkpoint's format, for a model on `device`.

        Raises PolicyError if the manifest's blob now holds another version.
        """
        if self.path is not None:
            for file in sorted(Path(self.path).glob("*.safetensors")):
                yield from load_file(file).items()
            return
        assert self.manifest is not None
        specs = [TensorSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in self.manifest["tensors"]]
        manifest = WeightManifest(**{**self.manifest, "tensors": tuple(specs)})
        yield from receive(manifest, device=device if manifest.kind == "cuda_ipc" else "cpu").items()


class ManifestTransferEngine(WeightTransferEngine):
    """Loads a manifest's weights in the checkpoint's format, layer by layer, as vLLM loads a checkpoint."""

    init_info_cls = InitInfo
    update_info_cls = UpdateInfo

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        """Nothing to do: a blob is opened by name."""

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """The weights are on the device. (The base class requires an accelerator, so a CPU needs this override.)"""
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """The weights are loaded. Raises PolicyError if the blob now has another version, ValueError if it is empty."""
        if not self.model.load_weights(update_info.tensors(self.device)):
            raise ValueError(f"no weights were loaded from {update_info.path or 'the manifest'}")

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu":
            self._pack_heads()

    def _pack_heads(self) -> None:
        """Output heads use the new weights.

        On a CPU, vLLM packs a linear layer's weights for its kernels. A head that shares the embedding's weights is not
        loaded by name, so vLLM 0.32 alone would keep using the packed copy of the old weights.
        """
        for module in self.model.modules():
            if isinstance(module, ParallelLMHead):
                module.quant_method.process_weights_after_loading(module)

    def shutdown(self) -> None:
        """Nothing is held between updates."""
