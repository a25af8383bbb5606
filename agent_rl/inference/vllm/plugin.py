"""The vLLM plugin `agent_rl`: it lets vLLM load weights from the learner's manifests.

vLLM loads this module in each of its processes. The module imports vLLM only in `register`.
"""

from __future__ import annotations

BACKEND = "agent_rl"
"""The name under which the engine is registered: `--weight-transfer-config '{"backend": "agent_rl"}'`."""


def register() -> None:
    """vLLM's weight transfer factory knows `BACKEND`. Idempotent; without effect if vLLM has no such factory."""
    try:
        from vllm.distributed.weight_transfer.factory import (  # pyright: ignore[reportMissingImports]
            WeightTransferEngineFactory,
        )
    except ImportError:
        return
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(
            BACKEND, "agent_rl.inference.vllm.receiver", "ManifestTransferEngine"
        )
