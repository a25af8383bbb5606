"""The two parts of a proxied judging, each in a run's own process: the candidate's module, and the hidden tests.

Frames on both channels are length-prefixed (32 bits, big-endian) UTF-8 texts. Frames of the tests that begin with "{"
go to the judge. All other frames go from one process to the other.

A request is a JSON object {"role", "module", "seed", "limits"} and, for role "candidate", {"program", "file"}; for role
"tests", {"files": {path: base64}, "tests": [node id...], "objects": [access path...] or null}.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import base64
import gc
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from agent_rl.judging.proxied.candidate_side import CandidateServer
from agent_rl.judging.proxied.proxy_messages import MAX_FRAME_BYTES
from agent_rl.judging.proxied.tests_runner import HiddenTestsRunner, write_files
from agent_rl.judging.proxied.tests_side import HiddenTestsSession
from agent_rl_sandboxes.inside import program_files

_LENGTH = struct.Struct(">I")


def take_part(request: dict[str, Any], source: int, target: int, memory_exit: int) -> NoReturn:
    """In a run's process: plays the role that `request` names until it ends. MemoryError ends with `memory_exit`."""
    # Not at the top: the server imports it before all runs.
    import random

    random.seed(request["seed"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    play = _candidate if request["role"] == "candidate" else _tests
    code = 1
    try:
        play(request, _sender(target), _receiver(source))
        code = 0
    except SystemExit:
        # Threads or a callback raised it; its exit code does not matter.
        code = 0
    except MemoryError:
        code = memory_exit
    finally:
        os._exit(code)


def _candidate(request: dict[str, Any], send: Callable[[str], None], receive: Callable[[], str | None]) -> None:
    program = request["program"]
    module = program_files.empty_module(request["module"], request["file"])
    server = CandidateServer(program, module, send, receive, alone=True)
    sys.modules[request["module"]] = sys.modules["__main__"] = module
    sys.argv = [request["file"]]
    server.serve()


def _tests(request: dict[str, Any], send: Callable[[str], None], receive: Callable[[], str | None]) -> None:
    files = {path: base64.b64decode(content) for path, content in request["files"].items()}
    write_files(files)
    admitted = None if request["objects"] is None else frozenset(request["objects"])
    session = HiddenTestsSession(send, receive, admitted)
    HiddenTestsRunner(files, frozenset(request["tests"]), session, send).run(request["module"])


def _sender(target: int) -> Callable[[str], None]:
    owner, write, leave, process = os.getpid(), os.write, os._exit, os.getpid

    def send(text: str) -> None:
        if process() != owner:
            # This is a child that the program forked and did not end.
            leave(0)
        data = text.encode("utf-8", "surrogatepass")
        data = _LENGTH.pack(len(data)) + data
        while data:
            data = data[write(target, data) :]

    return send


def _receiver(source: int) -> Callable[[], str | None]:
    def receive() -> str | None:
        length = _exactly(source, _LENGTH.size)
        if length is None:
            return None
        size: int = _LENGTH.unpack(length)[0]
        data = _exactly(source, size) if size <= MAX_FRAME_BYTES else None
        return None if data is None else data.decode()

    return receive


def _exactly(source: int, size: int) -> bytes | None:
    parts: list[bytes] = []
    while size:
        part = os.read(source, size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
