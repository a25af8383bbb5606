"""Means over all subsets of a group, in closed form: best of m of the rollouts other than i."""

from __future__ import annotations

import math
from collections.abc import Sequence


def share_of_subsets(drawn_from: int, out_of: int, size: int) -> float:
    """C(`drawn_from`, `size`) / C(`out_of`, `size`): the share of subsets of `size` that lie in `drawn_from` of them.

    0 where `drawn_from` < `size`. Raises ValueError unless 0 <= size <= out_of and drawn_from <= out_of.
    """
    if not 0 <= size <= out_of or drawn_from > out_of:
        raise ValueError(f"no subsets of {size} in {drawn_from} of {out_of}")
    if drawn_from < size:
        return 0.0
    return math.exp(
        math.lgamma(drawn_from + 1)
        - math.lgamma(drawn_from - size + 1)
        - math.lgamma(out_of + 1)
        + math.lgamma(out_of - size + 1)
    )


def mean_best(values: Sequence[float], size: int) -> float:
    """The mean, over all subsets of `size` >= 1 values, of their largest value."""
    ordered = sorted(values)
    return math.fsum(v * w for v, w in zip(ordered, _shares_of_rank(len(ordered), size), strict=True))


def best_of_others(values_N: Sequence[float], size: int) -> list[float]:
    """For each i the mean, over all subsets of `size` >= 1 of the other values, of their largest value."""
    ranked, others = sorted(range(len(values_N)), key=values_N.__getitem__), len(values_N) - 1
    shares = _shares_of_rank(others, size)
    ordered = [values_N[i] for i in ranked]
    # Without value i, those above it come one rank lower.
    below = _sums([v * w for v, w in zip(ordered[:-1], shares, strict=True)])
    above = _sums([v * w for v, w in zip(ordered[1:], shares, strict=True)])
    found = [0.0] * len(values_N)
    for rank, i in enumerate(ranked):
        found[i] = below[rank] + above[-1] - above[rank]
    return found


def best_with(values_N: Sequence[float], size: int) -> list[float]:
    """For each i the mean of the largest of value i and `size` others, over all subsets of the others."""
    if size == 0:
        return [float(v) for v in values_N]
    ranked, others = sorted(range(len(values_N)), key=values_N.__getitem__), len(values_N) - 1
    shares = _shares_of_rank(others, size)
    lower = _sums(shares)
    above = _sums([values_N[i] * w for i, w in zip(ranked[1:], shares, strict=True)])
    found = [0.0] * len(values_N)
    for rank, i in enumerate(ranked):
        found[i] = values_N[i] * lower[rank] + above[-1] - above[rank]
    return found


def _shares_of_rank(count: int, size: int) -> list[float]:
    """For each rank j of `count`, from the lowest: the share of subsets of `size` whose largest member has that rank.

    It is C(j, size-1) / C(count, size), with j counted from 0.
    """
    if not 1 <= size <= count:
        raise ValueError(f"no subsets of {size} values of {count}")
    whole = size / (count - size + 1)  # C(count, size-1) / C(count, size)
    return [share_of_subsets(j, count, size - 1) * whole for j in range(count)]


def _sums(values: Sequence[float]) -> list[float]:
    """The sums of the first 0, 1, ... values."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return sums
