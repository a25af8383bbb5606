"""The engines of the benches, by name, and the model that they serve; each runs in its own process, as in a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_rl.config import RunConfig, ScratchModel, VllmConfig, parse_config
from agent_rl.contracts import Policy
from agent_rl.inference.start_policy import start_policy
from agent_rl.inference.vllm.server import vllm_interpreter
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.learner.model_folder import model_folder
from agent_rl.rollouts.chat import ChatTokenizer


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine runs here: threads of its numeric libraries; device `auto`, `cpu` or `cuda`; the weights' dtype."""

    threads: int = 1
    device: str = "auto"
    precision: str = "float32"


def missing(engine: str) -> str:
    """Why the engine cannot be measured here; empty if it can."""
    return "not installed" if engine == "vllm" and vllm_interpreter(VllmConfig()) is None else ""


async def prepare_bench_model(
    runtime: LocalLauncher, given: Path | None, shape: ScratchModel, device: str
) -> tuple[Path, str, str]:
    """(folder, description, device name) of the model `given`, or of one of `shape` that lives as long as `runtime`."""
    maker = await runtime.start("model", "agent_rl.bench.bench_model:ModelMaker")
    try:
        name = await maker.call("device", device)
        if given is not None:
            return model_folder(str(given)), str(given), name
        folder = maker.log.parent.parent / "model"
        parameters = await maker.call("make", str(folder), shape)
    finally:
        await maker.stop()
    what = f"{shape.architecture}, width {shape.width}, {shape.layers} layers, {parameters / 1e6:.1f} M, random weights"
    return folder, what, name


def ordinary_ids(folder: Path) -> range:
    """The ids for prompts: the middle three quarters, since special tokens are first or last."""
    size = ChatTokenizer.load(folder).vocabulary_size
    return range(size // 8, size - size // 8)


@asynccontextmanager
async def serving(engine: str, runtime: LocalLauncher, settings: EngineSettings, folder: Path) -> AsyncIterator[Policy]:
    """A policy of this engine that serves the model in `folder`, started as in a run; stopped at the block's end."""
    process, policy = await start_policy(runtime, _config(engine, settings, folder))(str(folder), 0)
    try:
        yield policy
    finally:
        await process.stop()


def _config(engine: str, settings: EngineSettings, folder: Path) -> RunConfig:
    """A run's configuration; only its policy section is used."""
    policy = {"engine": engine, "threads": settings.threads, "device": settings.device, "precision": settings.precision}
    return parse_config(
        {"environments": [{"environment": "none is used"}], "model": {"path": str(folder)}, "policy": policy},
        source="agent-rl bench",
    )
