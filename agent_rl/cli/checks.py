"""The checks of `agent-rl doctor`: each gives one line, and says what to do where it fails."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from agent_rl.config import RunConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.environments import NamedEnvironment, make_environments
from agent_rl.errors import AgentRLError
from agent_rl.evaluation.policy_spec import ModelSource, resolve_policy
from agent_rl.rollouts.agent import reference_agent
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.run import run_rollout
from agent_rl.sandbox_choice import choose_provider
from agent_rl.verify.judge import CaseVerifier

_TRAINING_PACKAGES = ("torch", "transformers", "accelerate", "safetensors")
_DISK_GIB, _MEMORY_GIB = 1.0, 2.0
GIB = 2**30

Outcome = Literal["good", "noted", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check's outcome: `noted` is no failure, but worth knowing."""

    name: str
    outcome: Outcome
    detail: str

    @property
    def failed(self) -> bool:
        return self.outcome == "failed"

    @property
    def mark(self) -> str:
        return {"good": "ok  ", "noted": "note", "failed": "FAIL"}[self.outcome]


async def run_checks(config: RunConfig, tell: Callable[[Check], None]) -> list[Check]:
    """All checks in order; `tell` hears of each when it is done. No check keeps the next one from being made."""
    checks: list[Check] = []

    def add(check: Check) -> None:
        checks.append(check)
        tell(check)

    add(Check("configuration", "good", f"{config.loop.steps} steps, N = {config.loop.group_size}, seed {config.seed}"))
    for check in (_packages, _model, _disk, _memory, _cores, _shared_memory):
        add(_guarded_now(check, config))
    provider = await _sandbox(config, add)
    named = _environments(config, provider, add)
    if provider is not None:
        async with provider:
            for environment in named:
                add(await _guarded(environment.name, _tasks(config, environment, provider)))
    return checks


def _guarded_now(check: Callable[[RunConfig], Check], config: RunConfig) -> Check:
    try:
        return check(config)
    except (AgentRLError, OSError) as error:
        return Check(check.__name__.removeprefix("_"), "failed", str(error))


async def _guarded(name: str, check: Awaitable[Check]) -> Check:
    try:
        return await check
    except (AgentRLError, OSError) as error:
        return Check(f"environment {name}", "failed", str(error))


def _packages(config: RunConfig) -> Check:
    found: list[str] = []
    for package in _TRAINING_PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            return Check("packages", "failed", f"{package} is not installed: pip install 'agent-rl[train]'")
        if importlib.util.find_spec(package) is None:
            return Check("packages", "failed", f"{package} is installed and cannot be found by this Python")
    return Check("packages", "good", ", ".join(found))


def _model(config: RunConfig) -> Check:
    if config.model.path is None:
        scratch = config.model.scratch
        assert scratch is not None
        warm = "warm-started on demonstrations" if config.model.warm_start else "with no warm start: it knows nothing"
        detail = f"a new {scratch.architecture} of width {scratch.width} and {scratch.layers} layers, {warm}"
        return Check("model", "good" if config.model.warm_start else "noted", detail)
    source = resolve_policy(config.model.path)
    if not isinstance(source, ModelSource):
        return Check("model", "failed", f"model.path = {config.model.path!r} is no model")
    tokenizer = ChatTokenizer.load(source.folder, config.model.chat_template)
    if not (list(source.folder.glob("*.safetensors")) or list(source.folder.glob("*.bin"))):
        return Check("model", "failed", f"{source.folder} holds no weights (*.safetensors)")
    stops = "one stop token" if len(tokenizer.stop_token_ids) == 1 else f"{len(tokenizer.stop_token_ids)} stop tokens"
    if not tokenizer.stop_token_ids:
        return Check("model", "failed", "neither the model nor its chat template says with which token a turn stops")
    return Check("model", "good", f"{source.folder}, {tokenizer.vocabulary_size} tokens, a chat template, {stops}")


