"""How a worker server is started: its command line, and the first frame, which carries its sources."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from agent_rl.judging import replay
from agent_rl.judging.proxied import (
    candidate_callbacks,
    candidate_operations,
    candidate_side,
    fixtures,
    hidden_tests,
    lanes,
    one_test,
    outgoing_values,
    process_effects,
    proxies,
    proxy_exceptions,
    proxy_messages,
    pytest_fixtures,
    pytest_subset,
    remote_objects,
    shared_containers,
    tests_runner,
    tests_side,
    unexpected_objects,
)
from agent_rl.vocabulary import SandboxSpec, canonical, held_values, stand_ins
from agent_rl_sandboxes import seccomp
from agent_rl_sandboxes.inside import (
    case_processes,
    case_traces,
    case_watch,
    episode_command,
    episode_place,
    episode_server,
    frame_stream,
    isolation_levels,
    kernel_kills,
    lasting_state,
    leftovers,
    namespaces,
    network_traffic,
    preloading,
    private_buffers,
    program_calls,
    program_files,
    proxied_roles,
    root_view,
    run_processes,
    run_program,
    run_relay,
    run_usage,
    seccomp_filter,
    server_timer,
    source_modules,
    stdio_programs,
    worker_server,
)

PROTOCOL = worker_server.PROTOCOL
LENGTHS = frame_stream.LENGTHS
"""Before each frame: the lengths of its header and its body."""

# Reads the first frame (see worker_server) and becomes the program in it. Nothing needs to be installed inside.
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
class WorkerSetup:
    """What a worker server is told at its start.

    workdir: where runs start. expose: folders that runs may read, beside the system's own.
    fall_back: whether levels weaker than `namespaces`, without namespaces of the worker's own, may be used; only if
        the worker has a container to itself.
    preload: modules imported ahead of every run. episode: the spec, where this is the place of an episode and no worker
        (see `episode_place`).
    """

    workdir: str = "/work"
    expose: tuple[str, ...] = ()
    fall_back: bool = True
    preload: tuple[str, ...] = ()
    episode: SandboxSpec | None = None


def worker_command(python: str = "python3") -> list[str]:
    """The command line of a worker server. Its environment is its own; it reads everything else from stdin."""
    return python_command(_BOOTSTRAP, python)


def python_command(program: str, python: str = "python3") -> list[str]:
    """The command line of a Python program, with the environment and the flags that worker servers have."""
    # A fixed hash seed: the order of a set of strings is the same in every worker.
    environment = ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONHASHSEED=0", "LANG=C.UTF-8", "PYTHONUTF8=1"]
    return ["/usr/bin/env", "-i", *environment, python, "-s", "-B", "-c", program]


@cache
def _sources() -> list[tuple[str, str]]:
    """Name and source of every module of a worker server, in import order; the loader first."""
    modules: list[ModuleType] = [
        source_modules,
        stand_ins,
        canonical,
        held_values,
        replay,
        seccomp_filter,
        namespaces,
        root_view,
    ]
    modules += [program_files, program_calls, stdio_programs, leftovers, network_traffic, lasting_state]
    modules += [
        preloading,
        case_traces,
        case_processes,
        run_program,
        private_buffers,
        kernel_kills,
        run_usage,
        run_processes,
    ]
    modules += [case_watch, run_relay, isolation_levels, server_timer, frame_stream, worker_server]
    return [(module.__name__, inspect.getsource(module)) for module in modules]


@cache
def _episode_sources() -> list[tuple[str, str]]:
    """Name and source of the modules that the place of an episode has in addition."""
    return [(module.__name__, inspect.getsource(module)) for module in (episode_command, episode_server, episode_place)]


def _episode(spec: SandboxSpec) -> dict[str, Any]:
    """What `episode_place` is told of the episode."""
    return {
        "scratch": f"size={spec.disk_bytes},nr_inodes={spec.inodes},mode=1777",
        "output_bytes": spec.output_bytes,
        "limits": {"memory": spec.memory_bytes, "processes": spec.processes, "disk": spec.disk_bytes},
        "environment": {
            "PATH": namespaces.PATH,
            "HOME": spec.workdir,
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    }


@cache
def role_sources() -> bytes:
    """The body of a "load" request: the sources of the roles of proxied judging."""
    modules: list[ModuleType] = [proxy_messages, proxy_exceptions, shared_containers, lanes]
    modules += [process_effects, candidate_callbacks, candidate_operations, candidate_side]
    modules += [proxies, unexpected_objects, remote_objects, outgoing_values, tests_side]
    modules += [pytest_fixtures, pytest_subset, fixtures, hidden_tests, one_test, tests_runner, proxied_roles]
    return json.dumps([(module.__name__, inspect.getsource(module)) for module in modules]).encode()


def setup_frame(setup: WorkerSetup) -> bytes:
    """The first frame to a worker server, or to the place of an episode: its own sources, and its setup."""
    main = worker_server if setup.episode is None else episode_place
    order = {
        "op": "setup",
        "modules": _sources() if setup.episode is None else [*_sources(), *_episode_sources()],
        "main": main.__name__,
        "setup": {
            "workdir": setup.workdir,
            "expose": setup.expose,
            "fall_back": setup.fall_back,
            "preload": setup.preload,
            "episode": None if setup.episode is None else _episode(setup.episode),
            "seccomp": {machine: seccomp.run_filter(machine).hex() for machine in seccomp.MACHINES},
        },
    }
    return pack(order)


def pack(header: dict[str, Any], body: bytes = b"") -> bytes:
    """A frame of the protocol that `worker_server` describes."""
    text = json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(body)) + text + body
