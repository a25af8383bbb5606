"""How a slot server comes to run somewhere: its command line, and the first frame, which carries its sources."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from agent_rl import canonical
from agent_rl.verify.proxied import candidate, client, handed, handles, items, pytest_part, runner, wire
from agent_rl_sandboxes import seccomp
from agent_rl_sandboxes.inside import (
    buffers,
    files,
    harness,
    leftovers,
    levels,
    loading,
    namespaces,
    preloading,
    programs,
    roles,
    runs,
    seccomp_filter,
    slot_server,
    stream,
    talks,
    traffic,
    view,
    wakeups,
)

PROTOCOL = slot_server.PROTOCOL
LENGTHS = stream.LENGTHS
"""Before each frame: the lengths of its header and its body."""

# Reads the first frame (see slot_server) and becomes the program in it. Nothing needs to be installed inside.
_BOOTSTRAP = """
import json, os, struct, sys
def read(size):
    parts = []
    while size:
        part = os.read(0, size)
        if not part:
            sys.exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
def say(header):
    text = json.dumps(header).encode()
    os.write(1, struct.pack(">II", len(text), 0) + text)
header, body = struct.unpack(">II", read(8))
order = json.loads(read(header + body))
sys.path[:] = [path for path in sys.path if path]
if sys.version_info < (3, 9):
    say({"op": "fatal", "error": "Python 3.9 or later is needed inside, not " + sys.version.split()[0]})
    sys.exit(1)
(name, source), *modules = order["modules"]
own = {}
exec(source, own)
own["load"]([(name, source)])
sys.modules[name].load(modules)
sys.modules[order["main"]].main(order["setup"])
"""


@dataclass(frozen=True, slots=True)
class SlotSetup:
    """What a slot server is told at its start.

    workdir: where runs start. expose: folders beside the system's own that runs may read.
    fall_back: whether weaker levels than `namespaces` may be used without namespaces of the slot's own; only where the
        slot has a container to itself.
    preload: modules imported ahead of every run. episode: (bytes, inodes) of the tmpfs where the slot serves one
        episode (`exec`, `write`, `read`) and no runs.
    """

    workdir: str = "/work"
    expose: tuple[str, ...] = ()
    fall_back: bool = True
    preload: tuple[str, ...] = ()
    episode: tuple[int, int] | None = None


def slot_command(python: str = "python3") -> list[str]:
    """The command line of a slot server. Its environment is its own; it reads everything else from stdin."""
    return python_command(_BOOTSTRAP, python)


def python_command(program: str, python: str = "python3") -> list[str]:
    """The command line of a Python program, with the environment and the flags that slot servers have."""
    # A fixed hash seed: the order of a set of strings is the same in every slot.
    environment = ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONHASHSEED=0", "LANG=C.UTF-8", "PYTHONUTF8=1"]
    return ["/usr/bin/env", "-i", *environment, python, "-s", "-B", "-c", program]


@cache
def _sources() -> list[tuple[str, str]]:
    """Name and source of what every slot server runs, in an order in which it can be imported; the loader first."""
    modules: list[ModuleType] = [loading, canonical, seccomp_filter, namespaces, view, harness, programs, leftovers]
    modules += [preloading, buffers, runs, talks, levels, wakeups, files, stream, traffic, slot_server]
    return [(module.__name__, inspect.getsource(module)) for module in modules]


@cache
def role_sources() -> bytes:
    """The body of "load" by which a slot server can have a proxied judging's parts played."""
    modules: list[ModuleType] = [wire, candidate, handles, handed, client]
    modules += [pytest_part, items, runner, roles]
    return json.dumps([(module.__name__, inspect.getsource(module)) for module in modules]).encode()


def setup_frame(setup: SlotSetup) -> bytes:
    """The first frame to a slot server: its own sources, and its setup."""
    episode = None if setup.episode is None else "size={},nr_inodes={},mode=1777".format(*setup.episode)
    order = {
        "op": "setup",
        "modules": _sources(),
        "main": slot_server.__name__,
        "setup": {
            "workdir": setup.workdir,
            "expose": setup.expose,
            "fall_back": setup.fall_back,
            "preload": setup.preload,
            "episode": episode,
            "seccomp": {machine: seccomp.run_filter(machine).hex() for machine in seccomp.MACHINES},
        },
    }
    return pack(order)


def pack(header: dict[str, Any], body: bytes = b"") -> bytes:
    """A frame of the protocol that `slot_server` describes."""
    text = json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(body)) + text + body
