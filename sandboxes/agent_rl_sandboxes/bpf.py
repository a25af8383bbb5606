"""System call filters as programs for the kernel (classic BPF over struct seccomp_data), assembled from parts.

A part is a sequence of instructions that ends in a return. Filters are made outside, as bytes, and installed inside by
`agent_rl_sandboxes.inside.seccomp_filter`.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from itertools import groupby

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_X32_BIT = 0x40000000
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARG0 = 0, 4, 16
_SIZE = 8
_FARTHEST = 255
"""A jump's distance is one byte."""


def _step(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    """One instruction (struct sock_filter)."""
    return struct.pack("HBBI", code, jump_true, jump_false, k)


ALLOW = _step(_RETURN, 0x7FFF0000)


def refuse(error: int) -> bytes:
    """The call fails with the errno `error`."""
    return _step(_RETURN, 0x00050000 | error)


def where_argument(values: Iterable[int], then: bytes, otherwise: bytes, *, index: int = 0) -> bytes:
    """`then` if the lower half of argument `index` is one of `values`; the kernel reads no more of an int."""
    tests = b"".join(_step(_JUMP_EQUAL, value, 0, len(then) // _SIZE) + then for value in values)
    return _step(_LOAD, _OFFSET_ARG0 + 8 * index) + tests + otherwise


def where_any_flag(flags: int, then: bytes, otherwise: bytes) -> bytes:
    """`then` if any of `flags` is set in the lower half of the first argument."""
    return _step(_LOAD, _OFFSET_ARG0) + _step(_JUMP_SET, flags, 0, len(then) // _SIZE) + then + otherwise


def by_number(audit_arch: int, outcome: Mapping[int, bytes], *, otherwise: bytes, beyond: bytes) -> bytes:
    """The whole program: `outcome` for the calls by number, `otherwise` for gaps, `beyond` after the highest number.

    Calls of another architecture (32-bit, x32) fail with ENOSYS, as on a kernel that does not have them. Neighbours
    with the same outcome form one range, and the ranges form a search tree, which keeps the program fast: at each
    installation, and so at each run, the kernel executes it for every number to learn which calls are always allowed.
    """
    last = max(outcome, default=0)
    ordered = [(number, outcome.get(number, otherwise)) for number in range(last + 1)]
    ranges = [(next(group)[0], part) for part, group in groupby(ordered, key=lambda pair: pair[1])]
    ranges.append((last + 1, beyond))
    if audit_arch == AUDIT_ARCH["x86_64"]:
        ranges.append((_X32_BIT, refuse(errno.ENOSYS)))
    head = _step(_LOAD, _OFFSET_ARCH) + _step(_JUMP_EQUAL, audit_arch, 1, 0) + refuse(errno.ENOSYS)
    return head + _step(_LOAD, _OFFSET_NUMBER) + _tree(ranges)


def _tree(ranges: list[tuple[int, bytes]]) -> bytes:
    """A program that picks the part for the loaded number; each range ends where the next one begins."""
    if len(ranges) == 1:
        return ranges[0][1]
    half = len(ranges) // 2
    lower, upper = _tree(ranges[:half]), _tree(ranges[half:])
    distance = len(lower) // _SIZE
    assert distance <= _FARTHEST, "the filter is too long for its jumps"
    return _step(_JUMP_FROM, ranges[half][0], distance, 0) + lower + upper
