"""What a daemon's images are like, with a daemon that is played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent_rl.errors import SandboxError
from agent_rl_sandboxes import docker_images
from agent_rl_sandboxes.docker_engine import DaemonGone
from agent_rl_sandboxes.docker_images import BUILD_TRIES, DockerImages
from agent_rl_sandboxes.resource_owner import Owner


def images_of(answers: list[str | SandboxError], asked: list[Path]) -> DockerImages:
    """Images whose builds give `answers`, one after the other."""

    async def call(function: Callable[..., Any], api: object, folder: Path) -> str:
        asked.append(folder)
        answer = answers.pop(0)
        if isinstance(answer, SandboxError):
            raise answer
        return answer

    engine: Any = SimpleNamespace(call=call, api=None)
    return DockerImages(engine, Owner.current())


async def test_a_build_that_fails_is_tried_a_few_times_and_then_not_for_each_of_a_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Path] = []
    answers: list[str | SandboxError] = [
        DaemonGone("gone"),
        *(SandboxError(f"no {n}") for n in range(3)),
        "other",
        "it",
    ]
    images = images_of(answers, asked)
    with pytest.raises(DaemonGone, match="gone"):
        await images.built("a")
    for number in (*range(BUILD_TRIES), BUILD_TRIES - 1, BUILD_TRIES - 1):
        with pytest.raises(SandboxError, match=f"no {number}"):
            await images.built("a")
    assert asked == [Path("a")] * (1 + BUILD_TRIES)
    assert await images.built("b") == "other"
    monkeypatch.setattr(docker_images.time, "monotonic", lambda: float("inf"))
    assert await images.built("a") == "it"


async def test_a_build_that_succeeds_after_a_failure_may_fail_as_often_again() -> None:
    asked: list[Path] = []
    images = images_of([*[SandboxError("no")] * 2, "it", *[SandboxError("no")] * 3], asked)
    outcomes: list[str] = []
    for _ in range(7):
        try:
            outcomes.append(await images.built("a"))
        except SandboxError as error:
            outcomes.append(str(error))
    assert outcomes == ["no", "no", "it", "no", "no", "no", "no"]
    assert len(asked) == 6
