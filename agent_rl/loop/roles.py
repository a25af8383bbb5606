"""Which class runs in which process: the policy and the learner, started by the runtime with their share of cores."""

from __future__ import annotations

from agent_rl.config import RunConfig
from agent_rl.contracts import Learner, Policy
from agent_rl.errors import LearnerError, PolicyError
from agent_rl.loop.supervised import Process, StartLearner, StartPolicy
from agent_rl.runtime.clients import LearnerClient, PolicyClient
from agent_rl.runtime.local import LocalRuntime

_POLICIES = {"transformers": "agent_rl.inference.transformers_policy:TransformersPolicy"}
_LEARNER = "agent_rl.learner.torch_learner:TorchLearner"


def start_policy(runtime: LocalRuntime, config: RunConfig) -> StartPolicy:
    """A function that starts the policy's process with the weights of a model folder."""

    async def start(model: str, version: int) -> tuple[Process, Policy]:
        role = await runtime.start(
            "policy",
            _POLICIES[config.policy.engine],
            {
                "model_path": model,
                "version": version,
                "precision": config.policy.precision,
                "device": config.policy.device,
                "max_batch": config.policy.max_batch,
                "deterministic": config.deterministic,
            },
            threads=config.policy.threads,
            error=PolicyError,
        )
        return role, PolicyClient(role)

    return start


def start_learner(runtime: LocalRuntime, config: RunConfig, model: str) -> StartLearner:
    """A function that starts the learner's process with the weights of `model`, which are version 0."""

    async def start() -> tuple[Process, Learner]:
        role = await runtime.start(
            "learner",
            _LEARNER,
            {
                "model_path": model,
                "optimizer": config.optimizer,
                "ratio_cap": config.objective.ratio_cap,
                "temperature": config.sampling.temperature,
                "precision": config.learner.precision,
                "device": config.learner.device,
                "micro_batch_tokens": config.learner.micro_batch_tokens,
                "seed": config.seed,
                "deterministic": config.deterministic,
            },
            threads=config.learner.threads,
            error=LearnerError,
        )
        return role, LearnerClient(role)

    return start
