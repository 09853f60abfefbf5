"""The registry that collects the metrics of a process and renders them as text."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from adapters.prometheus.definitions import BUILD_INFO, PROCESS_METRICS, MetricDefinition
from adapters.prometheus.process_slots import ProcessSlot, acquire_slot

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # where the library reads the folder

type Samples = Mapping[tuple[str, ...], float]
"""Values by the values of their labels, in the order of the labels."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # otherwise one more series for each


class MetricsRegistry:
    """Collects `PROCESS_METRICS` in this process, or in a folder shared with other processes.

    Create at most one registry with a folder in a process, and then no other: the library keeps
    the folder in a global variable. The slot is held until the process ends. Raises
    ProcessSlotError.
    """

    def __init__(self, version: str, folder: Path | None = None) -> None:
        self._slot = None if folder is None else _use_folder(folder)
        self._registry = CollectorRegistry()
        self._counters: dict[MetricDefinition, Counter] = {}
        self._gauges: dict[MetricDefinition, Gauge] = {}
        self._histograms: dict[MetricDefinition, Histogram] = {}
        for definition in PROCESS_METRICS:
            self._register(definition)
        self.set(BUILD_INFO, 1, version)

    def count(self, definition: MetricDefinition, *labels: str, by: float = 1) -> None:
        counter = self._counters[definition]
        (counter.labels(*labels) if labels else counter).inc(by)

    def set(self, definition: MetricDefinition, value: float, *labels: str) -> None:
        gauge = self._gauges[definition]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def observe(self, definition: MetricDefinition, value: float, *labels: str) -> None:
        histogram = self._histograms[definition]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def gauge(self, definition: MetricDefinition, *labels: str) -> float | None:
        """The combined value of a gauge in all processes; None if none has set it."""
        wanted = (definition.name, dict(zip(definition.labels, labels, strict=True)))
        samples = (sample for metric in self._collect() for sample in metric.samples)
        return next((s.value for s in samples if (s.name, s.labels) == wanted), None)

    def text(self, others: Mapping[MetricDefinition, Samples] | None = None) -> bytes:
        """All metrics in Prometheus' text format, together with `others` from elsewhere."""
        metrics = [*self._collect(), *(_metric(*item) for item in (others or {}).items())]
        return generate_latest(_Collected(sorted(metrics, key=lambda metric: metric.name)))

    def _collect(self) -> Iterable[Metric]:
        if self._slot is None:
            return self._registry.collect()
        files = self._slot.files()
        metrics: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # its own
        return metrics

    def _register(self, definition: MetricDefinition) -> None:
        arguments = (definition.name, definition.help, definition.labels)
        match definition.kind:
            case "counter":
                self._counters[definition] = Counter(*arguments, registry=self._registry)
            case "gauge":
                self._gauges[definition] = Gauge(
                    *arguments,
                    registry=self._registry,
                    multiprocess_mode=definition.multiprocess_mode,  # type: ignore[arg-type]  # one of its words
                )
            case "histogram":
                self._histograms[definition] = Histogram(
                    *arguments, registry=self._registry, buckets=definition.buckets
                )


class _Collected:
    """Metrics that are collected already, as a collector for the library."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _use_folder(folder: Path) -> ProcessSlot:
    """Acquires a slot of `folder`, and makes the library write to the slot's files."""
    slot = acquire_slot(folder)
    os.environ[FOLDER_VARIABLE] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: slot.number)  # type: ignore[no-untyped-call]  # its own
    return slot


def _metric(definition: MetricDefinition, samples: Samples) -> Metric:
    metric = Metric(definition.name, definition.help, definition.kind)
    for labels, value in samples.items():
        metric.add_sample(definition.name, dict(zip(definition.labels, labels, strict=True)), value)
    return metric
