"""HumanEval itself: every reference passes, no stub does, in each kind of sandbox."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.evaluation.verify_solutions import VerifyReport, verify_files
from agent_rl.formats.humaneval import read_rows
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Task, Verdict
from agent_rl_envs.code import Code, CodeConfig
from tests.component.places import PLACES, provider_of
from tests.unit.envs.test_code import Replies

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

STUBS = {
    "pass": "    pass\n",
    "none": "    return None\n",
    "everything": (
        "    class Everything:\n        def __eq__(self, other):\n            return True\n"
        "        def __ne__(self, other):\n            return False\n"
        "        __hash__ = None\n    return Everything()\n"
    ),
    "exit": "    exit(0)\n",
}


def humaneval() -> Path:
    return Path(os.environ["AGENT_RL_DATA"]) / "HumanEval.jsonl.gz"


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Recordings of this module's own: made anew, and then shared by its tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_RL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with provider_of(request.param) as started:
        yield started


async def verified(folder: Path, provider: SandboxProvider, completions: dict[str, str]) -> VerifyReport:
    solutions = folder / "solutions.jsonl"
    lines = (json.dumps({"task_id": name, "completion": text}) for name, text in completions.items())
    solutions.write_text("\n".join(lines))
    return await verify_files(humaneval(), solutions, provider)


async def test_all_references_pass(tmp_path: Path, provider: SandboxProvider) -> None:
    report = await verified(tmp_path, provider, {r.task_id: r.canonical_solution for r in read_rows(humaneval())})
    assert [(r.task_id, r.reason) for r in report.results if not r.passed] == []
    assert (report.num_passed, report.num_failed, report.num_excluded) == (164, 0, 0)


@pytest.mark.parametrize("stub", STUBS)
async def test_no_stub_passes(tmp_path: Path, provider: SandboxProvider, stub: str) -> None:
    report = await verified(tmp_path, provider, {r.task_id: STUBS[stub] for r in read_rows(humaneval())})
    assert [r.task_id for r in report.results if r.passed] == []
    assert (report.num_passed, report.num_failed, report.num_excluded) == (0, 164, 0)
    assert Counter(r.status for r in report.results) == {"failed": 164}


async def test_gold_passes_all_and_empty_none_and_examples_are_shown(provider: SandboxProvider) -> None:
    code = Code(CodeConfig(dataset=str(humaneval()), max_turns=2), TaskVerifier(provider))
    tasks = await code.load("test")
    no_sandbox: Any = None

    async def verdict(task: Task, *replies: str) -> Verdict:
        return await code.verifier.judge(task, await code.rollout(task, Replies(*replies), no_sandbox))

    gold = [await verdict(t, t.oracle or "") for t in tasks]
    assert [t.id for t, v in zip(tasks, gold, strict=True) if not v.passed] == []
    empty = [await verdict(t, "", "") for t in tasks]
    assert sum(v.passed for v in empty) == 0
    # As many prompts have doctests with literals that the reference passes.
    assert sum(isinstance(t.public, CallTests) for t in tasks) == 68
