"""What this process and the Docker daemon hold at one moment, so that two moments can be compared."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from docker.errors import NotFound

from agent_rl_sandboxes.docker_engine import Endpoint, client
from agent_rl_sandboxes.resource_owner import LABEL, Owner

_PR_SET_CHILD_SUBREAPER = 36
_SETTLE_SECONDS = 20.0
_OF_CONTAINERS = ("/overlay2/", "/containers/", "/netns/")
"""Parts of mount points that are a daemon's: where it is not asked, they are somebody else's."""
Things = Counter[str]


@dataclass(frozen=True)
class Inventory:
    """Each thing by what it is, with how many there are of it.

    containers: of this process. mounts: of no container that exists. shims: the processes that hold a container, of
    no container that exists. processes: below this one, also those that left their parent, zombies too.
    """

    containers: Things
    volumes: Things
    networks: Things
    mounts: Things
    shims: Things
    processes: Things
    descriptors: Things
    threads: Things

    @staticmethod
    def take(*, docker: bool) -> Inventory:
        """What there is now."""
        gc.collect()
        containers, volumes, networks, known = _of_docker() if docker else (Counter(), Counter(), Counter(), set())
        return Inventory(
            containers=containers,
            volumes=volumes,
            networks=networks,
            mounts=Counter(m for m in _mounts() if not any(part in m for part in known or _OF_CONTAINERS)),
            shims=Counter(s for s in _shims() if s not in known) if docker else Counter(),
            processes=Counter(f"{pid} {name}" for pid, name in descendants(os.getpid())),
            descriptors=Counter(_descriptors()),
            threads=Counter(_threads()),
        )

    def added_since(self, before: Inventory) -> dict[str, list[str]]:
        """What is here and was not before, by kind; empty where there is nothing."""
        added = {f.name: sorted((getattr(self, f.name) - getattr(before, f.name)).elements()) for f in fields(self)}
        return {kind: things for kind, things in added.items() if things}


def settled(before: Inventory, *, docker: bool) -> dict[str, list[str]]:
    """What is still more than `before` after the daemon has had time to finish what it was told."""
    until = time.monotonic() + _SETTLE_SECONDS
    while (added := Inventory.take(docker=docker).added_since(before)) and time.monotonic() < until:
        time.sleep(0.2)
    return added


def adopt_orphans() -> None:
    """From now on a process that leaves its parent, below this one, becomes this one's child: so it is found."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def resident_bytes() -> int:
    """The resident memory of this process, after a collection of what nobody refers to."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _of_docker() -> tuple[Things, Things, Things, set[str]]:
    """This process's containers, all volumes, all networks, and what names any container that exists."""
    api = client(Endpoint.find())
    try:
        known: set[str] = set()
        mine: list[str] = []
        for container in api.containers(all=True):
            owner = Owner.parse(container["Labels"].get(LABEL, ""))
            if owner is not None and owner.pid == os.getpid() and owner.namespace == os.readlink("/proc/self/ns/pid"):
                mine.append(container["Id"])
            try:
                found = api.inspect_container(container["Id"])
            except NotFound:
                continue
            # Mounts name the container, or the folder of its layers.
            known.add(container["Id"])
            if layers := (found["GraphDriver"]["Data"] or {}).get("MergedDir"):
                known.add(Path(layers).parent.name)
            known.add(found["NetworkSettings"]["SandboxKey"].rpartition("/")[2] or container["Id"])
        volumes = Counter(v["Name"] for v in api.volumes()["Volumes"] or ())
        return Counter(mine), volumes, Counter(n["Name"] for n in api.networks()), known
    finally:
        api.close()


def _mounts() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _shims() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].rpartition("/")[2].startswith("containerd-shim") and "-id" in words:
            yield words[words.index("-id") + 1]


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Number and name of every process below `pid`, zombies too."""
    for folder in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in folder.read_text().split()]
        except OSError:
            continue
        for child in children:
            try:
                yield child, Path(f"/proc/{child}/comm").read_text().strip()
            except OSError:
                continue
            yield from descendants(child)


def _descriptors() -> Iterator[str]:
    """What each open descriptor is, without the number that makes it this one (the kind of socket, of pipe)."""
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{name}").partition(":[")[0]
        except OSError:
            continue


def _threads() -> list[str]:
    """The threads of this process, by name; the kernel's word, so that of libraries too."""
    return [Path(path, "comm").read_text().strip() for path in Path("/proc/self/task").iterdir()]
