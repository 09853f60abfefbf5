"""What a process counts, and the text in which it is told."""

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

from adapters.prometheus.definitions import BUILD, KEPT, Named
from adapters.prometheus.process_slots import Seat, take_seat

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"  # where the library looks for the folder

type Samples = Mapping[tuple[str, ...], float]
"""Values by those of their labels, in the order of the labels."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # else a series more for each


class Figures:
    """The figures of `named.KEPT`, in this process or in a folder that it shares with others.

    A process makes one of a folder at most, and no other: the library keeps in one place what all
    of them count from then on. The seat is the process's until it ends. Raises SeatError.
    """

    def __init__(self, version: str, folder: Path | None = None) -> None:
        self._seat = None if folder is None else _seated(folder)
        self._registry = CollectorRegistry()
        self._counters: dict[Named, Counter] = {}
        self._gauges: dict[Named, Gauge] = {}
        self._histograms: dict[Named, Histogram] = {}
        for named in KEPT:
            self._make(named)
        self.set(BUILD, 1, version)

    def count(self, named: Named, *labels: str, by: float = 1) -> None:
        counter = self._counters[named]
        (counter.labels(*labels) if labels else counter).inc(by)

    def set(self, named: Named, value: float, *labels: str) -> None:
        gauge = self._gauges[named]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def observe(self, named: Named, value: float, *labels: str) -> None:
        histogram = self._histograms[named]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def gauge(self, named: Named, *labels: str) -> float | None:
        """What a gauge comes to, of all processes; None where nobody has set it."""
        wanted = dict(zip(named.labels, labels, strict=True))
        found = (one for metric in self._collected() for one in metric.samples)
        return next((s.value for s in found if (s.name, s.labels) == (named.name, wanted)), None)

    def text(self, asked: Mapping[Named, Samples] | None = None) -> bytes:
        """All of it in Prometheus' text format, with what was asked for elsewhere."""
        found = [*self._collected(), *(_metric(*one) for one in (asked or {}).items())]
        return generate_latest(_Found(sorted(found, key=lambda one: one.name)))

    def _collected(self) -> Iterable[Metric]:
        if self._seat is None:
            return self._registry.collect()
        files = self._seat.files()
        found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # its own
        return found

    def _make(self, named: Named) -> None:
        given = (named.name, named.about, named.labels)
        match named.kind:
            case "counter":
                self._counters[named] = Counter(*given, registry=self._registry)
            case "gauge":
                self._gauges[named] = Gauge(
                    *given,
                    registry=self._registry,
                    multiprocess_mode=named.together,  # type: ignore[arg-type]  # one of its words
                )
            case "histogram":
                self._histograms[named] = Histogram(
                    *given, registry=self._registry, buckets=named.buckets
                )


class _Found:
    """What was collected already, as the library takes it."""

    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Sequence[Metric]:
        return self._found


def _seated(folder: Path) -> Seat:
    seat = take_seat(folder)
    os.environ[FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: seat.number)  # type: ignore[no-untyped-call]  # its own
    return seat


def _metric(named: Named, samples: Samples) -> Metric:
    metric = Metric(named.name, named.about, named.kind)
    for labels, value in samples.items():
        metric.add_sample(named.name, dict(zip(named.labels, labels, strict=True)), value)
    return metric
