import json
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError, SandboxError
from agent_rl.evaluation.verify_solutions import SolutionResult, VerifyReport, verify_files
from agent_rl.vocabulary import RunRequest
from tests.unit.judging.fakes import Outcome, ScriptedProvider, executes

TEST = "def check(candidate):\n    for n in range(5):\n        assert candidate(n) == n * n\n"


def row(name: str, test: str = TEST) -> dict[str, str]:
    return {
        "task_id": name,
        "prompt": "def square(x):\n    ''\n",
        "entry_point": "square",
        "canonical_solution": "    return x * x\n",
        "test": test,
    }


def solution(name: str, completion: str) -> dict[str, str]:
    return {"task_id": name, "completion": completion}


RIGHT, WRONG = "    return x ** 2\n", "    return x + x\n"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("agent_rl.judging.blame._PAUSE_SECONDS", 0.001)


async def verified(tmp_path: Path, rows: list[Any], solutions: list[Any], provider: Any = None) -> VerifyReport:
    for name, content in (("tasks.jsonl", rows), ("solutions.jsonl", solutions)):
        (tmp_path / name).write_text("".join(json.dumps(c) + "\n" for c in content))
    provider = provider or ScriptedProvider(executes)
    return await verify_files(
        tmp_path / "tasks.jsonl", tmp_path / "solutions.jsonl", provider, retries=0, minimum_isolation="memory"
    )


async def test_a_verdict_for_each_solution_in_their_order(tmp_path: Path) -> None:
    solutions = [solution("b", WRONG), solution("a", RIGHT), solution("b", RIGHT), solution("a", "    exit(0)\n")]
    report = await verified(tmp_path, [row("a"), row("b")], solutions)
    report.write(tmp_path / "out.json")
    content = json.loads((tmp_path / "out.json").read_text())
    passed = {"passed": True, "status": "passed", "tier": "values", "seconds": 0.01, "reason": ""}
    failed = {"passed": False, "status": "failed", "tier": "values", "seconds": 0.01}
    reasons = [r.reason for r in report.results]
    assert content == {
        "schema_version": 2,
        "num_passed": 2,
        "num_failed": 2,
        "num_excluded": 0,
        "num_left_out": 0,
        "left_out": [],
        "results": [
            {"task_id": "b", **failed, "reason": reasons[0]},
            {"task_id": "a", **passed},
            {"task_id": "b", **passed},
            {"task_id": "a", **failed, "reason": reasons[3]},
        ],
    }
    assert reasons[0].startswith("square(") and "the program ended early" in reasons[3]
    assert report.exit_code() == 0
    assert report.exit_code(require_all=True) == 1


async def test_every_task_that_cannot_be_used_is_named_at_once(tmp_path: Path) -> None:
    broken = TEST.replace("n * n", "3")
    with pytest.raises(ConfigError) as caught:
        await verified(
            tmp_path,
            [row("a"), row("b", broken), row("c", broken)],
            [solution("a", RIGHT), solution("b", RIGHT), solution("c", RIGHT), solution("b", WRONG)],
        )
    why = "the tests could not be recorded with the oracle solution: AssertionError (assert candidate(n) == 3)"
    lines = ["2 of 3 tasks cannot be used:", f"  task b: {why}", f"  task c: {why}"]
    assert str(caught.value).splitlines() == lines


async def test_a_person_is_told_what_failed_and_at_which_tier(tmp_path: Path) -> None:
    report = await verified(tmp_path, [row("a")], [solution("a", RIGHT), solution("a", WRONG)])
    assert report.tiers == {"values": 2}
    assert report.results[1].line() == "task a: failed: square(1) gave 2, expected 1"
    assert report.failing == ["solution 2, task a: failed: square(1) gave 2, expected 1"]
    long = SolutionResult("t", False, "failed", "in_process", 0.0, "exit code 2\nit printed\nthis")
    assert VerifyReport((report.results[0], long)).failing == ["task t: failed: exit code 2\n    it printed\n    this"]


async def test_rollouts_that_the_infrastructure_failed_are_excluded_never_failed(tmp_path: Path) -> None:
    def dies_on_b(request: RunRequest) -> Outcome:
        return SandboxError("the daemon is gone") if "return x + x" in request.program else executes(request)

    provider = ScriptedProvider(dies_on_b, controls=[False] * 9)
    report = await verified(tmp_path, [row("a"), row("b")], [solution("a", RIGHT), solution("b", WRONG)], provider)
    assert report.num_excluded == 1
    assert report.to_json()["results"][1] == {
        "task_id": "b",
        "passed": None,
        "status": "excluded",
        "tier": None,
        "seconds": 0.0,
        "reason": report.results[1].reason,
    }
    assert "the daemon is gone" in report.results[1].reason
    assert report.exit_code() == report.exit_code(require_all=True) == 3


async def test_only_tasks_with_solutions_are_recorded(tmp_path: Path) -> None:
    broken = row("broken", "def check(candidate):\n    assert candidate(2) == 5\n")
    report = await verified(tmp_path, [row("a"), broken], [solution("a", RIGHT)])
    assert report.num_passed == 1
    with pytest.raises(ConfigError, match="task broken: the tests could not be recorded with the oracle solution"):
        await verified(tmp_path, [row("a"), broken], [solution("a", RIGHT), solution("broken", RIGHT)])


@pytest.mark.parametrize(
    ("solutions", "message"),
    [
        ([{"task_id": "a"}], r"solutions\.jsonl:1: 'completion' is missing"),
        (
            [solution("a", RIGHT), {"task_id": 1.5, "completion": ""}],
            r"solutions\.jsonl:2: 'task_id' should be a string",
        ),
        ([{"task_id": 1, "completion": ""}], r"solutions\.jsonl:1: there is no task '1'"),
        ([solution("square/1", RIGHT)], r"solutions\.jsonl:1: there is no task 'square/1'.*did you mean 'square/0'"),
        ([], r"solutions\.jsonl holds no solutions"),
    ],
)
async def test_malformed_solutions_are_named_by_file_and_line(
    tmp_path: Path, solutions: list[Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        await verified(tmp_path, [row("a"), row("square/0")], solutions)


async def test_results_are_told_as_they_come(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps(row("a")))
    (tmp_path / "s.jsonl").write_text("\n".join(json.dumps(solution("a", c)) for c in (RIGHT, WRONG)))
    told: list[tuple[int, int, SolutionResult]] = []
    await verify_files(
        tmp_path / "t.jsonl",
        tmp_path / "s.jsonl",
        ScriptedProvider(executes),
        minimum_isolation="memory",
        on_result=lambda done, total, result: told.append((done, total, result)),
    )
    assert [(done, total) for done, total, _ in told] == [(1, 2), (2, 2)]
    assert {r.passed for _, _, r in told} == {True, False}


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--json: .* cannot be written"):
        VerifyReport(()).write(tmp_path / "none" / "out.json")
