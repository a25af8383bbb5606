"""`bench controller`: what the controller itself costs, in sampled tokens per second of processor time.

Rollouts, packing and recording are the real ones; the policy's tokens cost nothing. Three kinds of policy:

    in_process  in the controller's process
    role        in a process of its own, as in a run: what is sent between the two counts, at both ends
    vllm        vLLM's adapter in a process of its own, in front of a server whose answers were made before. The
                adapter's processor time counts, the server's does not

    tokens per CPU-second   sampled tokens / processor time of the controller and of the policy's process together
    of one process          sampled tokens / processor time of that process: what it can keep up with
    growth                  processor time of a token at 64 turns / at 16 turns of the same lengths; 1 is linear

Texts are made-up words in a byte-level vocabulary of 4,096. Half of what is left of the controller's time is the
tokenizer's library, which encodes observations and decodes replies.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

from agent_rl.algorithms import Algorithm
from agent_rl.algorithms.advantages import RLOO
from agent_rl.algorithms.aggregations.token_scales import Constant
from agent_rl.algorithms.losses.policy_gradient import PolicyGradient
from agent_rl.algorithms.rewards.weighted_sum import WeightedSum
from agent_rl.bench.figures import cpu_name
from agent_rl.bench.free_policy import Dialogue, FreePolicy, word_tokenizer
from agent_rl.config import parse_config
from agent_rl.contracts import LossPlan, Policy, RolloutReward, SamplingParams, SandboxProvider, TrainingSample
from agent_rl.errors import PolicyError
from agent_rl.judging import TaskVerifier
from agent_rl.launch.garbage_collection import settled
from agent_rl.launch.local_launcher import LocalLauncher, RoleProcess
from agent_rl.launch.role_clients import PolicyClient
from agent_rl.loop.step_metrics import trajectory_row
from agent_rl.records.run_directory import RunDirectory
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.pack import pack
from agent_rl.rollouts.policy_agent import PolicyAgents, RolloutSettings
from agent_rl.rollouts.run_group import run_group
from agent_rl.vocabulary import Group

PolicyKind = Literal["in_process", "role", "vllm"]
KINDS: tuple[PolicyKind, ...] = ("in_process", "role", "vllm")
BAR = 400_000
"""Sampled tokens per CPU-second of each process, at 64 turns with every kind of policy."""
BAR_OF_GROWTH = 1.25
"""Where each turn costs as much as all before it, four times as many turns cost almost four times as much a token."""
_PARTS = "agent_rl.bench.free_policy"


_ALGORITHM = Algorithm(WeightedSum(), RLOO(), Constant(), LossPlan(PolicyGradient()))
"""Every other rollout passes, so that no advantage is zero."""


@dataclass(frozen=True, slots=True)
class DialogueShape:
    """A rollout of `turns` turns: replies of `reply` tokens, and about `observation` tokens before each.

    times: as many times the plan's rollouts are run at once, so that shapes that are compared hold equally many tokens.
    """

    turns: int
    reply: int
    observation: int
    times: int = 1


SHAPES: Mapping[str, DialogueShape] = {
    "one_turn": DialogueShape(1, 1024, 256),
    "turns_16_short": DialogueShape(16, 256, 256),
    "turns_16": DialogueShape(16, 512, 512, times=4),
    "turns_64": DialogueShape(64, 512, 512),
}


@dataclass(frozen=True, slots=True)
class ControllerPlan:
    """What is measured: a group of `rollouts` rollouts of each shape, with each kind of policy, `rounds` times."""

    shapes: Mapping[str, DialogueShape]
    kinds: tuple[PolicyKind, ...] = KINDS
    rollouts: int = 8
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class ControllerCost:
    """Processor time in seconds, of the controller (by part) and of the policy's process, for `sampled` tokens."""

    sampled: int
    observed: int
    """Tokens of the environment and of the template."""
    rollouts: float
    packing: float
    recording: float
    policy: float

    @property
    def seconds(self) -> float:
        return self.rollouts + self.packing + self.recording + self.policy

    @property
    def tokens_per_second(self) -> float:
        """Sampled tokens per CPU-second."""
        return self.sampled / self.seconds

    @property
    def of_controller(self) -> float:
        """Sampled tokens per CPU-second of the controller alone."""
        return self.sampled / (self.seconds - self.policy)

    @property
    def of_policy(self) -> float | None:
        """Sampled tokens per CPU-second of the policy's process alone; None if it has none of its own."""
        return self.sampled / self.policy if self.policy else None

    @property
    def slowest(self) -> float:
        """Of the two processes."""
        return min(self.of_controller, self.of_policy or self.of_controller)

    def to_json(self) -> dict[str, Any]:
        return {
            "tokens_per_cpu_second": round(self.tokens_per_second),
            "of_controller": round(self.of_controller),
            "of_policy_process": None if self.of_policy is None else round(self.of_policy),
            "sampled_tokens": self.sampled,
            "observed_tokens": self.observed,
            "cpu_seconds": {
                "rollouts": round(self.rollouts, 4),
                "packing": round(self.packing, 4),
                "recording": round(self.recording, 4),
                "policy_process": round(self.policy, 4),
            },
        }


