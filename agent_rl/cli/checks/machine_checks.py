"""Compares what the machine has with what the run needs: memory of host and GPUs, disk, cores, shared memory.

The arithmetic is of what grows with the model: for P parameters the learner holds 16 P bytes (float32 weights 4,
gradients 4, Adam's two moments 8), publishes two float32 copies in turn (8 P), and the transformers engine holds its
weights twice while an update is prepared. Activations come on top; their share is bounded by micro_batch_tokens.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agent_rl.cli.checks.check_result import GIB, CheckOutcome, DoctorCheck, size
from agent_rl.config import RunConfig
from agent_rl.devices import visible_gpus
from agent_rl.inference.start_policy import chosen_engine

_LEARNER, _PUBLISHED, _CHECKPOINT, _ASLEEP = 16, 8, 12, 12
"""Bytes per parameter: see above. A checkpoint and a sleeping learner hold weights and Adam's moments."""
_PROCESSES = 2 * GIB
"""Bytes of controller, learner, policy and sandboxes with their libraries, without weights."""
_DISK = GIB


@dataclass(frozen=True, slots=True)
class Need:
    """`bytes` of memory for `what`; `gpu` is None on the host."""

    what: str
    bytes: float
    gpu: int | None

    def __str__(self) -> str:
        return f"{self.what} = {size(self.bytes)}"


def needs(config: RunConfig, count: int) -> list[Need]:
    """The memory that a run needs for a model of `count` parameters, and where; 0 bytes for a share of a whole GPU."""
    found = [
        Need(f"learner {_LEARNER} B (weights 4, gradients 4, Adam 8)", _LEARNER * count, _gpu(config.learner.device)),
        Need(f"published weights {_PUBLISHED} B (two float32 copies)", _PUBLISHED * count, None),
    ]
    if config.loop.placement == "colocated" and found[0].gpu is not None:
        found.append(Need(f"the learner while it sleeps {_ASLEEP} B (weights 4, Adam 8)", _ASLEEP * count, None))
    width = 4 if config.policy.precision == "float32" else 2
    vllm = config.policy.vllm
    place = _gpu(config.policy.device)
    if chosen_engine(config) == "transformers":
        found.append(Need(f"policy 2 x {width} B (weights, and the next ones beside them)", 2 * width * count, place))
    elif not vllm.urls and place is None:
        each = width * count + vllm.cpu_kv_cache_gib * GIB
        what = f"vLLM {vllm.replicas} x ({width} B + a cache of {vllm.cpu_kv_cache_gib} GiB)"
        found.append(Need(what, vllm.replicas * each, None))
    return found


def memory(config: RunConfig, count: int | None) -> DoctorCheck:
    """Compares the host's free memory with the run's need. `count` is the number of parameters, None if unknown."""
    free = _available()
    if free is None:
        return DoctorCheck("memory", "noted", "this system does not say how much is free")
    parts = [] if count is None else [need for need in needs(config, count) if need.gpu is None]
    total = _PROCESSES + sum(need.bytes for need in parts)
    arithmetic = " + ".join([f"{size(_PROCESSES)} for the processes", *map(str, parts)])
    model = "" if count is None else f", by the bytes of each of {_millions(count)} parameters"
    detail = f"{size(free)} are free; about {size(total)} are needed{model}: {arithmetic}"
    if free < total:
        return DoctorCheck("memory", "failed", f"{detail}. End other programs, or take a smaller model")
    return DoctorCheck("memory", "good", detail)


def gpus(config: RunConfig, count: int | None) -> DoctorCheck | None:
    """Compares the GPUs' memory with the run's need; None if the run uses no GPU."""
    if visible_gpus() == 0 or count is None:
        return None
    found = [need for need in needs(config, count) if need.gpu is not None]
    lines: list[str] = []
    outcome: CheckOutcome = "good"
    for index, total in enumerate(_gpu_totals()):
        here = [need for need in found if need.gpu == index]
        share = config.policy.vllm.gpu_memory_utilization * total if index in _vllm_gpus(config) else 0.0
        text = [str(need) for need in here]
        if share:
            text.append(f"vLLM {config.policy.vllm.gpu_memory_utilization:g} of all = {size(share)}")
        if not text:
            continue
        weights = sum(need.bytes for need in here)
        lines.append(f"GPU {index} has {size(total)}: {' + '.join(text)}")
        if weights > total:
            outcome = "failed"
            lines[-1] += ", more than there is"
        elif weights + share > total and config.loop.placement == "separate":
            outcome = "failed"
            lines[-1] += ', more than there is at once: set loop.placement = "colocated", or use several GPUs'
    if not lines:
        return None
    return DoctorCheck("GPU memory", outcome, "; ".join(lines))


def disk(config: RunConfig, count: int | None) -> DoctorCheck:
    """Compares the free disk space with the need: all kept checkpoints, and one more while it is written."""
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    checkpoints = config.checkpoints.keep + 1
    total = _DISK + _CHECKPOINT * checkpoints * (count or 0)
    detail = f"{size(free)} are free in {folder}; about {size(total)} are needed"
    if count is not None:
        each = f"{_CHECKPOINT} B (weights 4, Adam 8) x {_millions(count)} parameters"
        detail += f": {size(_DISK)} for records + {checkpoints} checkpoints x {each}"
    if free < total:
        return DoctorCheck("disk", "failed", f"{detail}. Use --run-dir elsewhere, or lower checkpoints.keep")
    return DoctorCheck("disk", "good", detail)


def cores(config: RunConfig) -> DoctorCheck:
    """Compares the cores with the threads that learner and policy ask for."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    asked = config.policy.threads + config.learner.threads
    detail = f"{there}; policy {config.policy.threads} + learner {config.learner.threads} threads"
    if asked > there:
        return DoctorCheck("cores", "noted", f"{detail}: they will share them, and both be slower")
    return DoctorCheck("cores", "good", detail)


def _available() -> float | None:
    """Bytes of memory that are available to programs; None if unknown."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _gpu(device: str) -> int | None:
    """The GPU that `device` names (auto, cpu, cuda, cuda:1), None for the host."""
    kind, _, index = device.partition(":")
    if kind == "cpu" or visible_gpus() == 0:
        return None
    return int(index) if index.isdigit() else 0


def _vllm_gpus(config: RunConfig) -> tuple[int, ...]:
    """The GPUs that servers of this run use."""
    place = _gpu(config.policy.device)
    if chosen_engine(config) != "vllm" or config.policy.vllm.urls or place is None:
        return ()
    return config.policy.vllm.devices or (place,)


def _gpu_totals() -> list[float]:
    """Bytes of memory of each visible GPU, from nvidia-smi; empty if it does not answer."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        totals = [float(line) * 2**20 for line in answer.stdout.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if chosen and all(part.strip().isdigit() and int(part) < len(totals) for part in chosen.split(",")):
        return [totals[int(part)] for part in chosen.split(",")]
    return totals


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count < 10_000_000 else f"{count / 1e6:,.0f} M"
