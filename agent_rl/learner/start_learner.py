"""Starts the learner in its own process: its class, its arguments and its cores. This module does not import torch."""

from __future__ import annotations

from agent_rl.algorithms import make_algorithm
from agent_rl.config import RunConfig
from agent_rl.contracts import Learner
from agent_rl.errors import LearnerError
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.launch.role_clients import LearnerClient
from agent_rl.launch.supervised_roles import Process, StartLearner

_LEARNER = "agent_rl.learner.torch_learner:TorchLearner"


def start_learner(runtime: LocalLauncher, config: RunConfig, model: str) -> StartLearner:
    """A function that starts the learner's process with the weights of `model`, as version 0."""

    async def start() -> tuple[Process, Learner]:
        role = await runtime.start(
            "learner",
            _LEARNER,
            {
                "model_path": model,
                "optimizer": config.optimizer,
                "temperature": config.sampling.temperature,
                "precision": config.learner.precision,
                "device": config.learner.device,
                "micro_batch_tokens": config.learner.micro_batch_tokens,
                "seed": config.seed,
                "deterministic": config.deterministic,
                "transport": config.loop.transport,
                "reference": "reference" in make_algorithm(config).plan.needs,
            },
            threads=config.learner.threads,
            error=LearnerError,
        )
        return role, LearnerClient(role)

    return start
