"""Builders of what was measured of experiments."""

from collections import Counter
from collections.abc import Mapping, Sequence

from domain.evaluation.experiments.measurements import Figure, Measurements, MetricValues


def repeated(values: Mapping[str, Sequence[float]]) -> dict[str, list[tuple[int, float]]]:
    return {item: list(enumerate(some, start=1)) for item, some in values.items()}


def measured(
    scores: Mapping[str, Sequence[float]],
    *,
    items: int | None = None,
    fingerprint: str = "f",
    metric: str = "m",
    threshold: float | None = 0.5,
    latency: Mapping[str, Sequence[float]] | None = None,
) -> Measurements:
    """Scores of one metric by item; without `items`, each item has all repetitions."""
    repetitions = max(map(len, scores.values()), default=1)
    values = MetricValues(
        values=repeated(scores), fingerprints=frozenset({fingerprint}), threshold=threshold
    )
    made = [at for some in scores.values() for at, _ in enumerate(some, start=1)]
    return Measurements(
        cases=(len(scores) if items is None else items) * repetitions,
        repetitions=repetitions,
        metrics={metric: values},
        figures={} if latency is None else {Figure.LATENCY: repeated(latency)},
        repetition_results=Counter(made),
    )


def named(values: Sequence[Sequence[float]]) -> dict[str, Sequence[float]]:
    """The values of items `item 0`, `item 1` and so on."""
    return {f"item {at}": some for at, some in enumerate(values)}
