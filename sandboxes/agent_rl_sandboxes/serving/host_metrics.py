"""`Metrics`: what a host has done, in Prometheus' text format 0.0.4."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAMESPACE = "agent_rl_host"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters, histograms, and gauges whose values are read when they are shown.

    Label values are few by construction: names of routes, statuses, kinds; never what a client sent.
    """

    def __init__(self) -> None:
        self._registry = _Registry()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def counter(self, name: str, help_text: str, *labels: str) -> None:
        """`name` is counted from 0, by each value of `labels`."""
        self._counters[name] = Counter(name, help_text, labels, namespace=_NAMESPACE, registry=self._registry)

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """`name` shows what `value` returns."""
        Gauge(name, help_text, namespace=_NAMESPACE, registry=self._registry).set_function(value)

    def histogram(self, name: str, help_text: str) -> None:
        """`name` is a distribution of seconds."""
        self._histograms[name] = Histogram(
            name, help_text, namespace=_NAMESPACE, registry=self._registry, buckets=_BUCKETS
        )

    def count(self, name: str, **labels: str) -> None:
        """One more of `name`."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc()

    def observe(self, name: str, seconds: float) -> None:
        """`seconds` belongs to the distribution `name`."""
        self._histograms[name].observe(seconds)

    def value(self, name: str, **labels: str) -> float:
        """The value of a counter or a gauge; 0 if nothing was counted under `labels`."""
        return self._registry.get_sample_value(f"{_NAMESPACE}_{name}", labels) or 0.0

    def render(self) -> str:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry).decode()


class _Registry(CollectorRegistry):
    """Leaves out the times at which counters were made, which double the lines (the library's own switch is global)."""

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
