"""Starts the policy's replicas, each in its own process: the engine, its arguments, its cores and GPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from agent_rl.config import RunConfig
from agent_rl.contracts import Policy
from agent_rl.devices import visible_gpus
from agent_rl.errors import ConfigError, PolicyError
from agent_rl.inference.context_length import context_of
from agent_rl.inference.vllm.server import vllm_interpreter
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.launch.replicated_policy import ReplicatedPolicy
from agent_rl.launch.role_clients import PolicyClient
from agent_rl.launch.supervised_roles import Process, StartPolicy, SupervisedPolicy

EngineName = Literal["transformers", "vllm"]
_POLICIES: dict[EngineName, str] = {
    "transformers": "agent_rl.inference.transformers_policy:TransformersPolicy",
    "vllm": "agent_rl.inference.vllm.vllm_policy:VllmPolicy",
}


def chosen_engine(config: RunConfig) -> EngineName:
    """The engine that `config` asks for; `auto` is vLLM if it is installed and there is a GPU. Raises ConfigError."""
    engine = config.policy.engine
    if engine == "auto":
        reachable = bool(config.policy.vllm.urls) or vllm_interpreter(config.policy.vllm) is not None
        on_gpu = visible_gpus() > 0 and not config.policy.device.startswith("cpu")
        return "vllm" if reachable and on_gpu and not config.deterministic else "transformers"
    if engine == "vllm" and config.deterministic:
        raise ConfigError(
            "deterministic = true needs fixed batch shapes, which vLLM does not give: set transformers",
            key="policy.engine",
            value=engine,
        )
    return engine


def make_policy(
    runtime: LocalLauncher, config: RunConfig, model: str, version: int, say: Callable[[str], None]
) -> ReplicatedPolicy:
    """The policy of `config`, not yet opened; it will serve the weights in the folder `model` as `version`."""
    engine = chosen_engine(config)
    vllm = config.policy.vllm
    count = 1 if engine != "vllm" else len(vllm.urls) or vllm.replicas
    if engine == "vllm":
        if count > 1 and not vllm.urls and not vllm.devices and visible_gpus() > 0:
            raise ConfigError(f"{count} replicas need to know which GPU is whose", key="policy.vllm.devices")
        say(f"policy: vLLM, {count} {'server' if count == 1 else 'servers'}")
    return ReplicatedPolicy(
        [
            SupervisedPolicy(
                start_policy(runtime, config, replica),
                model,
                version,
                max_restarts=config.policy.max_restarts,
                heartbeat_timeout=config.policy.heartbeat_timeout,
                say=say,
            )
            for replica in range(count)
        ]
    )


def served_context(config: RunConfig, model: Path) -> int:
    """The most tokens of a conversation that both the model in the folder `model` and its engine can hold."""
    context = context_of(model)
    if chosen_engine(config) == "vllm":
        context = min(context, config.policy.vllm.max_context or context)
    return context


def start_policy(runtime: LocalLauncher, config: RunConfig, replica: int = 0) -> StartPolicy:
    """A function that starts the process of one replica of the policy with the weights of a model folder."""
    engine = chosen_engine(config)
    name = "policy" if replica == 0 else f"policy {replica}"
    own = _vllm_arguments(runtime, config, replica) if engine == "vllm" else _transformers_arguments(config)
    timeout = config.policy.vllm.start_timeout + 60.0 if engine == "vllm" else 300.0

    async def start(model: str, version: int) -> tuple[Process, Policy]:
        arguments = {
            "model_path": model,
            "version": version,
            "precision": config.policy.precision,
            "max_batch": config.policy.max_batch,
            "renew_after": config.loop.max_staleness,
            **own,
        }
        role = await runtime.start(
            name, _POLICIES[engine], arguments, threads=config.policy.threads, error=PolicyError, timeout=timeout
        )
        policy = PolicyClient(role)
        try:
            await policy.status()  # the first call probes the server and makes it serve `version`
        except BaseException:
            await role.stop()
            raise
        return role, policy

    return start


def _transformers_arguments(config: RunConfig) -> dict[str, Any]:
    return {"device": config.policy.device, "deterministic": config.deterministic}


def _vllm_arguments(runtime: LocalLauncher, config: RunConfig, replica: int) -> dict[str, Any]:
    vllm = config.policy.vllm
    return {
        "config": vllm,
        "url": vllm.urls[replica] if vllm.urls else None,
        "devices": visible_to_server(config, replica),
        "on_cpu": config.policy.device.startswith("cpu") or (not vllm.urls and visible_gpus() == 0),
        "threads": config.policy.threads,
        "log": str(runtime.logs / f"vllm-{replica}.log"),
    }


def visible_to_server(config: RunConfig, replica: int) -> tuple[int, ...]:
    """The GPUs that a vLLM server sees: its own first, then the GPU that sends weights. Empty: all GPUs."""
    vllm = config.policy.vllm
    share = slice(replica * vllm.tensor_parallel, (replica + 1) * vllm.tensor_parallel)
    own = vllm.devices[share] or _index_of(config.policy.device)
    if not own or config.loop.transport != "cuda_ipc":
        return own
    return (*own, *(index for index in _index_of(config.learner.device) or (0,) if index not in own))


def _index_of(device: str) -> tuple[int, ...]:
    """The index of the GPU that `device` names (cuda:1); empty if it names none."""
    _, _, index = device.partition(":")
    return (int(index),) if index.isdigit() else ()
