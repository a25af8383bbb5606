"""How far two sequences of tokens, or two texts, begin alike."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", str, tuple[int, ...])


def common_prefix(a: T, b: T) -> int:
    """How many leading elements `a` and `b` have in common: 0 to the length of the shorter.

    A bisection over slices, since a slice is compared at the speed of C: that takes time in proportion to the lengths.
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
