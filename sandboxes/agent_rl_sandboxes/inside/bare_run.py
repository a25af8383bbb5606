"""A run's program without a worker server: in its own process, or in a plain fork of a warm process.

`bench verify` compares the workers with this: the same code (`program_calls`) answers the same request, without
isolation. In both directions a message is its length (32 bits, big-endian), then its bytes. Standard library only,
Python 3.9.
"""

from __future__ import annotations

import json
import os
import struct
from typing import NoReturn

from agent_rl_sandboxes.inside import program_calls

_LENGTH = struct.Struct(">I")


def run_once() -> NoReturn:
    """Reads one request, runs it, and ends; the output is the frames of `program_calls`, unchanged."""
    request = {"file": "solution.py", **json.loads(_receive(0))}
    channel = _leave_stdio()[1]
    program_calls.execute(request, channel)


def serve_forks() -> NoReturn:
    """Sends one byte when it is ready, then answers each request with all frames of a fork, until the end of input."""
    from agent_rl_sandboxes.inside import namespaces, preloading  # not at the top: `run_once` does not need them

    source, target = _leave_stdio()
    preloading.preload(preloading.ALWAYS)
    os.write(target, b"R")
    while True:
        request = _receive(source)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            # A program that does not end dies with this process.
            namespaces.die_with_parent()
            for descriptor in (reader, source, target):
                os.close(descriptor)
            program_calls.execute({"file": "solution.py", **json.loads(request)}, writer)
        os.close(writer)
        parts: list[bytes] = []
        while part := os.read(reader, 1 << 16):
            parts.append(part)
        os.close(reader)
        os.waitpid(pid, 0)
        answer = b"".join(parts)
        _send(target, _LENGTH.pack(len(answer)) + answer)


def _leave_stdio() -> tuple[int, int]:
    """New descriptors of standard input and output; /dev/null replaces both, and stderr."""
    moved = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    return moved


def _receive(source: int) -> bytes:
    """The next message. Ends the process at the end of input."""
    (size,) = _LENGTH.unpack(program_calls.read_exactly(source, _LENGTH.size))
    return program_calls.read_exactly(source, size)


def _send(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]
