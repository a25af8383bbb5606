"""The checks of `agent-rl doctor`. Each gives one line; if it fails, the line says what to do."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from agent_rl.cli.checks.check_result import DoctorCheck
from agent_rl.cli.checks.machine_checks import cores, disk, gpus, memory
from agent_rl.cli.checks.model_checks import StartingModel, chat_template, model, parameter_count, starting_model
from agent_rl.cli.checks.role_checks import mismatch, ports, versions
from agent_rl.cli.checks.sandbox_checks import load_environments, open_sandbox, tasks_of
from agent_rl.config import RunConfig
from agent_rl.errors import AgentRLError
from agent_rl.vocabulary import Task

__all__ = ["DoctorCheck", "run_checks"]


async def run_checks(config: RunConfig, tell: Callable[[DoctorCheck], None]) -> list[DoctorCheck]:
    """The results of all checks, in order. `tell` gets each result when it is ready. A failure stops no other check."""
    checks: list[DoctorCheck] = []

    def add(check: DoctorCheck) -> DoctorCheck:
        checks.append(check)
        tell(check)
        return check

    add(
        DoctorCheck(
            "configuration", "good", f"{config.loop.steps} steps, N = {config.loop.group_size}, seed {config.seed}"
        )
    )
    installed = add(await _guarded("versions", versions(config)))
    has_model = add(_guarded_now("model", lambda: model(config)))
    count = None if has_model.failed else parameter_count(config.model)
    add(_guarded_now("memory", lambda: memory(config, count)))
    if gpu_check := gpus(config, count):
        add(gpu_check)
    add(_guarded_now("disk", lambda: disk(config, count)))
    add(_guarded_now("cores", lambda: cores(config)))
    add(await _guarded("ports", ports(config)))
    tasks = await _tasks(config, add)
    broken = [check.name for check in checks if check.failed and check in (installed, has_model)]
    await _model_checks(config, tasks, broken, add)
    return checks


async def _tasks(config: RunConfig, add: Callable[[DoctorCheck], DoctorCheck]) -> list[Task]:
    """The training tasks of all environments. The sandbox and every environment have been checked."""
    tasks: list[Task] = []
    async with AsyncExitStack() as stack:
        provider = await open_sandbox(config, stack, add)
        named = load_environments(config, provider, stack, add)
        if provider is not None:
            for environment in named:
                add(await _guarded(f"environment {environment.name}", tasks_of(config, environment, provider, tasks)))
    return tasks


async def _model_checks(
    config: RunConfig, tasks: list[Task], broken: list[str], add: Callable[[DoctorCheck], DoctorCheck]
) -> None:
    """Adds the checks of the template's round trip and the log-prob mismatch, for the model of `starting_model`."""
    if broken:
        for name in ("chat template", "mismatch"):
            add(DoctorCheck(name, "noted", f"skipped, because this failed: {', '.join(broken)}"))
        return
    with tempfile.TemporaryDirectory(prefix="agent-rl-doctor-") as folder:
        try:
            start: StartingModel = await starting_model(config, Path(folder))
        except (AgentRLError, OSError) as error:
            add(DoctorCheck("starting model", "failed", str(error)))
            return
        add(_guarded_now("chat template", lambda: chat_template(config, start.folder)))
        if config.mismatch.check:
            add(await _guarded("mismatch", mismatch(config, start, tasks)))
        else:
            add(DoctorCheck("mismatch", "noted", "mismatch.check = false: learner and policy are not compared"))


def _guarded_now(name: str, check: Callable[[], DoctorCheck]) -> DoctorCheck:
    try:
        return check()
    except (AgentRLError, OSError) as error:
        return DoctorCheck(name, "failed", str(error))


async def _guarded(name: str, check: Awaitable[DoctorCheck]) -> DoctorCheck:
    try:
        return await check
    except (AgentRLError, OSError) as error:
        return DoctorCheck(name, "failed", str(error))
