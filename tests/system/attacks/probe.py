"""What a run can see of its place, and what can be seen on the host: both as they were before, whatever ran between."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.result_frames import Returned, read_frames, value_of
from agent_rl.vocabulary import Limits, RunCall, RunRequest
from agent_rl.vocabulary.canonical import encode
from tests.system.attacks.corpus import MARK, PORT, TASK

ROOMY = Limits(wall_seconds=20.0, cpu_seconds=20.0, memory_bytes=TASK.limits.memory_bytes)
"""Of honest runs: so long that a busy machine does not fail them."""
_MEMORY_SLACK_KIB = 8 << 10
_CLOCK_SLACK_SECONDS = 60.0

PROBE = r'''
import fcntl, json, math, os, random, resource, signal, socket, struct, sys, time

def locked(path):
    """Whether a lock on the file stays, or somebody has left a hint with it."""
    with open(path) as file:
        for _ in range(100):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.02)  # the same file in another worker: a run that is under way there, such as a probe
            else:
                return fcntl.fcntl(file, 1035, bytes(8)) != bytes(8)  # F_GET_RW_HINT
        return True

def touched(path):
    """Whether the device was changed after it was made, or put here."""
    return os.stat(path).st_mtime > os.lstat("/dev/stdin").st_mtime + 0.1

def lines(path):
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []

def probe(now):
    """Everything here is the same for every run in a place that no run has changed."""
    own = os.getcwd()
    files = []
    for top in ("/tmp", "/work", "/dev/shm", "/var/tmp", "/run/lock", "/dev/mqueue", os.path.expanduser("~"), own):
        for at, folders, names in os.walk(top) if top != "/" else ():
            files += [os.path.join(at, name) for name in (*folders, *names) if os.path.join(at, name) != own]
    mounts = lines("/proc/self/mountinfo")
    status = dict(line.split(":", 1) for line in lines("/proc/self/status"))
    disk = os.statvfs("/tmp")
    ballast = b"x" * (64 << 20)
    with socket.socket() as server:
        server.bind(("127.0.0.1", PORT))
        server.listen()
    threads_before = len(os.listdir("/proc/self/task"))
    return {
        "files": sorted(set(files)),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "mounts": sorted(" ".join(line.split()[4:6]) + " " + line.split(" - ")[1].split()[0] for line in mounts),
        "disk free": [disk.f_bfree == disk.f_blocks or disk.f_bfree, disk.f_files - disk.f_ffree],
        "memory": int(status["VmSize"].split()[0]),
        "ballast": len(ballast),
        "listeners": [len(lines("/proc/net/" + n)) for n in ("tcp", "tcp6", "udp", "udp6", "raw", "unix", "packet")],
        "packets": [line.split()[:3] for line in lines("/proc/net/dev") if ":" in line],
        "ipc": [len(lines("/proc/sysvipc/" + n)) for n in ("shm", "sem", "msg")],
        "keys": len(lines("/proc/keys")),
        "descriptors": sorted(n for n in os.listdir("/proc/self/fd"))[:5],
        "their flags": [[fcntl.fcntl(fd, get) for get in (fcntl.F_GETFL, fcntl.F_GETOWN, 11)] for fd in range(3)],
        "locks": [path for path in ("/dev/null", "/dev/zero", "/etc/passwd", "/usr/bin/env") if locked(path)],
        "devices": [name for name in ("null", "zero", "full", "random", "urandom") if touched("/dev/" + name)],
        "environment": dict(os.environ),
        "arguments": sys.argv,
        "path": sys.path,
        "umask": os.umask(0o22),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": len(os.sched_getaffinity(0)),
        "signals": [status[name].strip() for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd")],
        "limits": [list(resource.getrlimit(n)) for n in range(16)],
        "threads": threads_before,
        "recursion": sys.getrecursionlimit(),
        "modules": len(sys.modules),
        "builtins": len(dir(__builtins__)),
        "host": os.uname().nodename,
        "clock": abs(time.time() - now),
        "works": [json.loads(json.dumps([1, {"a": None}])), struct.pack(">I", 5), math.sqrt(4), random.random()],
    }
'''.replace("PORT", str(PORT))


async def probe(provider: SandboxProvider) -> dict[str, Any]:
    """What a run finds in the provider's next worker. Raises AssertionError where it could not even look."""
    call = RunCall("ab" * 8, encode([(time.time(),), {}]))
    result = await provider.run(RunRequest(PROBE, "probe", (call,), limits=ROOMY, seed=7))
    assert result.status == "completed" and not result.anomalies, result
    answer = read_frames(result.frames, [call.id]).by_id.get(call.id)
    assert isinstance(answer, Returned), f"{answer}: {result.stderr[-500:]!r}"
    return value_of(answer)


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What the second of two probes found other than the first: name -> (before, after)."""
    found = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    for name in ("mounts", "files", "path"):
        if name in found:
            one, other = map(set, found[name])
            found[name] = one - other, other - one
    if abs(before["memory"] - after["memory"]) <= _MEMORY_SLACK_KIB:
        found.pop("memory", None)
    if after["clock"] <= _CLOCK_SLACK_SECONDS:
        found.pop("clock", None)
    return found


def descendants() -> set[int]:
    """The processes below this one that have not ended."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.parent.name)] = int(parent)
    found: set[int] = set()
    level = {os.getpid()}
    while level:
        level = {child for child, parent in parents.items() if parent in level} - found
        found |= level
    return found


