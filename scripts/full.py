"""`make full`: every test and every bar that this project stands by, and one table at the end. Takes hours.

Each part is a command that a user could give; its figures are read from what it wrote. `--only NAME` runs some parts,
`--list` names them. Exit 0 where every bar is met, 1 where one is not, 3 where a part could not run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
AGENT_RL = Path(sys.executable).with_name("agent-rl")
CONFIG = ROOT / "configs" / "quickstart.toml"
SEEDS = (0, 1, 2)
MAX_MINUTES = 10.0
WRONG_BODIES = {
    "pass": "    pass\n",
    "return None": "    return None\n",
    "equal to everything": (
        "    class Everything:\n        def __eq__(self, other): return True\n"
        "        def __ne__(self, other): return False\n        def __hash__(self): return 0\n"
        "    return Everything()\n"
    ),
    "exit(0)": "    exit(0)\n",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the table."""

    part: str
    what: str
    measured: str
    wanted: str
    met: bool


class CouldNotRun(Exception):
    """A command of a part ended with an exit code other than those expected."""


def command(*arguments: object, codes: Sequence[int] = (0,), **environment: str) -> float:
    """Seconds that the command took. Its output is shown. Raises CouldNotRun for another exit code."""
    texts = [str(a) for a in arguments]
    print(f"\n$ {' '.join(texts)}", flush=True)
    started = time.monotonic()
    done = subprocess.run(texts, cwd=ROOT, env={**os.environ, **environment}, check=False)
    if done.returncode not in codes:
        raise CouldNotRun(f"exit {done.returncode}: {' '.join(texts)}")
    return time.monotonic() - started


def data(name: str) -> Path:
    folder = os.environ.get("AGENT_RL_DATA")
    if not folder or not (Path(folder) / name).is_file():
        raise CouldNotRun(f"AGENT_RL_DATA names no folder with {name}")
    return Path(folder) / name


def tests(folder: Path) -> list[Bar]:
    """All tests, the long ones too."""
    try:
        beside = ("-n", 2, "--dist", "loadgroup", "--no-loadscope-reorder")
        needs = "docker,local,data,vllm"
        command(sys.executable, "-m", "pytest", "-q", *beside, AGENT_RL_TESTS="full", AGENT_RL_REQUIRE=needs)
    except CouldNotRun as error:
        return [Bar("tests", "all tests", str(error), "all pass", False)]
    return [Bar("tests", "all tests", "pass", "all pass", True)]


def quickstart(seed: int) -> Callable[[Path], list[Bar]]:
    """The quickstart with empty caches, and what it must show; then the warm start's pass@64, outside the time."""

    def part(folder: Path) -> list[Bar]:
        name, run, cache = f"quickstart, seed {seed}", folder / f"seed-{seed}", folder / f"cache-{seed}"
        seeds = ("--set", f"seed={seed}")
        seconds = command(AGENT_RL, "train", CONFIG, "--run-dir", run, *seeds, AGENT_RL_CACHE=str(cache))
        rows = json.loads((run / "eval.json").read_text())
        warm = folder / f"warm-{seed}.json"
        model = warm_model(seeds, cache)
        sampled = ("--samples", 64, "--k", "64", "--no-greedy", "--json", warm)
        command(AGENT_RL, "eval", CONFIG, "--policy", model, *sampled)
        return [
            Bar(name, "minutes", f"{seconds / 60:.1f}", f"<= {MAX_MINUTES:g}", seconds <= 60 * MAX_MINUTES),
            *before_bars(name, rows[0], json.loads(warm.read_text())[0]),
            *gain_bars(name, rows[0], rows[-1]),
            on_humaneval(name, run, folder),
        ]

    return part


