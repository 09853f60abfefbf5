"""The measurements of an experiment, as a comparison reads it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self

from domain.tracing.span import Totals

type Repeated = Mapping[str, Sequence[tuple[int, float]]]
"""Numbers by the id of the item, each with its repetition."""

COMPARED_MAX: Final = 250_000  # scores of one side: more would hold too much memory


class Figure(StrEnum):
    """The measurements of traces, besides metrics."""

    LATENCY = "latency_ms"
    TOKENS = "tokens"
    COST = "cost_usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValues:
    """The scores of a metric that have a number.

    `fingerprints` are all of them: "" for scores without one. `threshold` is None if the metric has
    none.
    """

    values: Repeated
    fingerprints: frozenset[str]
    threshold: float | None = None

    @property
    def count(self) -> int:
        return sum(map(len, self.values.values()))


NO_VALUES: Final = MetricValues(values={}, fingerprints=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """The numbers of an experiment.

    `cases` is items times repetitions; `repetition_results` says how many cases of a repetition
    have a stored trace. `cost_usd` is the sum over the traces whose cost is known.
    """

    cases: int
    repetitions: int
    metrics: Mapping[str, MetricValues]
    figures: Mapping[Figure, Repeated] = field(default_factory=dict)
    repetition_results: Mapping[int, int] = field(default_factory=dict)
    cost_usd: Decimal = Decimal(0)

    @property
    def results(self) -> int:
        return sum(self.repetition_results.values())

    @property
    def is_priced(self) -> bool:
        """Whether the cost of every result is known, and there is one."""
        costs = sum(map(len, self.figures.get(Figure.COST, {}).values()))
        return costs == self.results > 0

    def coverage(self, metric: str) -> float:
        """The share of cases with a score."""
        return self.metrics.get(metric, NO_VALUES).count / self.cases

    def halves(self) -> tuple[Self, Self]:
        """The odd and the even repetitions, as if each were an experiment. There must be two."""
        return self._only(range(1, self.repetitions + 1, 2)), self._only(
            range(2, self.repetitions + 1, 2)
        )

    def _only(self, repetitions: range) -> Self:
        return type(self)(
            cases=self.cases * len(repetitions) // self.repetitions,
            repetitions=len(repetitions),
            metrics={
                name: MetricValues(
                    values=_picked(one.values, repetitions),
                    fingerprints=one.fingerprints,
                    threshold=one.threshold,
                )
                for name, one in self.metrics.items()
            },
            figures={name: _picked(one, repetitions) for name, one in self.figures.items()},
            repetition_results={
                one: count for one, count in self.repetition_results.items() if one in repetitions
            },
        )


def measured_usage(totals: Totals) -> tuple[int | None, Decimal | None]:
    """The tokens and the cost of a trace; None for what its spans don't say.

    An unknown value counts as 0 in sums. Here it would look like the best figure there is.
    """
    if not totals.spans:
        return None, None
    # What costs something, or can't be priced, has used tokens.
    tokens = totals.tokens or None if totals.unpriced or totals.cost else totals.tokens
    return tokens, None if totals.unpriced else totals.cost


def _picked(values: Repeated, repetitions: range) -> Repeated:
    picked = {
        item: [pair for pair in pairs if pair[0] in repetitions] for item, pairs in values.items()
    }
    return {item: pairs for item, pairs in picked.items() if pairs}


def item_means(values: Repeated) -> dict[str, float]:
    """The mean of each item over its repetitions."""
    return {
        item: pairs[0][1] if len(pairs) == 1 else math.fsum(v for _, v in pairs) / len(pairs)
        for item, pairs in values.items()
    }


def variance_within(values: Repeated, items: Iterable[str]) -> float | None:
    """The variance of repetitions of one item, pooled; None if no item has two."""
    squares = freedom = 0.0
    for item in items:
        pairs = values[item]
        if len(pairs) > 1:
            mean = math.fsum(v for _, v in pairs) / len(pairs)
            squares += math.fsum((v - mean) ** 2 for _, v in pairs)
            freedom += len(pairs) - 1
    return squares / freedom if freedom else None
