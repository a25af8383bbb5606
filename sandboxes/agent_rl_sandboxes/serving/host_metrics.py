"""`Metrics`: what a host has done, in Prometheus' text format 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "agent_rl_host_"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, one histogram a name, and gauges that are asked when they are shown.

    Label values are few by construction: names of routes, statuses, kinds; never what a client sent.
    """

    def __init__(self) -> None:
        self._help: dict[str, tuple[str, str]] = {}
        self._counts: dict[str, dict[_Labels, float]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = defaultdict(float)

    def counter(self, name: str, help_text: str) -> None:
        """`name` is counted from 0."""
        self._help[name] = ("counter", help_text)
        self._counts[name] = defaultdict(float)

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """`name` shows what `value` returns."""
        self._help[name] = ("gauge", help_text)
        self._gauges[name] = value

    def histogram(self, name: str, help_text: str) -> None:
        """`name` is a distribution of seconds."""
        self._help[name] = ("histogram", help_text)
        self._buckets[name] = [0] * (len(_BUCKETS) + 1)

    def count(self, name: str, **labels: str) -> None:
        """One more of `name`."""
        self._counts[name][tuple(sorted(labels.items()))] += 1

    def observe(self, name: str, seconds: float) -> None:
        """`seconds` belongs to the distribution `name`."""
        self._buckets[name][bisect_left(_BUCKETS, seconds)] += 1
        self._sums[name] += seconds

    def value(self, name: str, **labels: str) -> float:
        """The counter's value."""
        return self._counts[name].get(tuple(sorted(labels.items())), 0.0)

    def render(self) -> str:
        """Everything, as Prometheus reads it."""
        lines: list[str] = []
        for name, (kind, help_text) in self._help.items():
            full = _PREFIX + name
            lines += [f"# HELP {full} {_escape(help_text, quote=False)}", f"# TYPE {full} {kind}"]
            if kind == "gauge":
                lines.append(f"{full} {_number(self._gauges[name]())}")
            elif kind == "counter":
                counts = self._counts[name] or {(): 0.0}
                lines += [f"{full}{_labels(dict(labels))} {_number(n)}" for labels, n in sorted(counts.items())]
            else:
                lines += self._distribution(name, full)
        return "\n".join(lines) + "\n"

    def _distribution(self, name: str, full: str) -> list[str]:
        lines: list[str] = []
        total = 0
        for bound, inside in zip((*map(_number, _BUCKETS), "+Inf"), self._buckets[name], strict=True):
            total += inside
            lines.append(f'{full}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{full}_sum {_number(self._sums[name])}", f"{full}_count {total}"]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value, quote=True)}"' for key, value in labels.items()) + "}"


def _escape(text: str, *, quote: bool) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