def _disk(config: RunConfig) -> Check:
    free = shutil.disk_usage(Path.cwd()).free / GIB
    if free < _DISK_GIB:
        return Check(
            "disk", "failed", f"{free:.1f} GiB are free here, {_DISK_GIB:g} are needed: use --run-dir elsewhere"
        )
    return Check("disk", "good", f"{free:.0f} GiB are free in {Path.cwd()}")


def _memory(config: RunConfig) -> Check:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) / 2**20
    except (OSError, KeyError, ValueError):
        return Check("memory", "noted", "this system does not say how much is free")
    if free < _MEMORY_GIB:
        return Check("memory", "failed", f"{free:.1f} GiB are free, {_MEMORY_GIB:g} are needed: end other programs")
    return Check("memory", "good", f"{free:.1f} GiB are free")


def _cores(config: RunConfig) -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    asked = config.policy.threads + config.learner.threads
    detail = f"{cores}; policy {config.policy.threads} + learner {config.learner.threads} threads"
    if asked > cores:
        return Check("cores", "noted", f"{detail}: they will share them, and both be slower")
    return Check("cores", "good", detail)


def _shared_memory(config: RunConfig) -> Check:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check("shared memory", "noted", "there is no /dev/shm here")
    free = shutil.disk_usage(folder).free / GIB
    if free < 0.1:
        return Check("shared memory", "failed", f"{free:.2f} GiB are free in /dev/shm, where weights are handed over")
    return Check("shared memory", "good", f"{free:.1f} GiB are free for handing over weights; no network port is used")


async def _sandbox(config: RunConfig, add: Callable[[Check], None]) -> SandboxProvider | None:
    """The provider, not started, or None; the choice is a check of its own."""
    said: list[str] = []
    try:
        provider = await choose_provider(config.sandbox, said.append)
        async with provider:
            isolation = provider.isolation
    except AgentRLError as error:
        add(Check("sandbox", "failed", str(error)))
        return None
    add(Check("sandbox", "good", f"{said[0].removeprefix('sandbox: ')}; isolation between runs: {isolation}"))
    return await choose_provider(config.sandbox, said.append)


def _environments(
    config: RunConfig, provider: SandboxProvider | None, add: Callable[[Check], None]
) -> list[NamedEnvironment]:
    """The environments; none where one cannot be made. Without a provider they are made, and nothing is judged."""
    try:
        verifier = CaseVerifier(provider) if provider is not None else None
        named = make_environments(config.environments, verifier)  # pyright: ignore[reportArgumentType]
    except AgentRLError as error:
        add(Check("environments", "failed", str(error)))
        return []
    add(Check("environments", "good", ", ".join(n.name for n in named)))
    return named


async def _tasks(config: RunConfig, named: NamedEnvironment, provider: SandboxProvider) -> Check:
    """Both splits load, and the reference of a first task passes."""
    name = f"environment {named.name}"
    training = await named.environment.load("train")
    held_out = await named.environment.load(config.evaluation.split) if config.evaluation.enabled else []
    if not training:
        return Check(name, "failed", "has no tasks to train on")
    if config.evaluation.enabled and not held_out:
        return Check(name, "failed", f"has no tasks in the split {config.evaluation.split!r}")
    detail = f"{len(training)} tasks to train on, {len(held_out)} held out"
    task = training[0]
    if task.reference is None:
        return Check(name, "noted", f"{detail}; {task.id} has no reference, so no judging was tried")
    trajectory = await run_rollout(named.environment, named.name, task, reference_agent, provider)
    if trajectory.verdict is None:
        return Check(name, "failed", f"{detail}; {task.id} could not be judged: {trajectory.error}")
    if not trajectory.verdict.passed:
        return Check(name, "failed", f"{detail}; the reference of {task.id} is judged {trajectory.verdict.status}")
    return Check(name, "good", f"{detail}; a reference passes in {trajectory.verdict.seconds * 1000:.0f} ms")