@dataclass(frozen=True, slots=True)
class ControllerReport:
    """The costs of each kind and shape, round by round. Of the rounds the cheapest counts."""

    device: str
    plan: ControllerPlan
    rounds: Mapping[PolicyKind, Mapping[str, Sequence[ControllerCost]]]

    def cost(self, kind: PolicyKind, shape: str) -> ControllerCost:
        """The cheapest of the rounds."""
        return min(self.rounds[kind][shape], key=lambda cost: cost.seconds)

    def growth(self, kind: PolicyKind) -> float | None:
        """How much dearer a token is at 64 turns than at 16, the median over the rounds; None if not measured."""
        shapes = self.rounds[kind]
        if "turns_16" not in shapes or "turns_64" not in shapes:
            return None
        pairs = zip(shapes["turns_16"], shapes["turns_64"], strict=True)
        return median(short.tokens_per_second / long.tokens_per_second for short, long in pairs)

    @property
    def reached(self) -> bool | None:
        """Whether all kinds reach both bars; None if one was not measured at 64 turns."""
        grown = [self.growth(kind) for kind in KINDS if kind in self.rounds]
        if len(grown) < len(KINDS) or None in grown:
            return None
        fast = all(self.cost(kind, "turns_64").slowest >= BAR for kind in KINDS)
        return fast and all(growth is not None and growth <= BAR_OF_GROWTH for growth in grown)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "device": self.device,
            "rollouts": self.plan.rollouts,
            "shapes": {
                name: {"turns": s.turns, "reply": s.reply, "observation": s.observation, "times": s.times}
                for name, s in self.plan.shapes.items()
            },
            "policies": {
                kind: {
                    "growth": None if (growth := self.growth(kind)) is None else round(growth, 3),
                    **{name: self.cost(kind, name).to_json() for name in shapes},
                }
                for kind, shapes in self.rounds.items()
            },
            "bar": {"tokens_per_cpu_second_of_each_process": BAR, "growth": BAR_OF_GROWTH, "reached": self.reached},
        }


async def measure_controller(
    plan: ControllerPlan, provider: SandboxProvider, say: Callable[[str], None]
) -> ControllerReport:
    """The costs of each kind and shape. The rollouts do not use `provider`, so any provider will do."""
    tokenizer, ordinary = word_tokenizer()
    rounds: dict[PolicyKind, dict[str, list[ControllerCost]]] = {k: {n: [] for n in plan.shapes} for k in plan.kinds}
    with tempfile.TemporaryDirectory(prefix="agent-rl-bench-") as folder:
        directory = _run_directory(Path(folder))
        for number in range(plan.rounds):
            for kind in plan.kinds:
                for name, shape in plan.shapes.items():
                    dialogue = _Dialogues(tokenizer, ordinary, shape, plan.rollouts * shape.times, directory, provider)
                    async with _policy(kind, ordinary, tokenizer.stop_token_ids[0], shape.reply) as (policy, role):
                        await dialogue.measured(policy, role, small=True)  # one-time work is not measured
                        with settled():
                            cost = await dialogue.measured(policy, role)
                    rounds[kind][name].append(cost)
                    say(f"round {number + 1}: {kind}, {name}: {cost.tokens_per_second:,.0f} tokens per CPU-second")
    return ControllerReport(cpu_name(), plan, rounds)