def warm_model(seeds: Sequence[str], cache: Path) -> str:
    """The folder of the warm-started model of the run with `seeds`, from its cache."""
    program = (
        "import sys; from pathlib import Path; from agent_rl.config import load_config; "
        "from agent_rl.loop.starting_model import prepare_model; "
        "print(prepare_model(load_config(sys.argv[1], sys.argv[3:]), Path(sys.argv[2])))"
    )
    overrides = [text for text in seeds if text != "--set"]
    arguments = [sys.executable, "-c", program, str(CONFIG), str(cache), *overrides]
    done = subprocess.run(arguments, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout.strip().splitlines()[-1]


def before_bars(name: str, before: dict[str, Any], warm: dict[str, Any]) -> list[Bar]:
    """The warm start is weak enough to leave room, and diverse enough to learn from."""
    first, greedy, wide = before["pass_at_k"]["1"], before["greedy"], warm["pass_at_k"]["64"]
    tasks = before["num_tasks"]
    return [
        Bar(name, "held-out tasks", str(tasks), ">= 200", tasks >= 200),
        Bar(name, "pass@1 before", shown(first), "0.05 to 0.30", 0.05 <= first["value"] <= 0.30),
        Bar(name, "pass@64 before", shown(wide), ">= 0.60", wide["value"] >= 0.60),
        Bar(name, "greedy before", shown(greedy), "<= 0.45", greedy["value"] <= 0.45),
    ]


def gain_bars(name: str, before: dict[str, Any], after: dict[str, Any]) -> list[Bar]:
    """What training has to add."""
    first, last = before["pass_at_k"]["1"], after["pass_at_k"]["1"]
    gain, greedy = last["value"] - first["value"], after["greedy"]["value"] - before["greedy"]["value"]
    return [
        Bar(name, "pass@1 after", shown(last), "before + 0.30", gain >= 0.30),
        Bar(
            name,
            "intervals of pass@1",
            f"{first['high']:.3f} < {last['low']:.3f}",
            "apart",
            first["high"] < last["low"],
        ),
        Bar(name, "greedy after", shown(after["greedy"]), "before + 0.25", greedy >= 0.25),
    ]


def on_humaneval(name: str, run: Path, folder: Path) -> Bar:
    """What the trained model does on HumanEval: a figure to be honest about, not a bar."""
    out = folder / "humaneval.json"
    suite = ("--env", "code", "--option", f"dataset={data('HumanEval.jsonl.gz')}", "--policy", run)
    command(AGENT_RL, "eval", *suite, "--samples", 2, "--k", 1, "--max-tokens", 80, "--json", out)
    (row,) = json.loads(out.read_text())
    return Bar(name, "HumanEval, pass@1", shown(row["pass_at_k"]["1"]), "any", row["num_excluded"] == 0)


def control(folder: Path) -> list[Bar]:
    """With the verdicts of a group shuffled among its members, at a third of the steps, there is nothing to learn."""
    import tomllib

    run = folder / "control"
    steps = int(tomllib.loads(CONFIG.read_text())["loop"]["steps"]) // 3
    settings = ("--set", "algorithm.shuffle_rewards=true", "--set", f"loop.steps={steps}")
    command(AGENT_RL, "train", CONFIG, "--run-dir", run, *settings)
    rows = json.loads((run / "eval.json").read_text())
    return control_bars(rows[0], rows[-1], steps)


def control_bars(before: dict[str, Any], after: dict[str, Any], steps: int) -> list[Bar]:
    """That neither sampled nor greedy replies got better."""
    gains = {
        "pass@1": after["pass_at_k"]["1"]["value"] - before["pass_at_k"]["1"]["value"],
        "greedy": after["greedy"]["value"] - before["greedy"]["value"],
    }
    return [
        Bar("control", f"gain in {measure} after {steps} steps", f"{gain:+.3f}", "< 0.05", gain < 0.05)
        for measure, gain in gains.items()
    ]


def verify(sandbox: str) -> Callable[[Path], list[Bar]]:
    """All references of HumanEval pass, and no solution whose body was replaced does."""

    def part(folder: Path) -> list[Bar]:
        with gzip.open(data("HumanEval.jsonl.gz"), "rt") as lines:
            rows = [json.loads(line) for line in lines]
        solutions = {"references": [(r["task_id"], r["canonical_solution"]) for r in rows]}
        for name, body in WRONG_BODIES.items():
            solutions[name] = [(r["task_id"], body) for r in rows]
        bars: list[Bar] = []
        for name, given in solutions.items():
            file, out = folder / "solutions.jsonl", folder / "verdicts.json"
            file.write_text("".join(json.dumps({"task_id": t, "completion": c}) + "\n" for t, c in given))
            options = ("--sandbox", sandbox, "--json", out)
            command(AGENT_RL, "verify", data("HumanEval.jsonl.gz"), file, *options, codes=(0, 3))
            counts = json.loads(out.read_text())
            wanted = len(rows) if name == "references" else 0
            measured = f"{counts['num_passed']} passed, {counts['num_excluded']} excluded"
            met = counts["num_passed"] == wanted and counts["num_excluded"] == 0
            bars.append(Bar(f"verify in {sandbox}", name, measured, f"{wanted} of {len(rows)} pass", met))
        return bars

    return part


def fixed_policies(folder: Path) -> list[Bar]:
    """`gold` passes everything that has a reference, `empty` nothing."""
    suites = (("code", "HumanEval.jsonl.gz"), ("math", "gsm8k-test.jsonl.gz"))
    bars: list[Bar] = []
    for environment, file in suites:
        for policy, wanted in (("gold", 1.0), ("empty", 0.0)):
            out = folder / "fixed.json"
            options = ("--env", environment, "--option", f"dataset={data(file)}", "--policy", policy, "--json", out)
            command(AGENT_RL, "eval", *options)
            (row,) = json.loads(out.read_text())
            value = row["pass_at_k"]["1"]["value"]
            measured = f"{round(value * row['num_tasks'])} of {row['num_tasks']}, {row['num_excluded']} excluded"
            met = value == wanted and row["num_excluded"] == 0
            bars.append(Bar(f"eval {environment}", policy, measured, "all" if wanted else "none", met))
    return bars


def bench_generate(folder: Path) -> list[Bar]:
    """The transformers engine against padded `generate`."""
    out = folder / "generate.json"
    command(AGENT_RL, "bench", "generate", "--json", out)
    data = json.loads(out.read_text())
    bars = [
        Bar("bench generate", f"{name}, tokens/s", f"{figures['tokens_per_second']:,.0f}", "any", True)
        for name, figures in data["engines"].items()
    ]
    ratio = data["ratios"]["transformers"]
    return [*bars, Bar("bench generate", "transformers over padded", f"{ratio:.2f}", ">= 2", ratio >= 2)]


def bench_overlap(folder: Path) -> list[Bar]:
    """The scheduler against the ideal, and asynchronous against synchronous training."""
    out = folder / "overlap.json"
    command(AGENT_RL, "bench", "overlap", "--json", out)
    data = json.loads(out.read_text())
    bars: list[Bar] = []
    for name, wanted in (("balanced", 0.95), ("heavy_tail", 0.90)):
        value = data["scheduling"][name]["efficiency"]
        bars.append(Bar("bench overlap", f"efficiency, {name}", f"{value:.3f}", f">= {wanted}", value >= wanted))
    q = data["quickstart"]
    share, bound = q["speedup"] / q["bound"], f"{q['bound']:.2f} (the cores allow {q['core_bound']:.2f})"
    return [
        *bars,
        Bar("bench overlap", "speedup over synchronous", f"{q['speedup']:.2f}", ">= 1.1", q["speedup"] >= 1.1),
        Bar("bench overlap", f"of the bound, {bound}", f"{share:.2f}", ">= 0.85", share >= 0.85),
        Bar("bench overlap", "pass@1 intervals", str(q["intervals_overlap"]), "overlap", q["intervals_overlap"]),
    ]


def bench_turns(folder: Path) -> list[Bar]:
    """What preparing requests takes at many turns."""
    out = folder / "turns.json"
    command(AGENT_RL, "bench", "turns", "--json", out)
    data = json.loads(out.read_text())
    share = data["share"]
    return [
        Bar("bench turns", f"preparing, {data['turns']} turns", f"{share:.2%}", "< 2 % of generating", share < 0.02)
    ]


def bench_controller(folder: Path) -> list[Bar]:
    """What the controller itself costs."""
    out = folder / "controller.json"
    command(AGENT_RL, "bench", "controller", "--json", out)
    bars: list[Bar] = []
    for kind, shapes in json.loads(out.read_text())["policies"].items():
        long = shapes["turns_64"]
        for process in ("controller", "policy_process"):
            if (rate := long[f"of_{process}"]) is not None:
                what = f"{kind}: tokens a CPU-second, {process}"
                bars.append(Bar("bench controller", what, f"{rate:,}", ">= 400,000", rate >= 400_000))
        growth = shapes["growth"]
        bars.append(Bar("bench controller", f"{kind}: growth", f"{growth:.2f}", "<= 1.25", growth <= 1.25))
    return bars


def bench_verify(folder: Path) -> list[Bar]:
    """Warm workers against other ways to verify."""
    out = folder / "verify.json"
    command(AGENT_RL, "bench", "verify", "--json", out)
    found = json.loads(out.read_text())
    bars = [
        Bar("bench verify", f"{name}, per minute", f"{figures['per_minute']:,.0f}", "any", True)
        for name, figures in found["kinds"].items()
    ]
    required = [
        Bar("bench verify", b["what"], b["measured"] or "not measured", b["wanted"], bool(b["met"]))
        for b in found["bars"]
    ]
    return [*bars, *required]


def shown(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


PARTS: dict[str, Callable[[Path], list[Bar]]] = {
    "verify-docker": verify("docker"),
    "verify-local": verify("local"),
    "fixed": fixed_policies,
    **{f"quickstart-{seed}": quickstart(seed) for seed in SEEDS},
    "control": control,
    "bench-verify": bench_verify,
    "bench-generate": bench_generate,
    "bench-overlap": bench_overlap,
    "bench-turns": bench_turns,
    "bench-controller": bench_controller,
    "tests": tests,
}


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="run this part, as often as needed")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--keep", type=Path, help="keep runs and results in this folder")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(PARTS))
        return 0
    bars: list[Bar] = []
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="agent-rl-full-") as temporary:
        folder: Path = (arguments.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.only or PARTS:
            try:
                bars += PARTS[name](folder)
            except (CouldNotRun, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
                broken.append(f"{name}: {type(error).__name__}: {error}")
    show(bars)
    for text in broken:
        print(f"could not run  {text}")
    return 3 if broken else int(not all(bar.met for bar in bars))


def show(bars: Sequence[Bar]) -> None:
    """The table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("part", "what", "measured", "wanted", ""):
        table.add_column(heading)
    for bar in bars:
        table.add_row(bar.part, bar.what, bar.measured, bar.wanted, "met" if bar.met else "[bold red]NOT MET[/]")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
