"""Tests that are a script, in a sandbox: what ends or steers them does not pass, and honest submissions do."""

from __future__ import annotations

import asyncio

import pytest

from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import Limits, ScriptTests, Submission, Task, Verdict
from tests.component.judging.honest_scripts import HONEST_SCRIPTS
from tests.component.judging.script_corpus import Script
from tests.component.judging.wrong_scripts import WRONG_SCRIPTS
from tests.component.places import provider_of


def bytes_of(files: object) -> dict[str, bytes]:
    assert isinstance(files, dict)
    return {path: text.encode() for path, text in files.items()}


_CORPUS = (*WRONG_SCRIPTS, *HONEST_SCRIPTS)
_PLAIN = [script for script in _CORPUS if not script.needs_pytest]
PARTS = [
    pytest.param("local", _PLAIN, marks=pytest.mark.local_sandbox, id="local"),
    # In Docker each script has a container of its own, which takes longer than the script. So what the local sandbox
    # runs as well is tried in part here, and the rest of it in `make full`.
    pytest.param(
        "docker",
        [script for script in _CORPUS if script.needs_pytest or script in _PLAIN[::3]],
        marks=[pytest.mark.docker, pytest.mark.slow],
        id="docker",
    ),
    pytest.param(
        "docker",
        [script for script in _PLAIN if script not in _PLAIN[::3]],
        marks=[pytest.mark.docker, pytest.mark.slow, pytest.mark.full],
        id="docker-rest",
    ),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("place", "corpus"), PARTS)
async def test_scripts_are_neither_ended_early_nor_steered_and_honest_work_passes(
    place: str, corpus: list[Script]
) -> None:
    gate = asyncio.Semaphore(2)
    async with provider_of(place) as provider:
        verifier = TaskVerifier(provider, cache_size=0)

        async def judged(script: Script) -> Verdict:
            hidden = {f"tests/{path}": text.encode() for path, text in script.tests.items()}
            tests = ScriptTests(hidden, reward_file=script.reward)
            limits = Limits(wall_seconds=60.0, output_bytes=1 << 20)
            task = Task(script.name, (), tests, files=bytes_of(script.files), limits=limits, tier="in_process")
            async with gate:
                return await verifier.judge(task, Submission.of_files(bytes_of(script.submitted)))

        verdicts = await asyncio.gather(*map(judged, corpus))
    wrong = [
        f"{s.name}: {v.status}: {v.tests[0].detail}"
        for s, v in zip(corpus, verdicts, strict=True)
        if v.passed != s.passes
    ]
    assert not wrong, "\n".join(wrong)
