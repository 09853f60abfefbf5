"""Score analytics from cells: counts and sums of the scores that were made in the same way.

A store that counted the scores of whole days keeps their cells and, to find percentiles, their
numbers by part: one of PARTS equal parts of [0, 1]. The results are those of `analytics`, which
takes the scores themselves; percentiles are exact too. They read the numbers of the one or two
parts that a percentile lies in.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from domain.evaluation.scores.analytics import (
    FINGERPRINTS_MAX,
    TREND_PERCENTILES,
    Histogram,
    ScoreSummary,
    SeparateKind,
    TrendPoint,
    histogram_bins,
)
from domain.evaluation.scores.score import ScoreOutcome, ScoreSource
from domain.tracing.analytics import group_by

PARTS: Final = 100
# The start of each part but the first. A double is at least such a bound exactly if its shortest
# decimal text is at least the decimal bound, so a part is a bin of `bin_number`.
PART_BOUNDS: Final = tuple(number / PARTS for number in range(1, PARTS))
MEDIAN: Final = (0.5,)
WHOLE_PERIOD: Final = datetime.min.replace(tzinfo=UTC)
"""The bucket of all cells, where there are no buckets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCell:
    """The scores of one name, bucket and way of making, by outcome.

    `bucket` is its start, or WHOLE_PERIOD. `numbers` of the scores have a number: `total` is their
    sum, `minimum` to `maximum` their range, `passed` how many reach the threshold, `newest_at` when
    the newest was created, and `parts` how many lie in each part, which are numbered from 0.
    """

    name: str
    bucket: datetime
    source: ScoreSource
    judge_kind: str | None
    fingerprint: str | None
    threshold: float | None
    outcome: ScoreOutcome
    scores: int
    numbers: int
    total: float
    minimum: float | None
    maximum: float | None
    passed: int
    latest_at: datetime
    newest_at: datetime | None
    parts: Mapping[int, int]


class NumberPart(NamedTuple):
    """A part of [0, 1] of the numbers of a name in a bucket."""

    name: str
    bucket: datetime
    part: int


type NumberCounts = Mapping[NumberPart, Sequence[tuple[float, int]]]
"""Different numbers, ascending, and how many scores have each."""


@dataclass(frozen=True, slots=True)
class NameCells:
    """The cells of one name, and which of them are compared, as `comparable_scores` says.

    `chosen` are those of the source, at least one. `left_out` is the kind of judge whose numbers
    aren't compared.
    """

    name: str
    cells: Sequence[ScoreCell]
    chosen: Sequence[ScoreCell]
    judge_kind: SeparateKind | None
    left_out: SeparateKind | None

    @property
    def from_runs(self) -> bool:
        return self.chosen[0].source is ScoreSource.AUTOMATED

    @property
    def compared(self) -> Sequence[ScoreCell]:
        return [
            one
            for one in self.chosen
            if one.numbers and (self.left_out is None or one.judge_kind != self.left_out)
        ]


def choose_cells(
    cells: Iterable[ScoreCell],
    source: ScoreSource | None,
    judge_kind: SeparateKind | None,
    newest: Mapping[str, SeparateKind],
) -> list[NameCells]:
    """The names with a score of the source, sorted.

    `newest` has the kind of the newest number of each of `undecided_names`.
    """
    found = []
    for name, some in group_by(cells, lambda one: one.name).items():
        if not (chosen := _of_source(some, source)):
            continue
        kinds = _newest_kinds(chosen, judge_kind)
        kind = kinds[0] if len(kinds) == 1 else newest.get(name)
        kept = judge_kind or kind
        found.append(NameCells(name, some, chosen, kind, None if kept is None else kept.other))
    return found


def undecided_names(
    cells: Iterable[ScoreCell], source: ScoreSource | None
) -> Mapping[str, datetime]:
    """Names whose newest numbers are of both kinds of judges and of the same time, and that time.

    The ids of the scores decide, which cells don't have.
    """
    found = {}
    for name, some in group_by(cells, lambda one: one.name).items():
        chosen = _of_source(some, source)
        if len(_newest_kinds(chosen, None)) > 1:
            found[name] = max(one.newest_at for one in chosen if one.newest_at and _kind(one))
    return found


def _of_source(cells: Sequence[ScoreCell], source: ScoreSource | None) -> Sequence[ScoreCell]:
    """As `scores_of_source`."""
    if source is not None:
        return [one for one in cells if one.source is source]
    return [one for one in cells if one.source is ScoreSource.AUTOMATED] or cells


def _kind(cell: ScoreCell) -> SeparateKind | None:
    kind = cell.judge_kind
    return SeparateKind(kind) if kind is not None and kind in SeparateKind else None


def _newest_kinds(cells: Sequence[ScoreCell], asked: SeparateKind | None) -> Sequence[SeparateKind]:
    """The kinds of the newest number: none, one, or both if their newest are of the same time."""
    newest = dict[SeparateKind, datetime]()
    for one in cells:
        kind, at = _kind(one), one.newest_at
        if at is not None and kind is not None and asked in {None, kind}:
            newest[kind] = max(at, newest.get(kind, at))
    return [kind for kind, at in newest.items() if at == max(newest.values())]


def wanted_parts(names: Sequence[NameCells], shares: Sequence[float]) -> Sequence[NumberPart]:
    """The parts whose numbers are needed for percentiles of each name and bucket."""
    return [
        NumberPart(name.name, bucket, part)
        for name in names
        for bucket, some in group_by(name.compared, lambda one: one.bucket).items()
        for part in sorted(_parts_of_shares(_add_parts(some), shares))
    ]