@dataclass
class Host:
    """The host as it was when this object was made, with a process and a file that an attack would love to reach."""

    victim: subprocess.Popen[bytes]
    canary: Path
    processes: set[int]
    descriptors: int
    mounts: Counter[str]
    name: str
    clocks: float

    @staticmethod
    def watch(canary: Path) -> Host:
        """The host from now on. `canary` is a file that is made here, writable for everybody."""
        canary.write_text("untouched")
        canary.chmod(0o666)
        victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        return Host(
            victim,
            canary,
            descendants(),
            len(os.listdir("/proc/self/fd")),
            _mounts(),
            socket.gethostname(),
            time.time() - time.monotonic(),
        )

    def changes(self) -> dict[str, Any]:
        """What is other than it was, by name; empty where all is well."""
        found = {
            "the victim died": self.victim.poll(),
            "the canary was changed": None if self.canary.read_text() == "untouched" else self.canary.read_text(),
            "processes": descendants() - self.processes,
            "descriptors": max(0, len(os.listdir("/proc/self/fd")) - self.descriptors),
            "mounts": dict(_mounts() - self.mounts),
            "name": None if socket.gethostname() == self.name else socket.gethostname(),
            "clock": abs(time.time() - time.monotonic() - self.clocks) > _CLOCK_SLACK_SECONDS,
            "files": _marks(),
            "listeners": _listeners(),
            "ipc": [line for n in ("shm", "sem", "msg") for line in _lines(f"/proc/sysvipc/{n}") if " 4660 " in line],
        }
        return {name: value for name, value in found.items() if value not in (None, 0, False, set(), [], {})}

    def close(self) -> None:
        """The victim has ended."""
        self.victim.kill()
        self.victim.wait()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _folders() -> list[str]:
    """Where attacks try to leave something."""
    folders = ["/", "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run", "/run/lock", "/etc", "/etc/cron.d", "/usr"]
    folders += ["/usr/local/bin", "/home", "/root", "/work", "/dev", "/proc", "/sys"]
    return [*folders, str(Path.home()), str(Path.home() / ".cache"), os.getcwd()]


def _mounts() -> Counter[str]:
    """How often something is mounted on the folders that attacks mount on; others' own are none of ours."""
    points = Counter(line.split()[4] for line in _lines("/proc/self/mountinfo"))
    return Counter({folder: points[folder] for folder in _folders()})


def _marks() -> list[str]:
    """Files that attacks left where this host's programs could find them."""
    names = (MARK, f".{MARK}", f"{MARK}.py", "agent-rl-left")
    found: list[str] = []
    for folder in _folders():
        with contextlib.suppress(OSError):
            found += [f"{folder}/{name}" for name in names if os.path.lexists(f"{folder}/{name}")]
    return found


def _listeners() -> list[int]:
    """Ports of the corpus at which something on this host answers."""
    found: list[int] = []
    for port in range(PORT, PORT + 5):
        with socket.socket() as channel:
            channel.settimeout(0.5)
            if channel.connect_ex(("127.0.0.1", port)) == 0:
                found.append(port)
    return found
