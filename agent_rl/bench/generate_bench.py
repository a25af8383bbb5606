"""`bench generate`: tokens per second and latency of the engines, on the same model and the same requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_rl.bench.bench_engines import EngineSettings, missing, ordinary_ids, prepare_bench_model, serving
from agent_rl.bench.bench_requests import COMPLETIONS, PROMPTS, CompletionTimes, completion_tokens, make_requests
from agent_rl.bench.figures import percentile
from agent_rl.config import ScratchModel
from agent_rl.contracts import GenerateRequest, Policy
from agent_rl.errors import ConfigError, PolicyError
from agent_rl.inference.context_length import context_of
from agent_rl.launch.local_launcher import LocalLauncher

ENGINES = ("padded", "transformers", "vllm")
BATCHES = (16, 64, 256)
"""The padded batch sizes to try; the best one counts."""
BAR = 2.0
"""The multiple of the best padded `generate` that the transformers engine has to reach."""
SHAPE = ScratchModel(
    architecture="qwen3", vocabulary=4096, width=256, layers=4, heads=8, kv_heads=4, ffn_width=768, context=1024
)
_WARM_UP = 8
"""Number of requests in the warm-up."""
_FAR_BELOW = 0.7

BenchPass = Callable[[Sequence[GenerateRequest]], Any]
"""Takes requests; its awaited result is the seconds from the common start to the end of each request."""


@dataclass(frozen=True, slots=True)
class GeneratePlan:
    """What is compared. `model` None is a random-weight model of `SHAPE`; `rounds`: passes per engine, the best counts.

    prompts, completions: the smallest and largest number of tokens.
    """

    engines: tuple[str, ...] = ENGINES
    model: Path | None = None
    requests: int = 256
    rounds: int = 2
    settings: EngineSettings = field(default_factory=EngineSettings)
    shape: ScratchModel = SHAPE
    prompts: tuple[int, int] = PROMPTS
    completions: tuple[int, int] = COMPLETIONS


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """The best round of an engine: tokens per second, and latencies in milliseconds from the common start."""

    tokens_per_second: float
    p50_ms: float
    p95_ms: float

    @staticmethod
    def best(outcomes: Sequence[CompletionTimes]) -> EngineFigures:
        """The figures of the fastest of `outcomes`: disturbances only make a machine slower, never faster."""
        fastest = max(outcomes, key=lambda o: o.tokens_per_second)
        p50, p95 = (1000 * percentile(fastest.ends, share) for share in (0.5, 0.95))
        return EngineFigures(fastest.tokens_per_second, p50, p95)

    def to_json(self) -> dict[str, float]:
        return {
            "tokens_per_second": round(self.tokens_per_second, 1),
            "p50_ms": round(self.p50_ms, 1),
            "p95_ms": round(self.p95_ms, 1),
        }


@dataclass(frozen=True, slots=True)
class GenerateReport:
    """The measurements. `padded`: the figures of each padded batch size; `engines` holds the best of them."""

    device: str
    model: str
    plan: GeneratePlan
    engines: Mapping[str, EngineFigures]
    padded: Mapping[int, EngineFigures] = field(default_factory=dict[int, EngineFigures])
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Engines that were asked for and could not be measured, and why."""

    @property
    def ratios(self) -> dict[str, float]:
        """Engine -> its tokens per second over the padded engine's; empty if the padded engine was not measured."""
        base = self.engines.get("padded")
        if base is None:
            return {}
        return {n: e.tokens_per_second / base.tokens_per_second for n, e in self.engines.items() if n != "padded"}

    @property
    def reached(self) -> bool | None:
        """Whether the transformers engine reaches BAR times the padded one; None if one of them is missing."""
        ratio = self.ratios.get("transformers")
        return None if ratio is None else ratio >= BAR

    def to_json(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "schema_version": 1,
            "device": self.device,
            "model": self.model,
            "workload": {
                "requests": plan.requests,
                "prompt_tokens": list(plan.prompts),
                "completion_tokens": list(plan.completions),
            },
            "threads": plan.settings.threads,
            "precision": plan.settings.precision,
            "rounds": plan.rounds,
            "reported": "the best round",
            "engines": {name: figures.to_json() for name, figures in self.engines.items()},
            "padded_batches": {str(batch): figures.to_json() for batch, figures in self.padded.items()},
            "ratios": {name: round(ratio, 3) for name, ratio in self.ratios.items()},
            "bar": {"transformers_over_padded": BAR, "reached": self.reached},
            "absent": dict(self.absent),
        }


