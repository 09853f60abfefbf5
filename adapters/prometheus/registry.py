"""The registry that collects the metrics of a process and renders them as text."""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import prometheus_client as prometheus
from prometheus_client.multiprocess import MultiProcessCollector

from adapters.prometheus.definitions import BUILD_INFO, PROCESS_METRICS, MetricDefinition
from adapters.prometheus.process_slots import ProcessSlot, ProcessSlotError, acquire_slot
from adapters.prometheus.reserved_files import ReservedDict

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # where the library reads the folder

_log: Final = logging.getLogger(__name__)

type Samples = Mapping[tuple[str, ...], float]
"""Values by the values of their labels, in the order of the labels."""

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # otherwise one more series for each


class MetricsRegistry:
    """Collects `PROCESS_METRICS` in this process, or in a folder shared with other processes.

    Create at most one registry with a folder in a process, and then no other: the library keeps
    the folder in a global variable. The slot is held until the process ends. Raises
    ProcessSlotError.
    """

    def __init__(self, version: str, folder: Path | None = None) -> None:
        self._has_warned = False
        self._slot = None if folder is None else _use_folder(folder)
        self._registry = prometheus.CollectorRegistry()
        try:
            self._metrics = {one: _create_metric(one, self._registry) for one in PROCESS_METRICS}
        except OSError as error:
            raise ProcessSlotError(f"{folder}: {error.strerror}") from error
        self._known: dict[tuple[str, ...], Any] = {}  # those that `_series` has returned
        self.set(BUILD_INFO, 1, version)

    def count(self, definition: MetricDefinition, *labels: str, by: float = 1) -> None:
        if (series := self._series(definition, labels)) is not None:
            series.inc(by)

    def set(self, definition: MetricDefinition, value: float, *labels: str) -> None:
        if (series := self._series(definition, labels)) is not None:
            series.set(value)

    def observe(self, definition: MetricDefinition, value: float, *labels: str) -> None:
        if (series := self._series(definition, labels)) is not None:
            series.observe(value)

    def gauge(self, definition: MetricDefinition, *labels: str) -> float | None:
        """The combined value of a gauge in all processes; None if none has set it."""
        wanted = (definition.name, dict(zip(definition.labels, labels, strict=True)))
        samples = (sample for metric in self._collect() for sample in metric.samples)
        return next((s.value for s in samples if (s.name, s.labels) == wanted), None)

    def text(self, others: Mapping[MetricDefinition, Samples] | None = None) -> bytes:
        """All metrics in Prometheus' text format, together with `others` from elsewhere."""
        metrics = [*self._collect(), *(_metric(*item) for item in (others or {}).items())]
        metrics.sort(key=lambda metric: metric.name)
        # The library renders what a registry collects; these are collected already.
        collected = SimpleNamespace(collect=lambda: metrics)
        return prometheus.generate_latest(cast("prometheus.CollectorRegistry", collected))

    def _collect(self) -> Iterable[prometheus.Metric]:
        if self._slot is None:
            return self._registry.collect()
        files = self._slot.files()
        metrics: Iterable[prometheus.Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # its own
        return metrics

    def _series(self, definition: MetricDefinition, labels: tuple[str, ...]) -> Any:
        """None if the disk of the folder has no space for another series: it isn't counted."""
        # Each request counts in four series: looking for one takes the library 3 us.
        key = (definition.name, *labels)
        series = self._known.get(key)
        if series is None:
            metric = self._metrics[definition]
            try:
                series = self._known[key] = metric.labels(*labels) if labels else metric
            except OSError as error:
                self._warn_once(error)
        return series

    def _warn_once(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning("some metrics aren't counted: their folder: %s", error.strerror)


def _create_metric(definition: MetricDefinition, registry: prometheus.CollectorRegistry) -> Any:
    arguments = (definition.name, definition.help, definition.labels)
    match definition.kind:
        case "counter":
            return prometheus.Counter(*arguments, registry=registry)
        case "gauge":
            mode: Any = definition.multiprocess_mode  # one of the library's words
            return prometheus.Gauge(*arguments, registry=registry, multiprocess_mode=mode)
        case "histogram":
            return prometheus.Histogram(*arguments, registry=registry, buckets=definition.buckets)


def _use_folder(folder: Path) -> ProcessSlot:
    """Acquires a slot of `folder`, and makes the library write to the slot's files."""
    slot = acquire_slot(folder)
    os.environ[FOLDER_VARIABLE] = str(folder)
    vars(prometheus.values)["MmapedDict"] = ReservedDict  # the library has no setting for it
    prometheus.values.ValueClass = prometheus.values.MultiProcessValue(lambda: slot.number)  # type: ignore[no-untyped-call]  # its own
    return slot


def _metric(definition: MetricDefinition, samples: Samples) -> prometheus.Metric:
    metric = prometheus.Metric(definition.name, definition.help, definition.kind)
    for labels, value in samples.items():
        metric.add_sample(definition.name, dict(zip(definition.labels, labels, strict=True)), value)
    return metric
