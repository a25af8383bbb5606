"""`BareRunProgram`: `inside/bare_run.py` as a separate process, compiled once for the interpreter that runs it."""

from __future__ import annotations

import inspect
import json
import struct
from types import ModuleType
from typing import Literal

from agent_rl.errors import SandboxError
from agent_rl.judging import replay
from agent_rl.vocabulary import canonical, held_values, stand_ins
from agent_rl_sandboxes.inside import bare_run, namespaces, preloading, program_calls, program_files, source_modules
from agent_rl_sandboxes.worker_program import python_command

LENGTH = struct.Struct(">I")
"""The length before each message, in both directions."""

# Both programs read messages, each after its length. The first runs once for each interpreter: it compiles the modules
# and returns their code, so that no other process has to compile them.
COMPILE = """
import json, marshal, os, struct, sys
def read(size):
    parts = []
    while size:
        parts.append(os.read(0, size))
        size -= len(parts[-1])
    return b"".join(parts)
sources = json.loads(read(*struct.unpack(">I", read(4))))
code = marshal.dumps([(name, compile(source, "<" + name + ">", "exec")) for name, source in sources])
answer = sys.version.split()[0].encode() + b"\\n" + code
answer = struct.pack(">I", len(answer)) + answer
while answer:
    answer = answer[os.write(1, answer):]
"""
_START = """
import marshal, os, struct, sys, types
def read(size):
    parts = []
    while size:
        part = os.read(0, size)
        if not part:
            sys.exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
sys.path[:] = [path for path in sys.path if path]
for name, code in marshal.loads(read(*struct.unpack(">I", read(4)))):
    parts = name.split(".")
    for index in range(1, len(parts) + 1):
        part = ".".join(parts[:index])
        if part not in sys.modules:
            module = sys.modules[part] = types.ModuleType(part)
            module.__path__ = []
            if index > 1:
                setattr(sys.modules[".".join(parts[:index - 1])], parts[index - 1], module)
    exec(code, sys.modules[name].__dict__)
sys.modules["agent_rl_sandboxes.inside.bare_run"].MAIN()
"""

Main = Literal["run_once", "serve_forks"]


def _sources(main: Main) -> list[tuple[str, str]]:
    """Name and source of the modules that a process needs for `main`, in an order in which they can be imported."""
    values = [stand_ins, canonical, held_values, replay, program_files]
    modules: list[ModuleType] = [*values, namespaces, program_calls, source_modules, preloading, bare_run]
    if main == "run_once":
        modules = [*values, program_calls, bare_run]
    sources = [(module.__name__, inspect.getsource(module)) for module in modules]
    if main == "run_once":
        # `program_calls` uses `namespaces` only for limits, which are not set here: an empty module is enough.
        sources.insert(len(values), (namespaces.__name__, ""))
    return sources


class BareRunProgram:
    """A command line, and the bytes to write to it before the request."""

    def __init__(self, main: Main, python: str, version: str, code: bytes) -> None:
        self.command = python_command(_START.replace("MAIN", main), python)
        self.version = version
        self.preamble = LENGTH.pack(len(code)) + code

    @staticmethod
    def question(main: Main) -> bytes:
        """The message to the compiling process."""
        return message(json.dumps(_sources(main)).encode())

    @staticmethod
    def from_answer(main: Main, python: str, answer: bytes) -> BareRunProgram:
        """The program that the compiling process answered with. Raises SandboxError."""
        version, separator, code = answer[LENGTH.size :].partition(b"\n")
        if len(answer) < LENGTH.size or LENGTH.unpack_from(answer)[0] != len(answer) - LENGTH.size or not separator:
            raise SandboxError(f"the program of a run could not be compiled with {python}")
        return BareRunProgram(main, python, version.decode(), code)


def message(content: bytes) -> bytes:
    """`content` after its length."""
    return LENGTH.pack(len(content)) + content