@contextlib.asynccontextmanager
async def _policy(
    kind: PolicyKind, ordinary: tuple[int, int], stop: int, reply: int
) -> AsyncIterator[tuple[Policy, RoleProcess | None]]:
    """A policy of this kind, and its process if it has one of its own."""
    if kind == "in_process":
        yield FreePolicy(ordinary, stop), None
        return
    drawn = {"ordinary": ordinary, "stop": stop}
    async with LocalLauncher() as runtime:
        if kind == "role":
            role = await runtime.start("policy", f"{_PARTS}:FreePolicy", drawn, error=PolicyError)
        else:
            server = await runtime.start("server", f"{_PARTS}:FreeServer", {**drawn, "count": reply})
            socket = str(server.log.with_name("server.socket"))
            await server.call("open", socket)
            arguments = {"model_path": "stand-in", "url": socket}
            role = await runtime.start("policy", f"{_PARTS}:MeasuredVllmPolicy", arguments, error=PolicyError)
        yield PolicyClient(role), role


class _Dialogues:
    """Runs, packs and records groups of one shape."""

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        ordinary: tuple[int, int],
        shape: DialogueShape,
        rollouts: int,
        directory: RunDirectory,
        provider: SandboxProvider,
    ) -> None:
        self._tokenizer = tokenizer
        self._shape = shape
        self._rollouts = rollouts
        self._directory = directory
        self._verifier = TaskVerifier(provider)
        self._texts = _observations(tokenizer, ordinary, shape.observation)
        self._groups = 0

    async def measured(self, policy: Policy, role: RoleProcess | None, *, small: bool = False) -> ControllerCost:
        """The cost of one group; `small`: of two rollouts of at most two turns."""
        shape = self._shape
        environment = Dialogue(self._verifier, min(shape.turns, 2) if small else shape.turns, self._texts)
        (task,) = await environment.load("train")
        tokens = 2 * shape.turns * (shape.reply + 2 * shape.observation)
        settings = RolloutSettings(
            sampling=SamplingParams(max_tokens=shape.reply), deadline=3600.0, max_context=tokens, max_turns=shape.turns
        )
        agents = PolicyAgents(policy, self._tokenizer, settings)
        self._groups += 1
        elsewhere = 0.0 if role is None else -await role.call("cpu_seconds")
        marks = [time.process_time()]
        group = await run_group(
            environment, "bench", task, agents, None, index=self._groups, group_size=2 if small else self._rollouts
        )
        marks.append(time.process_time())
        rewards = await _ALGORITHM.rewards([group], 1)
        samples = _ALGORITHM.assign([group], rewards, 1)
        pack(samples, _ALGORITHM.aggregation, step=self._groups)
        marks.append(time.process_time())
        await asyncio.to_thread(self._record, group, samples[0], rewards[0])
        marks.append(time.process_time())
        elsewhere += 0.0 if role is None else await role.call("cpu_seconds")
        return _cost(group, marks, elsewhere)

    def _record(self, group: Group, samples: list[TrainingSample], rewards: list[RolloutReward]) -> None:
        rows = [trajectory_row(group, sample, reward) for sample, reward in zip(samples, rewards, strict=True)]
        self._directory.write_rollouts(self._groups, rows)


def _cost(group: Group, marks: list[float], elsewhere: float) -> ControllerCost:
    rollouts, packing, recording = (b - a for a, b in pairwise(marks))
    segments = [s for t in group.trajectories for s in t.segments]
    sampled = sum(t.sampled_tokens for t in group.trajectories)
    return ControllerCost(
        sampled, sum(len(s.token_ids) for s in segments) - sampled, rollouts, packing, recording, elsewhere
    )


def _observations(tokenizer: ChatTokenizer, ordinary: tuple[int, int], tokens: int) -> list[str]:
    """Texts of about `tokens` tokens."""
    draw = random.Random(0)
    ids = range(ordinary[0], ordinary[1] + 1)
    return [tokenizer.decode(draw.choices(ids, k=tokens)) for _ in range(16)]


def _run_directory(folder: Path) -> RunDirectory:
    directory = RunDirectory(folder)
    data = {"environments": [{"environment": "none is loaded"}], "model": {"path": "none is loaded"}}
    directory.create(parse_config(data, source="bench controller"), resume=False)
    return directory
