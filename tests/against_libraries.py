"""What is kept by hand, against the libraries that could do it: the figures in docs/kept-by-hand.md.

python -m tests.against_libraries archives    tarfile, with the same limits around it
python -m tests.against_libraries messages    pydantic, and msgspec where it is installed
python -m tests.against_libraries filters     libseccomp, where it and pyseccomp are installed
"""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import random
import statistics
import struct
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from agent_rl.file_sets import ArchiveLimits, FileSet, InvalidArchive
from agent_rl.judging.archives import unpack
from agent_rl.vocabulary import Limits, RunCall, RunRequest
from agent_rl_sandboxes.inside.seccomp_filter import InstalledFilter
from agent_rl_sandboxes.seccomp import run_filter
from agent_rl_sandboxes.serving.host_json import from_json, to_json
from agent_rl_sandboxes.serving.host_protocol import RunMessage
from tests.component.sandboxes import fuzzing

LIMITS = ArchiveLimits(archive_bytes=1 << 20)
_AS_STRICT_AS_IT_GETS = ConfigDict(
    strict=True, extra="forbid", allow_inf_nan=False, val_json_bytes="base64", ser_json_bytes="base64"
)


def archives() -> None:
    """2,000 archives of the fuzz test by both readers."""
    rng = random.Random(20261122)
    found: Counter[str] = Counter()
    for _ in range(2000):
        data = fuzzing.archive(rng)
        found[f"by hand {_outcome(unpack, data)}, tarfile {_outcome(_with_tarfile, data)}"] += 1
    print(f"Python {sys.version.split()[0]}: 2000 archives")
    for outcome, count in sorted(found.items()):
        print(f"{count:6} {outcome}")


def _with_tarfile(data: bytes, limits: ArchiveLimits) -> dict[str, bytes]:
    """As `unpack`, with tarfile for a reader."""
    if len(data) > limits.archive_bytes:
        raise InvalidArchive("too large")
    files = FileSet(limits, "any")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errorlevel=2) as archive:
        for member in archive:
            if member.isdir():
                files.add_folder(member.name)
            elif member.isreg() and not member.issparse():
                files.reserve(member.size)
                content = archive.extractfile(member)
                assert content is not None
                files.add(member.name, content.read())
            else:
                raise InvalidArchive("a link or device")
    return files.files


def _outcome(read: Callable[[bytes, ArchiveLimits], object], data: bytes) -> str:
    try:
        read(data, LIMITS)
    except (InvalidArchive, tarfile.TarError):
        return "refuses"
    except Exception as error:
        return f"fails ({type(error).__name__})"
    return "takes"


def messages() -> None:
    """A run's request of 20 calls, read and written by each; what should be refused, and is not; what should cross."""
    calls = tuple(RunCall(f"{n:016x}", '[{"t":[1,2,3]},{}]') for n in range(20))
    message = RunMessage(RunRequest("def f(a):\n    return a\n" * 40, "f", calls, b"x" * 100, Limits(), 7))
    data = to_json(message)
    for kind in (RunMessage, RunRequest, RunCall, Limits):
        configured: Any = kind
        configured.__pydantic_config__ = _AS_STRICT_AS_IT_GETS
    adapter = TypeAdapter(RunMessage)
    readers: dict[str, Callable[[bytes], Any]] = {
        "by hand": lambda data: from_json(RunMessage, data),
        "pydantic": adapter.validate_json,
    }
    writers: dict[str, Callable[[Any], bytes]] = {"by hand": to_json, "pydantic": adapter.dump_json}
    try:
        msgspec: Any = importlib.import_module("msgspec")
        readers["msgspec"] = lambda data: msgspec.json.decode(data, type=RunMessage)
        writers["msgspec"] = msgspec.json.encode
    except ImportError:
        print("msgspec is not installed")
    for name, read in readers.items():
        reading = min(_seconds(read, data) for _ in range(500))
        writing = min(_seconds(writers[name], message) for _ in range(500))
        taken = [what for what, wrong in _wrong(json.loads(data)).items() if _takes(read, wrong)]
        odd = _takes(read, to_json(RunMessage(RunRequest("\ud800"))))
        print(f"{name}: reads in {1e6 * reading:.0f} us, writes in {1e6 * writing:.0f} us; takes {taken or 'nothing'}")
        print(f"    of what should be refused; a lone surrogate {'crosses' if odd else 'does not cross'}")


def _wrong(good: dict[str, Any]) -> dict[str, bytes]:
    """Messages that are to be refused, by what is wrong with them."""
    request = good["request"]
    changes: dict[str, dict[str, Any]] = {
        "an unknown key": {"more": 1},
        "an integer of 65 bits": {"seed": 1 << 64},
        "true for an integer": {"seed": True},
        "an integer for text": {"program": 1},
        "text for a number": {"limits": {"wall_seconds": "1"}},
        "NaN": {"limits": {"wall_seconds": float("nan")}},
        "text that is no base64": {"stdin": "a"},
        "base64 with a line break": {"stdin": "eA=\n="},
    }
    wrong = {what: json.dumps({"request": {**request, **change}}).encode() for what, change in changes.items()}
    wrong["an infinite number"] = b'{"request":{"program":"","limits":{"wall_seconds":1e999}}}'
    return {**wrong, "a key twice": b'{"request":{"program":"a","program":"b"}}'}


def _takes(read: Callable[[bytes], Any], data: bytes) -> bool:
    try:
        read(data)
    except ValueError:
        return False
    return True


def filters() -> None:
    """The filter of a run on x86_64 by hand, and most of it by libseccomp: its length, and the time to install it."""
    seccomp: Any = importlib.import_module("pyseccomp")
    programs = {"by hand": run_filter("x86_64")}
    for name, optimize in (("libseccomp", 1), ("libseccomp as a tree", 2)):
        programs[name] = _by_libseccomp(seccomp, optimize)
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(300):
        for name, program in programs.items():
            times[name].append(_time_to_install(program))
    for name, program in programs.items():
        print(f"{name}: {len(program) // 8} steps, installed in {1e6 * statistics.median(times[name]):.0f} us")
    rest = seccomp.SyscallFilter(seccomp.ALLOW)
    families = [seccomp.Arg(0, seccomp.NE, family) for family in (1, 2)]
    try:
        rest.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", *families)
        print("libseccomp says what holds for all other values of an argument")
    except OSError as error:
        print(f"libseccomp cannot say what holds for all other values of an argument: {os.strerror(error.errno or 0)}")


def _by_libseccomp(seccomp: Any, optimize: int) -> bytes:
    """The same calls allowed and denied by number; without what looks at arguments."""
    made = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))
    made.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.ERRNO(errno.ENOSYS))
    made.set_attr(seccomp.Attr.CTL_OPTIMIZE, optimize)
    seccomp_data = importlib.import_module("agent_rl_sandboxes.seccomp")
    allowed = seccomp_data.default_calls("x86_64") - seccomp_data.run_denied_calls()
    for name, number in seccomp_data.syscall_numbers("x86_64").items():
        made.add_rule(seccomp.ALLOW if name in allowed else seccomp.ERRNO(errno.EPERM), number)
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _time_to_install(program: bytes) -> float:
    """Seconds, in a child of its own."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        installed = InstalledFilter(program)
        os.write(writer, struct.pack("d", _seconds(installed.install)))
        os._exit(0)
    os.waitpid(pid, 0)
    (seconds,) = struct.unpack("d", os.read(reader, 8))
    os.close(reader)
    os.close(writer)
    return seconds


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


if __name__ == "__main__":
    {"archives": archives, "messages": messages, "filters": filters}[sys.argv[1]]()
