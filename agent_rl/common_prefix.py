"""The length of the common prefix of two token sequences or two texts."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", str, tuple[int, ...])


def common_prefix(a: T, b: T) -> int:
    """How many leading elements `a` and `b` have in common: 0 to the length of the shorter.

    It bisects over slices, because Python compares slices at the speed of C. Time is linear in the lengths.
    """
    if b[: len(a)] == a:
        return len(a)
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
