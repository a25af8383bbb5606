"""`agent-rl verify` on other formats than HumanEval's, and on solutions that are files, patches and archives."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.errors import ConfigError
from agent_rl.evaluation.verify_solutions import VerifyReport, verify_files
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from tests.component.places import PLACES, provider_of
from tests.unit.formats.test_formats import APPS_CALLS, CALLS, CODE_CONTESTS, HUMANEVAL, MBPP, STDIO

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with provider_of(request.param) as started:
        yield started


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_one_file_of_many_formats_is_judged(tmp_path: Path) -> None:
    tasks = lines(tmp_path / "tasks.jsonl", [HUMANEVAL, MBPP, CALLS, STDIO, APPS_CALLS, CODE_CONTESTS])
    right = {
        "H/1": "    return x + x\n",
        11: "Here it is:\n```python\ndef square(x):\n    return base * x ** 2\n```",
        "C/1": "def pair(a, b):\n    return [a, b]\n",
        "S/1": "a, b = map(int, input().split())\nprint(a + b)\n",
        "8": "def add(a, b):\n    return a + b\n",  # a function, where the data set asks for a method
        "CC/1": "import sys\nsys.stdout.write(sys.stdin.read())\n",
    }
    solutions = [{"task_id": task, "completion": text} for task, text in right.items()]
    solutions += [{"task_id": task, "completion": "print('no')\n"} for task in right]
    async with InMemoryProvider() as provider:
        report = await verify_files(
            tasks, lines(tmp_path / "solutions.jsonl", solutions), provider, minimum_isolation="memory"
        )
    assert [r.passed for r in report.results] == [True] * 6 + [False] * 6
    assert {r.tier for r in report.results} == {"values"}


def archive(**files: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_dot_", "."))
            info.size = len(content.encode())
            tar.addfile(info, io.BytesIO(content.encode()))
    return stream.getvalue()


async def test_folders_of_tasks_take_files_patches_and_replies(provider: SandboxProvider, tmp_path: Path) -> None:
    task = tmp_path / "tasks" / "greet"
    for name, content in (
        ("instruction.md", "Change greeting.txt."),
        ("files/greeting.txt", "good\nbye\n"),
        ("tests/test.sh", "grep -q hello greeting.txt\n"),
        ("task.toml", 'split = "train"\n[verifier]\ntimeout_sec = 20\n'),
    ):
        (task / name).parent.mkdir(parents=True, exist_ok=True)
        (task / name).write_text(content)
    (tmp_path / "right.tar.gz").write_bytes(archive(greeting_dot_txt="hello\n"))
    (tmp_path / "astray.tar.gz").write_bytes(archive(**{"..__greeting_dot_txt": "hello\n"}))
    solutions = [
        {"files": {"greeting.txt": "hello\n"}},
        {"patch": "--- a/greeting.txt\n+++ b/greeting.txt\n@@ -1,2 +1,2 @@\n good\n-bye\n+hello\n"},
        {"archive": "right.tar.gz"},
        {"files": {}},
        {"patch": "--- a/greeting.txt\n+++ b/greeting.txt\n@@ -1,1 +1,1 @@\n-evil\n+hello\n"},
        {"archive": "astray.tar.gz"},
        {"completion": "This:\n```bash\na=(greeting.txt); echo hello > ${a[0]}\n```\nOutput:\n```\nno\n```"},
        {"completion": "```sh\necho good > greeting.txt\n```"},
        {"completion": "It should be hello."},
        {"completion": ""},
        {"completion": "<think>\n```sh\necho hello > greeting.txt\n```"},
    ]
    report: VerifyReport = await verify_files(
        tmp_path / "tasks",
        lines(tmp_path / "solutions.jsonl", [{"task_id": "greet", **s} for s in solutions]),
        provider,
    )
    assert [r.status for r in report.results] == [
        *["passed"] * 3,
        *["failed", "invalid_submission", "invalid_submission"],
        *["passed", "failed", "failed", "failed", "invalid_submission"],
    ]
    assert {r.tier for r in report.results} == {"in_process"}
    assert "leaves its folder" in report.results[5].reason
    assert "the thinking never ends" in report.results[10].reason


async def test_a_failing_test_is_named_with_its_reason(provider: SandboxProvider, tmp_path: Path) -> None:
    tests = "from solution import f\n\ndef test_one():\n    assert f(1) == 1\n\ndef test_two():\n    assert f(2) == 4\n"
    row = {
        "task_id": "p",
        "prompt": "Square.",
        "test_files": {"test_f.py": tests},
        "solution": "def f(x): return x * x",
    }
    solutions = [{"task_id": "p", "completion": f"def f(x):\n    return {body}\n"} for body in ("x ** 2", "x")]
    report = await verify_files(
        lines(tmp_path / "tasks.jsonl", [row]), lines(tmp_path / "solutions.jsonl", solutions), provider
    )
    assert [r.reason.partition(": ")[0] for r in report.results] == ["", "test_f.py::test_two"]
    assert "assert" in report.results[1].reason


@pytest.mark.parametrize(
    ("solution", "message"),
    [
        ({}, "'completion' is missing"),
        ({"completion": "x", "patch": "y"}, "only one of completion, files, patch, archive .* completion and patch"),
        ({"files": ["x"]}, "'files' should be an object of texts by path"),
        ({"patch": 1}, "'patch' should be a string, got int"),
        ({"archive": "none.tar"}, "the archive cannot be read: .*none.tar"),
    ],
)
async def test_a_malformed_solution_is_named(tmp_path: Path, solution: dict[str, Any], message: str) -> None:
    tasks = lines(tmp_path / "tasks.jsonl", [CALLS])
    async with InMemoryProvider() as provider:
        with pytest.raises(ConfigError, match=rf"solutions\.jsonl:1: .*{message}"):
            await verify_files(tasks, lines(tmp_path / "solutions.jsonl", [{"task_id": "C/1", **solution}]), provider)
