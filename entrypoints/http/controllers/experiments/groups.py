"""Comparing two groups of traces, such as those of two releases."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.evaluation.experiments import trace_groups
from domain.evaluation.experiments.trace_groups import (
    CONFIDENCE,
    GROUP_METRICS_MAX,
    GROUP_SCORES_MIN,
    GROUP_TRACES_MAX,
    LOWEST_MAX,
    GroupComparison,
    GroupFigures,
    NoInterval,
)
from domain.identity.caller import Caller
from domain.tracing.analytics import Latencies
from domain.tracing.query import TraceFilter
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.scores.schemas import ScoreName
from entrypoints.http.controllers.traces.schemas import UNPRICED, TraceFilters, given_filter
from entrypoints.http.endpoint import post
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.requests.json_body import Body
from entrypoints.http.response_structs import ResponseStruct, Source

_COMPARED: Final = Meta(
    description=(
        "Null without a difference. The interval is that of Welch, with imaginary scores where "
        f"scores are 0 or 1, for {CONFIDENCE:.0%}"
    )
)


class CompareGroupsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two groups of traces, each by the filters of `GET /traces`."""

    a: Annotated[TraceFilters, Meta(description="Such as the release before")]
    b: Annotated[TraceFilters, Meta(description="Such as the release after")]
    metrics: Annotated[
        list[ScoreName],
        Meta(max_length=GROUP_METRICS_MAX, description="Names of scores; without any, all"),
    ] = []

    def to_domain(self, _: HttpConfig) -> "GroupsAsked":
        """Raises ValueError for an invalid instant."""
        return GroupsAsked(given_filter(self.a), given_filter(self.b), self.metrics)


class GroupsAsked(msgspec.Struct, frozen=True):
    a: TraceFilter
    b: TraceFilter
    metrics: list[str]


class LatencyFigures(ResponseStruct[Latencies], frozen=True, kw_only=True):
    """Milliseconds."""

    avg: Annotated[float, Source("mean")]
    p50: float
    p90: float
    p99: float


class GroupResponse(ResponseStruct[GroupFigures], frozen=True, kw_only=True):
    """What was measured of a group."""

    traces: Annotated[
        int,
        Source("count"),
        Meta(description=f"Of how many traces: the newest, {GROUP_TRACES_MAX:,} at most"),
    ]
    total: Annotated[int, Meta(description="How many traces match")]
    total_is_at_least: Annotated[bool, Meta(description="Whether more may match than `total`")]
    first_started_at: Annotated[
        wire.ResponseInstant | None, Meta(description="The start of the oldest of them")
    ]
    last_started_at: Annotated[
        wire.ResponseInstant | None, Meta(description="The start of the newest of them")
    ]
    failed: Annotated[int, Meta(description="Traces with the status ERROR")]
    erroneous: Annotated[
        int, Meta(description="Traces with the status ERROR, or with a span that has it")
    ]
    latency_count: Annotated[int, Meta(description="Traces with a latency")]
    latency_ms: Annotated[LatencyFigures | None, Source("latencies")]
    total_tokens: Annotated[int, Source("tokens")]
    total_cost: Annotated[wire.Usd, Source("cost")]
    unpriced_trace_count: Annotated[
        int,
        Source("unpriced_traces"),
        Meta(description="Traces with spans whose cost is unknown, and so isn't in `total_cost`"),
    ]
    unpriced_span_count: Annotated[int, Source("unpriced_spans"), UNPRICED]


class GroupDifferenceResponse(ResponseStruct[trace_groups.Difference], frozen=True, kw_only=True):
    """The value of `b` minus that of `a`, and its interval.

    `no_interval` says why there is none: `too_few` numbers in a group, or `shared_traces`, which
    are in both groups.
    """

    value: float
    low: float | None
    high: float | None
    is_beyond_chance: Annotated[bool | None, Meta(description="Whether the interval leaves out 0")]
    no_interval: NoInterval | None


class LowScoreResponse(ResponseStruct[trace_groups.LowScore], frozen=True, kw_only=True):
    trace_id: UUID
    value: float


class GroupMean(ResponseStruct[trace_groups.ScoreFigures], frozen=True, kw_only=True):
    """The mean of a group, of `count` numbers."""

    count: Annotated[int, Source("numbers")]
    mean: Annotated[float | None, Meta(description="Null without a number")]
    lowest: Annotated[
        list[LowScoreResponse],
        Meta(description=f"The traces with the lowest numbers, {LOWEST_MAX} at most"),
    ]