async def compare_engines(plan: GeneratePlan, say: Callable[[str], None] = print) -> GenerateReport:
    """The figures of every engine of `plan`: each warmed up, then `rounds` passes in turn, one engine at a time.

    Every engine has its own process and all of `threads`. Raises ConfigError for an unknown engine or a model with a
    too short context, PolicyError when an engine fails or does not return the requested lengths.
    """
    unknown = [name for name in plan.engines if name not in ENGINES]
    if unknown:
        raise ConfigError("there is no such engine", key="--engines", value=unknown[0], valid=ENGINES)
    absent = {name: reason for name in plan.engines if (reason := missing(name))}
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(LocalLauncher())
        folder, model, device = await prepare_bench_model(runtime, plan.model, plan.shape, plan.settings.device)
        requests = make_requests(
            plan.requests, ordinary_ids(folder), prompts=plan.prompts, completions=plan.completions
        )
        _check_room(requests, folder)
        passes: dict[str, BenchPass] = {}
        for name in plan.engines:
            if name in absent:
                say(f"{name}: {absent[name]}")
            elif name == "padded":
                passes.update(await _padded(runtime, plan, folder))
            else:
                policy = await stack.enter_async_context(serving(name, runtime, plan.settings, folder))
                passes[name] = lambda batch, policy=policy: _at_once(policy, batch)
        outcomes = await _measure(passes, requests, plan.rounds, say)
    engines = {name: EngineFigures.best(o) for name, o in outcomes.items() if not name.startswith("padded")}
    padded = {b: EngineFigures.best(outcomes[f"padded {b}"]) for b in BATCHES if f"padded {b}" in outcomes}
    if padded:
        engines = {"padded": max(padded.values(), key=lambda f: f.tokens_per_second), **engines}
    return GenerateReport(device, model, plan, engines, padded, absent)


async def _measure(
    passes: Mapping[str, BenchPass], requests: Sequence[GenerateRequest], rounds: int, say: Callable[[str], None]
) -> dict[str, list[CompletionTimes]]:
    """Name -> the outcomes of its rounds. All are warmed up before the first is measured.

    A padded batch size that is far below the best one in the first round is not measured again, since only the best
    counts.
    """
    for run in passes.values():
        await run(requests[:_WARM_UP])
    outcomes: dict[str, list[CompletionTimes]] = {name: [] for name in passes}
    tokens = completion_tokens(requests)
    for number in range(rounds):
        for name, run in passes.items():
            if number and _hopeless(name, outcomes):
                continue
            outcome = CompletionTimes(tuple(await run(requests)), tokens)
            outcomes[name].append(outcome)
            say(f"round {number + 1}: {name}: {outcome.tokens_per_second:,.0f} tokens/s")
    return outcomes


def _hopeless(name: str, outcomes: Mapping[str, Sequence[CompletionTimes]]) -> bool:
    """Whether `name` is a padded batch size with less than _FAR_BELOW times the tokens per second of the best one."""
    padded = {n: max(o.tokens_per_second for o in found) for n, found in outcomes.items() if n.startswith("padded")}
    return name in padded and padded[name] < _FAR_BELOW * max(padded.values())


async def _padded(runtime: LocalLauncher, plan: GeneratePlan, folder: Path) -> dict[str, BenchPass]:
    """`padded B` -> a pass in batches of B, for each of BATCHES that batches the requests differently."""
    arguments = {"model_path": str(folder), "precision": plan.settings.precision, "device": plan.settings.device}
    target = "agent_rl.bench.padded_generate:PaddedGenerate"
    role = await runtime.start("padded", target, arguments, threads=plan.settings.threads, error=PolicyError)
    sizes = [b for i, b in enumerate(BATCHES) if i == 0 or BATCHES[i - 1] < plan.requests]
    return {f"padded {size}": lambda batch, size=size: role.call("run", list(batch), size) for size in sizes}


async def _at_once(policy: Policy, requests: Sequence[GenerateRequest]) -> list[float]:
    """Seconds to each request's end when all are sent at once. Raises PolicyError for a wrong length."""
    started = time.monotonic()

    async def one(request: GenerateRequest) -> float:
        generation = await policy.generate(request)
        end = time.monotonic() - started
        if len(generation.token_ids) != request.sampling.max_tokens:
            raise PolicyError(
                f"asked for {request.sampling.max_tokens} tokens, got {len(generation.token_ids)} "
                f"({generation.finish_reason})"
            )
        return end

    ends = await asyncio.gather(*(one(request) for request in requests))
    for request in requests:
        await policy.end_session(request.session)
    return list(ends)


def _check_room(requests: Sequence[GenerateRequest], folder: Path) -> None:
    needed = max(len(r.prompt_ids) + r.sampling.max_tokens for r in requests)
    if needed > context_of(folder):
        raise ConfigError(f"{needed} tokens are needed, its context is {context_of(folder)}", key="--model")
