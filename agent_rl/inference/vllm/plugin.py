"""Teaches vLLM to take weights as the learner offers them: found by its processes as the plugin `agent_rl`.

vLLM loads this module in each of its processes; it imports nothing of vLLM until `register` is called there.
"""

from __future__ import annotations

BACKEND = "agent_rl"
"""The name under which the engine is registered: `--weight-transfer-config '{"backend": "agent_rl"}'`."""


def register() -> None:
    """vLLM's factory of weight transfer engines knows `BACKEND`. Idempotent; without effect where vLLM has none."""
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