class MeanComparisonResponse(
    ResponseStruct[trace_groups.MeanComparison], frozen=True, kw_only=True
):
    """Means of numbers that the same judge gave in the same way.

    A group without such numbers is null: then `no_interval` is `one_group`.
    """

    judge_kind: str | None
    fingerprint: str | None
    a: GroupMean | None
    b: GroupMean | None
    difference: Annotated[GroupDifferenceResponse | None, _COMPARED]
    no_interval: NoInterval | None


class GroupCoverage(ResponseStruct[trace_groups.ScoreCoverage], frozen=True, kw_only=True):
    """The traces of a group by the outcome of their newest score; `missing` ones have none."""

    scored: int
    skipped: int
    failed: int
    missing: int


class MetricComparisonResponse(
    ResponseStruct[trace_groups.MetricComparison], frozen=True, kw_only=True
):
    """The scores of one name. Those of runs and those that were sent or corrected are apart."""

    name: str
    is_of_run: bool
    a: GroupCoverage
    b: GroupCoverage
    has_other_fingerprints: Annotated[
        bool, Meta(description="Whether numbers of one group were made in a way of their own")
    ]
    means: list[MeanComparisonResponse]


class GroupComparisonResponse(ResponseStruct[GroupComparison], frozen=True, kw_only=True):
    """Two groups of traces side by side."""

    a: GroupResponse
    b: GroupResponse
    shared: Annotated[
        int, Meta(description="Traces that are in both groups: then there are no intervals")
    ]
    failures: Annotated[
        GroupDifferenceResponse | None,
        Meta(description="Of the share of `failed`. Null if a group is empty"),
    ]
    metrics: list[MetricComparisonResponse]


_COVERAGE: Final = {"scored": 40, "skipped": 0, "failed": 0, "missing": 0}
_TRACE: Final = "11111111-1111-4111-8111-111111111111"


def _mean(mean: float, low: float) -> dict[str, object]:
    return {"count": 40, "mean": mean, "lowest": [{"trace_id": _TRACE, "value": low}]}


def _group(failed: int, p99: float) -> dict[str, object]:
    return {
        "traces": 40,
        "total": 40,
        "total_is_at_least": False,
        "first_started_at": "2026-03-01T09:00:00Z",
        "last_started_at": "2026-03-01T10:00:00Z",
        "failed": failed,
        "erroneous": failed,
        "latency_count": 40,
        "latency_ms": {"avg": 900.0, "p50": 800.0, "p90": 1500.0, "p99": p99},
        "total_tokens": 12_000,
        "total_cost": 0.25,
        "unpriced_trace_count": 0,
        "unpriced_span_count": 0,
    }


EXAMPLE: Final = {
    "a": _group(1, 1900.0),
    "b": _group(6, 2400.0),
    "shared": 0,
    "failures": {
        "value": 0.125, "low": -0.01, "high": 0.25, "is_beyond_chance": False, "no_interval": None,
    },
    "metrics": [
        {
            "name": "coherence",
            "is_of_run": True,
            "a": _COVERAGE,
            "b": _COVERAGE,
            "has_other_fingerprints": False,
            "means": [
                {
                    "judge_kind": "heuristic",
                    "fingerprint": "5f4dcc3b5aa765d6",
                    "a": _mean(0.9, 0.5),
                    "b": _mean(0.7, 0.0),
                    "difference": {
                        "value": -0.2, "low": -0.31, "high": -0.09, "is_beyond_chance": True,
                        "no_interval": None,
                    },
                    "no_interval": None,
                }
            ],
        }
    ],
}  # fmt: skip


class TraceGroupController(Controller):
    path = "/analytics"

    @post(
        "/compare",
        CAN_READ,
        status_code=200,
        description=(
            "What was measured of two groups of traces, such as those of two releases: failures, "
            "latencies, tokens, cost, and the means of scores with their coverage. Of each group "
            f"the newest {GROUP_TRACES_MAX:,} traces count. A difference has an interval if both "
            f"groups have {GROUP_SCORES_MIN} numbers and no trace in common. Numbers of heuristic "
            "and model judges, and with different fingerprints, are never compared. It changes "
            "nothing."
        ),
        example=EXAMPLE,
        body_example={"a": {"release": "1.4"}, "b": {"release": "1.5"}},
    )
    async def compare_groups(
        self,
        caller: Caller,
        content: Annotated[GroupsAsked, Body(CompareGroupsRequest, CompareGroupsRequest.to_domain)],
        use_cases: UseCases,
    ) -> GroupComparisonResponse:
        """Compare two groups of traces."""
        compared = await use_cases.experiments.compare_groups(
            caller.project_id, content.a, content.b, content.metrics
        )
        return GroupComparisonResponse.from_domain(compared)
