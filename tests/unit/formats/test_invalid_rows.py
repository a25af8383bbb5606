"""Rows that cannot be used do not stop a file where that is asked for: they are left out, counted and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError
from agent_rl.evaluation.split_overlap import overlap_note
from agent_rl.evaluation.verify_solutions import VerifyReport, verify_files
from agent_rl.formats import InvalidRows, prepare_all, read_tasks
from agent_rl.formats.invalid_rows import lines_of
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.loop.sampler import LoadedEnvironment
from agent_rl.loop.task_notes import note_tasks
from agent_rl.report.page import render
from agent_rl.report.run_data import RunData, read_task_notes
from agent_rl_envs.code import Code, CodeConfig
from tests.unit.formats.test_formats import APPS, CALLS, HUMANEVAL, STDIO, folder_of
from tests.unit.judging.fakes import ScriptedProvider, executes

WRONG = {**HUMANEVAL, "task_id": "wrong", "canonical_solution": "    return x\n"}
NOTHING = {
    **HUMANEVAL,
    "task_id": "nothing",
    "test": "def check(candidate):\n    if candidate(1) == 0:\n        assert 0\n",
}
EMPTY = {**APPS, "input_output": ""}
ROWS = [HUMANEVAL, "{", EMPTY, b"\xff", {**STDIO, "tolerance": "x"}, HUMANEVAL, WRONG, NOTHING, [1], CALLS]
RIGHT, FALSE = "    return 2 * x\n", "    return x\n"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))


def file_of(path: Path, rows: list[Any]) -> Path:
    texts = [row if isinstance(row, (str, bytes)) else json.dumps(row) for row in rows]
    path.write_bytes(b"\n".join(text.encode() if isinstance(text, str) else text for text in texts) + b"\n")
    return path


def verifier() -> TaskVerifier:
    return TaskVerifier(ScriptedProvider(executes), minimum_isolation="memory")


async def verified(tmp_path: Path, rows: list[Any], solutions: list[Any], **options: Any) -> VerifyReport:
    files = file_of(tmp_path / "tasks.jsonl", rows), file_of(tmp_path / "solutions.jsonl", solutions)
    return await verify_files(*files, ScriptedProvider(executes), minimum_isolation="memory", **options)


def solution(task: str, completion: str = RIGHT) -> dict[str, str]:
    return {"task_id": task, "completion": completion}


async def test_rows_are_left_out_with_file_line_and_reason(tmp_path: Path) -> None:
    invalid = InvalidRows()
    file = file_of(tmp_path / "rows.jsonl", ROWS)
    tasks = await prepare_all(verifier(), read_tasks(file, invalid=invalid), invalid)
    assert [t.id for t in tasks] == ["H/1", "C/1"]
    assert [(row.where.rpartition(":")[2], row.task_id) for row in invalid.rows] == [
        ("2", ""), ("3", "7"), ("4", ""), ("5", "S/1"), ("6", "H/1"), ("9", ""), ("7", "wrong"), ("8", "nothing"),
    ]  # fmt: skip
    said = lines_of([row.line() for row in invalid.rows], len(tasks), most=2)
    assert said[0] == "left out 8 of 10 rows:" and said[-1] == "  and 6 more"
    assert said[2].startswith(f"  {file}:3: 'input_output' is empty")
    reasons = [row.reason for row in invalid.rows]
    for reason, words in zip(
        reasons,
        (
            "no JSON",
            "is empty",
            "utf-8",
            "'tolerance'",
            "already in",
            "a JSON object",
            "AssertionError",
            "does nothing",
        ),
        strict=True,
    ):
        assert words in reason
    assert lines_of([], 3) == []


def test_the_default_is_the_error_of_the_first_row(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows.jsonl:2: no JSON"):
        read_tasks(file_of(tmp_path / "rows.jsonl", ROWS))
    with pytest.raises(ConfigError, match=r"holds no rows that can be used; the first of 2: .*rows.jsonl:1: 'input"):
        read_tasks(file_of(tmp_path / "rows.jsonl", [EMPTY, "{"]), invalid=InvalidRows())


async def test_solutions_of_rows_that_are_left_out_have_no_verdict(tmp_path: Path) -> None:
    asked = [solution("H/1"), solution("7"), solution("wrong"), solution("H/1", FALSE), solution("unknown")]
    report = await verified(tmp_path, ROWS, asked, on_invalid="skip")
    assert [r.status for r in report.results] == ["passed", "left_out", "left_out", "failed", "left_out"]
    content = json.loads(json.dumps(report.to_json()))
    assert (content["schema_version"], content["num_left_out"], content["num_excluded"]) == (2, 7, 0)
    assert content["left_out"][1] == {
        "where": str(tmp_path / "tasks.jsonl:3"),
        "task_id": "7",
        "reason": content["results"][1]["reason"],
    }
    assert "tasks.jsonl:3: 'input_output' is empty" in report.results[1].reason
    assert "tasks.jsonl:7: task wrong: the tests could not be recorded" in content["results"][2]["reason"]
    assert content["results"][3]["reason"] == report.results[3].line().removeprefix("task H/1: failed: ")
    assert report.exit_code() == 0


async def test_by_default_only_a_row_that_no_solution_names_is_left_out(tmp_path: Path) -> None:
    report = await verified(tmp_path, [HUMANEVAL, EMPTY], [solution("H/1")])
    assert (report.num_passed, [row.task_id for row in report.left_out]) == (1, ["7"])
    for rows, asked, message in (
        ([HUMANEVAL, EMPTY], [solution("H/1"), solution("7")], r"tasks.jsonl:2: 'input_output' is empty"),
        ([HUMANEVAL, "{"], [solution("H/1")], r"tasks.jsonl:2: no JSON"),
        ([EMPTY, EMPTY], [solution("7")], r"^[^ ]*tasks.jsonl:1: 'input_output' is empty"),
        ([HUMANEVAL, WRONG], [solution("wrong")], "task wrong: the tests could not be recorded"),
    ):
        with pytest.raises(ConfigError, match=message):
            await verified(tmp_path, rows, asked)


async def test_an_environment_says_which_rows_it_left_out(tmp_path: Path) -> None:
    file = str(file_of(tmp_path / "rows.jsonl", ROWS))
    options = {"dataset": file, "splits": {"train": "", "test": "[:1]"}}
    with pytest.raises(ConfigError, match="no JSON"):
        await Code(CodeConfig(**options), verifier()).load("train")
    code = Code(CodeConfig(**options, invalid="skip"), verifier())
    training, held_out = await code.load("train"), await code.load("test")
    assert ([t.id for t in training], [t.id for t in held_out]) == (["H/1", "C/1"], ["H/1"])
    assert (len(code.left_out("train")), len(code.left_out("test")), code.left_out("other")) == (8, 6, ())
    said: list[str] = []
    sources, held = ([LoadedEnvironment("code", code, tasks)] for tasks in (training, held_out))
    note_tasks(sources, held, "test", tmp_path / "notes.json", said.append)
    assert said[0] == "code, split train: left out 8 of 10 rows:" and said[1].startswith(f"  {file}:2: no JSON")
    assert said[-1].startswith("code: WARNING: all 1 held-out tasks (split 'test') are also trained on")
    page = render(RunData("r", {}, "", [], [], [], [], None, read_task_notes(tmp_path / "notes.json")))
    for text in ("8 rows of the split &#x27;train&#x27; were left out", "rows.jsonl:2: no JSON", "also trained on"):
        assert text in page


def test_tasks_in_both_splits_are_counted_by_their_content(tmp_path: Path) -> None:
    rows = [{**CALLS, "task_id": str(n), "prompt": f"Write {n}."} for n in range(4)]
    training = read_tasks(file_of(tmp_path / "a.jsonl", rows[:3]), "train")
    held_out = read_tasks(file_of(tmp_path / "b.jsonl", [rows[3], {**rows[1], "task_id": "other"}]), "test")
    assert overlap_note(training, held_out, "test").startswith(
        "1 of the 2 held-out tasks (split 'test') are also trained"
    )
    assert overlap_note(training, held_out[:1], "test") == overlap_note(training, [], "test") == ""


def test_a_bad_task_does_not_stop_a_folder(tmp_path: Path) -> None:
    good = {"a/tests/test.sh": "", "a/instruction.md": "x"}
    folder = folder_of(tmp_path, {**good, "b/tests/x.txt": "", "b/instruction.md": "y", "c/tests/test.sh": ""})
    invalid = InvalidRows()
    assert [t.id for t in read_tasks(folder, "train", invalid=invalid)] == ["a"]
    assert [(row.where, row.task_id) for row in invalid.rows] == [(f"{folder}/b", "b"), (f"{folder}/c", "c")]
    with pytest.raises(ConfigError, match=r"holds neither test\.sh"):
        read_tasks(folder)
