"""How many processes ran out of memory is read from control groups of either version, by fake files."""

from __future__ import annotations

import io
from typing import IO

import pytest

from agent_rl_sandboxes.inside import episode_command

VERSION_2 = "/sys/fs/cgroup/memory.events"
VERSION_1 = "/sys/fs/cgroup/memory/memory.oom_control"
EVENTS = "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({VERSION_2: EVENTS}, 2),
        ({VERSION_1: CONTROL}, 5),
        # A hybrid host: version 2 is mounted elsewhere, or first.
        ({VERSION_2: EVENTS, VERSION_1: CONTROL}, 2),
        # Kernels before 4.13 do not count.
        ({VERSION_1: "oom_kill_disable 0\nunder_oom 0\n"}, 0),
        ({VERSION_2: "oom_kill many\n", VERSION_1: CONTROL}, 5),
        ({}, 0),
    ],
)
def test_kills_for_memory_are_read_from_either_version(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], kills: int
) -> None:
    def opened(path: str) -> IO[str]:
        if path not in files:
            raise FileNotFoundError(path)
        return io.StringIO(files[path])

    monkeypatch.setattr(episode_command, "open", opened, raising=False)
    assert episode_command.oom_kills() == kills
