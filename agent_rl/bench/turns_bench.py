"""`bench turns`: the time to prepare the requests of a long conversation, compared with generating its replies.

The real agent holds one conversation on the transformers engine, turn after turn. Preparing is the agent's work before
each call of the policy and between the policy's answer and the reply: guarding, rendering the chat template, comparing
with the history, encoding new text, decoding, recording. In wall-clock time:

    preparing a turn   seconds of `agent.say` - seconds in which it waited for the policy
    share              preparing, over all turns / generating, over all turns
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from agent_rl.bench.bench_engines import EngineSettings, ordinary_ids, prepare_bench_model, serving
from agent_rl.config import ScratchModel
from agent_rl.contracts import Policy, SamplingParams
from agent_rl.errors import ConfigError
from agent_rl.inference.context_length import context_of
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.policy_agent import PolicyAgent, RolloutName, RolloutSettings

BAR = 0.02
"""The largest allowed share: time of preparing over time of generating."""
AT = (16, 32, 64, 128)
"""Turns for which the time of one turn is reported."""
SHAPE = ScratchModel(
    architecture="qwen3", vocabulary=4096, width=256, layers=4, heads=8, kv_heads=4, ffn_width=768, context=20480
)
_AROUND = 8
"""The reported time of a turn is the median over this many turns, of which it is the last."""
_MARKUP = 16
"""Upper limit of the tokens that a chat template writes around a message."""


@dataclass(frozen=True, slots=True)
class TurnsPlan:
    """A conversation of `turns` turns: each reply of up to `reply` tokens is answered by about `observation` tokens."""

    turns: int = 128
    reply: int = 32
    observation: int = 64
    model: Path | None = None
    settings: EngineSettings = field(default_factory=EngineSettings)
    shape: ScratchModel = SHAPE


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """The seconds of one turn, and the tokens of its request."""

    preparing: float
    generating: float
    request_tokens: int


@dataclass(frozen=True, slots=True)
class TurnsReport:
    """The measurements of each turn."""

    device: str
    model: str
    plan: TurnsPlan
    turns: tuple[TurnTimes, ...]

    @property
    def share(self) -> float:
        """Seconds of preparing over seconds of generating, summed over all turns."""
        return sum(t.preparing for t in self.turns) / sum(t.generating for t in self.turns)

    @property
    def reached(self) -> bool:
        return self.share < BAR

    def at(self) -> Mapping[int, TurnTimes]:
        """Turn -> its times, each the median over the `_AROUND` turns up to it; for AT and the last turn."""
        return {n: _median(self.turns[max(0, n - _AROUND) : n]) for n in marks(len(self.turns))}

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "device": self.device,
            "model": self.model,
            "turns": len(self.turns),
            "share": round(self.share, 5),
            "bar": {"share_below": BAR, "reached": self.reached},
            "preparing_seconds": round(sum(t.preparing for t in self.turns), 4),
            "generating_seconds": round(sum(t.generating for t in self.turns), 4),
            "at": {
                str(n): {
                    "preparing_ms": round(1000 * t.preparing, 3),
                    "generating_ms": round(1000 * t.generating, 1),
                    "request_tokens": t.request_tokens,
                    "share": round(t.preparing / t.generating, 5),
                }
                for n, t in self.at().items()
            },
        }


def marks(turns: int) -> list[int]:
    """The entries of AT up to `turns`, and `turns` itself."""
    return sorted({*(n for n in AT if n <= turns), turns})


async def measure_turns(plan: TurnsPlan) -> TurnsReport:
    """The times of each turn. Raises ConfigError when the model's context is too short for the conversation."""
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(LocalLauncher())
        folder, model, device = await prepare_bench_model(runtime, plan.model, plan.shape, plan.settings.device)
        needed = (plan.turns + 1) * (plan.reply + plan.observation + 2 * _MARKUP)
        if needed > context_of(folder):
            message = f"{plan.turns} turns may take {needed} tokens, its context is {context_of(folder)}"
            raise ConfigError(message, key="--model")
        policy = await stack.enter_async_context(serving("transformers", runtime, plan.settings, folder))
        # Another conversation runs first, so that one-time work is not measured.
        await _converse(plan, policy, folder, turns=2, rollout=1)
        return TurnsReport(device, model, plan, await _converse(plan, policy, folder, turns=plan.turns, rollout=0))


async def _converse(
    plan: TurnsPlan, policy: Policy, folder: Path, *, turns: int, rollout: int
) -> tuple[TurnTimes, ...]:
    tokenizer = ChatTokenizer.load(folder)
    settings = RolloutSettings(
        sampling=SamplingParams(max_tokens=plan.reply), deadline=3600.0, max_context=context_of(folder), max_turns=turns
    )
    agent = PolicyAgent(policy, tokenizer, settings, RolloutName("bench", "turns", 0, rollout))
    words = _words(tokenizer, ordinary_ids(folder), rollout)
    times: list[TurnTimes] = []
    waited = 0.0
    try:
        for _ in range(turns):
            text = words(plan.observation)
            started = time.monotonic()
            await agent.say(text)
            total = time.monotonic() - started
            record = agent.record()
            generating = record.generation_seconds - waited
            waited = record.generation_seconds
            asked = sum(len(s.token_ids) for s in record.segments[:-1])
            times.append(TurnTimes(total - generating, generating, asked))
    finally:
        await agent.close()
    return tuple(times)


def _words(tokenizer: ChatTokenizer, vocabulary: range, seed: int) -> Callable[[int], str]:
    """A function that returns text of about the given number of tokens."""
    draw = random.Random(seed)
    return lambda count: tokenizer.decode(draw.choices(vocabulary, k=count))


def _median(turns: Sequence[TurnTimes]) -> TurnTimes:
    preparing, generating = median(t.preparing for t in turns), median(t.generating for t in turns)
    return TurnTimes(preparing, generating, turns[-1].request_tokens)
