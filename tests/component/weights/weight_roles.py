"""A sender and a receiver of weights, as objects that tests start in processes of their own."""

from __future__ import annotations


class Publisher:
    """Publishes weights of which every number is the version."""

    def __init__(self) -> None:
        from agent_rl.weights.shared_memory import SharedMemorySender

        self._sender = SharedMemorySender("test")

    def publish(self, version: int) -> object:
        import torch

        return self._sender.send({"w": torch.full((4,), float(version))}, version)

    def close(self) -> None:
        self._sender.close()


class Reader:
    """Takes published weights, and tells what they add up to."""

    def sums(self, manifest: object) -> dict[str, float]:
        from agent_rl.weights.receive import receive

        loaded = receive(manifest)  # pyright: ignore[reportArgumentType]
        return {name: float(tensor.double().sum()) for name, tensor in loaded.items()}