def summaries_of_cells(names: Sequence[NameCells], numbers: NumberCounts) -> list[ScoreSummary]:
    """As `analytics.summaries`. `numbers` has those of `wanted_parts` of the MEDIAN."""
    return [_summary(one, numbers) for one in names]


def _summary(cells: NameCells, numbers: NumberCounts) -> ScoreSummary:
    figures = _figures(cells.compared)
    thresholds = [one.threshold for one in cells.compared if one.threshold is not None]
    [median] = _percentiles(cells.name, cells.compared, numbers, MEDIAN)
    return ScoreSummary(
        name=cells.name,
        **figures,
        minimum=min(
            (one.minimum for one in cells.compared if one.minimum is not None), default=None
        ),
        maximum=max(
            (one.maximum for one in cells.compared if one.maximum is not None), default=None
        ),
        median=median,
        **_outcomes(cells.chosen),
        latest_at=max(one.latest_at for one in cells.chosen),
        judge_kind=cells.judge_kind,
        from_runs=cells.from_runs,
        counted=_count(cells.compared),
        left_out=_count(cells.cells) - _count(cells.compared),
        minimum_threshold=min(thresholds, default=None),
        maximum_threshold=max(thresholds, default=None),
    )


def trend_of_cells(
    names: Sequence[NameCells], numbers: NumberCounts, *, empty_buckets: bool
) -> list[TrendPoint]:
    """As `analytics.trend`. `numbers` has those of `wanted_parts` of TREND_PERCENTILES."""
    points = []
    for name in names:
        compared = group_by(name.compared, lambda one: one.bucket)
        for bucket, some in group_by(name.chosen, lambda one: one.bucket).items():
            counted = compared.get(bucket, [])
            if not (empty_buckets or counted):
                continue
            p10, p50, p90 = _percentiles(name.name, counted, numbers, TREND_PERCENTILES)
            points.append(
                TrendPoint(
                    bucket=bucket,
                    name=name.name,
                    **_figures(counted),
                    p10=p10,
                    p50=p50,
                    p90=p90,
                    count=_count(counted),
                    judge_kind=name.judge_kind,
                    **_outcomes(some),
                )
            )
    return points


def distribution_of_cells(
    names: Sequence[NameCells], parts: int, *, empty_buckets: bool
) -> Histogram:
    """As `analytics.distribution`, of one name or none, in a number of bins that divides PARTS."""
    counts = Counter[int]()
    for name in names:
        for part, count in _add_parts(name.compared).items():
            counts[part * parts // PARTS + 1] += count
    bins = histogram_bins(counts, parts, empty_buckets=empty_buckets)
    return Histogram(bins=bins, **_outcomes([one for name in names for one in name.chosen]))


def _figures(compared: Sequence[ScoreCell]) -> dict[str, Any]:
    """The fields that a summary and a point of a trend share."""
    with_threshold = [one for one in compared if one.threshold is not None]
    fingerprints = {one.fingerprint for one in compared if one.fingerprint is not None}
    count = _count(compared)
    return {
        "mean": sum(one.total for one in compared) / count if count else None,
        "passed": sum(one.passed for one in with_threshold) if with_threshold else None,
        "with_threshold": _count(with_threshold),
        "fingerprints": sorted(fingerprints)[:FINGERPRINTS_MAX],
    }


def _outcomes(cells: Sequence[ScoreCell]) -> dict[str, Any]:
    """The fields of ScoreCounts."""
    counts = dict.fromkeys(map(str, ScoreOutcome), 0)
    for one in cells:
        counts[one.outcome] += one.scores
    return counts


def _count(cells: Iterable[ScoreCell]) -> int:
    return sum(one.numbers for one in cells)


def _add_parts(cells: Iterable[ScoreCell]) -> Mapping[int, int]:
    """How many numbers lie in each part, ascending; parts without any are left out."""
    counts = Counter[int]()
    for one in cells:
        counts.update(one.parts)
    return dict(sorted(counts.items()))


def _ranks(count: int, share: float) -> tuple[int, int, float]:
    """The ranks between which the percentile lies, and how far it is from the first, below 1."""
    rank = share * (count - 1)
    below = int(rank)
    return below, min(below + 1, count - 1), rank - below


def _parts_of_shares(parts: Mapping[int, int], shares: Sequence[float]) -> set[int]:
    count = sum(parts.values())
    ranks = {rank for share in shares for rank in _ranks(count, share)[:2]}
    return {_part_of_rank(parts, rank)[0] for rank in ranks}


def _part_of_rank(parts: Mapping[int, int], rank: int) -> tuple[int, int]:
    """The part of the number with a rank, from 0, and its rank in the part."""
    for part, count in parts.items():
        if rank < count:
            return part, rank
        rank -= count
    raise ValueError("the parts have fewer numbers")


def _percentiles(
    name: str, cells: Sequence[ScoreCell], numbers: NumberCounts, shares: Sequence[float]
) -> list[float | None]:
    """As `percentile`, for cells of one bucket; None without a number."""
    if not cells:
        return [None] * len(shares)
    parts, bucket = _add_parts(cells), cells[0].bucket
    count = sum(parts.values())

    def number(rank: int) -> float:
        part, left = _part_of_rank(parts, rank)
        for value, same in numbers[NumberPart(name, bucket, part)]:
            if left < same:
                return value
            left -= same
        raise ValueError("a part has fewer numbers than were counted")

    found: list[float | None] = []
    for share in shares:
        first, second, beyond = _ranks(count, share)
        lower, upper = number(first), number(second)
        found.append(lower + beyond * (upper - lower))
    return found
