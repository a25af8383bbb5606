"""A container's own cgroup: what it killed at its limit, and what all processes have, with both versions of cgroups."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent_rl_sandboxes.inside import kernel_kills
from agent_rl_sandboxes.inside.kernel_kills import OwnGroup

VERSIONS: dict[str, Callable[[int, int, int], dict[str, str]]] = {
    "1": lambda used, met, kills: {
        "memory/memory.stat": f"cache 7\nrss 1\ntotal_cache 9\ntotal_rss {used}\n",
        "memory/memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n",
        "memory/memory.failcnt": f"{met}\n",
        "cpuacct/cpuacct.usage": "2500000000\n",
    },
    "2": lambda used, met, kills: {
        "memory.stat": f"anon {used}\nfile 9\n",
        "memory.events": f"low 0\nhigh 0\nmax 3\noom {met}\noom_kill {kills}\noom_group_kill 0\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    },
}


@pytest.mark.parametrize("version", VERSIONS)
def test_only_what_was_killed_at_its_own_limit_counts(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = VERSIONS[version]
    files = made(1000, 2, 1)
    names = list(files)

    def opened(path: str, flags: int) -> int:
        name = path.removeprefix("/sys/fs/cgroup/")
        if name not in files:
            raise FileNotFoundError(path)
        return names.index(name)

    monkeypatch.setattr(kernel_kills.os, "open", opened)
    monkeypatch.setattr(kernel_kills.os, "pread", lambda file, size, at: files[names[file]].encode())
    group = OwnGroup()
    assert (group.known, group.anonymous(), group.killed()) == (True, 1000, False)
    files.update(made(2000, 9, 1))  # the limit was met, and files in memory made room
    assert (group.anonymous(), group.killed()) == (2000, False)
    files.update(made(2000, 9, 2))
    assert (group.killed(), group.killed()) == (True, False)
    files.update(made(2000, 9, 3))  # the whole machine had no memory
    assert group.killed() is False
    assert group.processor_seconds() == 2.5


def test_without_a_cgroup_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: str, flags: int) -> int:
        if path.endswith("/cpu.stat"):
            return 3  # there is one for the whole machine
        raise FileNotFoundError(path)

    monkeypatch.setattr(kernel_kills.os, "open", opened)
    group = OwnGroup()
    assert (group.known, group.anonymous(), group.killed()) == (False, 0, False)
    assert group.processor_seconds() is None
