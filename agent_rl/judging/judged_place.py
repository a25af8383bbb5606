"""What the judge does in a sandbox around the tests: looks at it before, prepares it, and ends what is left after.

All of this runs before the submission's first file is there, or once the tests have ended.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from agent_rl.contracts.sandbox import Sandbox
from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.vocabulary import ExecResult

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""No folder of it lies in a working directory, so that no submission can shadow a program of the system."""
ENVIRONMENT = {"PATH": PATH, "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_SECONDS = 60.0
_LOOK = """
import hashlib, json, os, pkgutil, sys
asked = json.load(sys.stdin)
def same(path, digest):
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(), digest_size=16).hexdigest() == digest
    except OSError:
        return False
def names(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
installed = {m.name for m in pkgutil.iter_modules([p for p in sys.path if p])} | set(sys.builtin_module_names)
print(json.dumps({
    "root": os.getcwd(),
    "writable": os.access(".", os.W_OK | os.X_OK),
    "path": os.environ.get("PATH", ""),
    "python_path": os.environ.get("PYTHONPATH", ""),
    "installed": sorted(installed),
    "top": {folder: names(folder) for folder in asked["folders"]},
    "same": [path for path, digest in asked["digests"].items() if same(path, digest)],
}))
"""
_CONFTESTS = """
import json, os
found = [os.path.join(at, "conftest.py") for at, _, names in os.walk(".") if "conftest.py" in names]
print(json.dumps([os.path.relpath(path) for path in found]))
"""
_GUARD = """
import json, marshal, os, sys
order = json.load(sys.stdin)
place = order["place"]
os.makedirs(place)
for name, text in order["files"].items():
    with open(os.path.join(place, name), "w") as file:
        file.write(text)
with open(os.path.join(place, "guard.settings"), "wb") as file:
    marshal.dump(order["settings"], file, 2)
with open(os.path.join(place, "child.py"), "w") as file:
    # The functions of the module that `site` imported: the names of the main module make room for the tests' program.
    file.write("import sys\\nsys.agent_rl_guard.child_main()\\n")
main = os.path.join(place, "sitecustomize.py")
for minor in range(8, 25):
    packages = os.path.join(place, "lib", "python3.%d" % minor, "site-packages")
    os.makedirs(packages)
    with open(os.path.join(packages, "usercustomize.py"), "w") as file:
        file.write("import sys\\nif not hasattr(sys, 'agent_rl_guard'):\\n    __file__ = %r\\n" % main)
        file.write("    with open(__file__) as file:\\n        exec(compile(file.read(), __file__, 'exec'))\\n")
"""
_LACKING = """
import json, shutil, sys
print(json.dumps([name for name in sys.argv[1:] if shutil.which(name) is None]))
"""
END_OTHERS = """
import os, signal, time
table = {}
def look():
    table.clear()
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % int(name), "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            with open("/proc/%s/status" % name, "rb") as file:  # who owns its folder there, a process can change
                user = int(file.read().partition(b"Uid:")[2].split()[0])
            if fields[0] not in (b"Z", b"X") or int(fields[17]) > 1:
                table[int(name)] = int(fields[1]), user
        except (ValueError, OSError, IndexError):
            pass
look()
spared, at = {0, 1}, os.getpid()
while at not in spared:
    spared.add(at)
    at = table.get(at, (0, 0))[0]
alive = sorted(set(table) - spared)
until = time.monotonic() + 10
others = []
while time.monotonic() < until:
    look()
    others = [pid for pid, (_, uid) in table.items() if pid not in spared and uid == os.getuid()]
    if not others:
        break
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in others:
            try:
                os.kill(pid, number)
            except OSError:
                pass
    time.sleep(0.01)
"""
"""Ends every process of this user but the one that runs it, and those that started that one."""
_AFTER = (
    END_OTHERS
    + """
import json, sys
asked = json.load(sys.stdin)
def text(path):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            return file.read(asked["most"]).decode("latin-1") if os.path.isfile(path) else None
    except OSError:
        return None
print(json.dumps({"alive": alive, "left": len(others), "texts": [text(path) for path in asked["paths"]]}))
"""
)


@dataclass(frozen=True, slots=True)
class PlaceFacts:
    """What a sandbox was like before the submission came."""

    root: str = "/work"
    path: str = PATH
    """PATH for the tests: the image's own. Its folders in the working directory are in `tools`."""
    tools: tuple[str, ...] = ()
    """Folders of PATH in the working directory: nothing of a submission goes there."""
    python_path: str = ""
    installed: frozenset[str] = frozenset()
    """The modules and packages that can be imported there without the working directory."""
    top: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    """What the image has in each folder that imports may start from."""
    same: frozenset[str] = frozenset()
    """The submitted files that the image has with the same content."""
    own_image: bool = False
    writable: bool = True
    """Whether the user of its programs can write into the working directory."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the tests. What an image of the task sets (ENV) stays as it is."""
        environment = {**ENVIRONMENT, "PATH": self.path}
        if self.own_image:
            del environment["LANG"]
        return environment


async def look(
    sandbox: Sandbox, folders: Collection[str], submitted: Mapping[str, bytes | None], *, own_image: bool
) -> PlaceFacts:
    """What the sandbox is like, which no submission has touched. Raises SandboxError.

    Only an image of the task itself (`own_image`) says where the tests' programs are found.
    """
    digests = {p: hashlib.blake2b(c, digest_size=16).hexdigest() for p, c in submitted.items() if c is not None}
    order = {"folders": sorted(folders), "digests": digests}
    environment = {} if own_image else ENVIRONMENT
    command = ["python3", "-I", "-c", _LOOK]
    stdin = json.dumps(order).encode()
    result = await sandbox.exec(command, stdin=stdin, timeout=_SECONDS, environment=environment)
    found = _answer(result, "looked at")
    root: str = found["root"]
    folders_of_path = [p for p in found["path"].split(":") if p.startswith("/")]
    tools = [p[len(root) :].strip("/") for p in folders_of_path if p == root or p.startswith(root.rstrip("/") + "/")]
    return PlaceFacts(
        root,
        ":".join(p for p in folders_of_path if p != root) or PATH,
        tuple(tool for tool in tools if tool),
        found["python_path"] if own_image else "",
        frozenset(found["installed"]),
        found["top"],
        frozenset(found["same"]),
        own_image,
        found["writable"],
    )


async def conftests(sandbox: Sandbox, facts: PlaceFacts) -> set[str]:
    """The paths of all files named conftest.py in the working directory. Raises SandboxError."""
    command = ["python3", "-I", "-c", _CONFTESTS]
    result = await sandbox.exec(command, timeout=_SECONDS, environment=facts.environment)
    return set(_answer(result, "searched"))


def started_by(command: Sequence[str], root: str) -> list[str]:
    """The programs outside of `root` that a command needs to start: `/usr/bin/env bash x` needs both env and bash."""
    names = [command[0]]
    if PurePosixPath(command[0]).name == "env":
        names += [word for word in command[1:] if not word.startswith("-") and "=" not in word][:1]
    return [name for name in names if not PurePosixPath(root, name).is_relative_to(root) or "/" not in name]


async def lacking(sandbox: Sandbox, programs: Sequence[str], *, own_image: bool) -> list[str]:
    """Those of `programs` that a sandbox, which no submission has touched, does not have. Raises SandboxError."""
    environment = {} if own_image else ENVIRONMENT
    command = ["python3", "-I", "-c", _LACKING, *programs]
    return _answer(await sandbox.exec(command, timeout=_SECONDS, environment=environment), "asked for programs")


@dataclass(frozen=True, slots=True)
class ScriptGuard:
    """Where `script_guard` lies in a sandbox, and the environment in which Python programs use it."""

    place: str
    environment: Mapping[str, str]

    @property
    def log(self) -> str:
        return f"{self.place}/guard.log"


async def guarded(
    sandbox: Sandbox, facts: PlaceFacts, hidden: Collection[str], theirs: Collection[str], reward: str
) -> ScriptGuard:
    """The sandbox's Python programs are watched: see `script_guard`. Raises SandboxStartError."""
    place = f"/tmp/.agent-rl-{secrets.token_hex(8)}"
    known = {"root": facts.root, "hidden": sorted(hidden), "theirs": sorted(theirs), "reward": reward}
    order = {"place": place, "files": _guard_files(), "settings": known}
    command = ["python3", "-I", "-c", _GUARD]
    stdin = json.dumps(order).encode()
    result = await sandbox.exec(command, stdin=stdin, timeout=_SECONDS, environment=facts.environment)
    if result.status != "completed" or result.exit_code != 0:
        raise SandboxStartError(f"a sandbox could not be prepared for tests: {_how(result)}")
    more = [facts.python_path] if facts.python_path else []
    variables = {"PYTHONPATH": ":".join([place, *more]), "PYTHONUSERBASE": place}
    return ScriptGuard(place, {**facts.environment, **variables})


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What was found once the tests had ended and all other processes with them. `alive`: which ran until then."""

    alive: frozenset[int]
    left: int
    texts: tuple[bytes | None, ...]


async def aftermath(sandbox: Sandbox, facts: PlaceFacts, paths: Collection[str], *, most: int) -> Aftermath:
    """Ends every process that the tests left behind, then reads `paths` (None: no file). Raises SandboxError.

    A submission can be to blame for that error: it is tried again in a fresh place, beside an honest program.
    """
    order = json.dumps({"paths": list(paths), "most": most}).encode()
    command = ["python3", "-I", "-c", _AFTER]
    result = await sandbox.exec(command, stdin=order, timeout=_SECONDS, environment=facts.environment)
    found = _answer(result, "read")
    texts = tuple(None if text is None else text.encode("latin-1") for text in found["texts"])
    return Aftermath(frozenset(found["alive"]), found["left"], texts)


def _answer(result: ExecResult, what: str) -> Any:
    if result.status != "completed" or result.exit_code != 0:
        raise SandboxError(f"a sandbox could not be {what}: {_how(result)}")
    try:
        return json.loads(result.stdout)
    except ValueError:
        raise SandboxError(f"a sandbox could not be {what}: its answer is no JSON") from None


def _how(result: ExecResult) -> str:
    how = result.status.replace("_", " ") if result.status != "completed" else f"exit code {result.exit_code}"
    said = result.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"{how} ({said[-1][:200]})" if said else how


@cache
def _guard_files() -> Mapping[str, str]:
    """The programs by their names there: Python itself imports the first."""
    names = {"sitecustomize.py": "script_guard.py", "watched_program.py": "watched_program.py"}
    return {name: files("agent_rl.judging").joinpath(source).read_text() for name, source in names.items()}
