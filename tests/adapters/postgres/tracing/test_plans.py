"""By which indexes the reads go, and over how many rows."""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from adapters.postgres.database.kept_since import fetch_all_kept_since, fetch_kept_since
from adapters.postgres.database.pool import SESSION_SETTINGS
from adapters.postgres.database.read_transactions import read_snapshot
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.evaluation.datasets.dataset_rows import dataset_row
from adapters.postgres.evaluation.datasets.datasets import INSERT_DATASET
from adapters.postgres.evaluation.scores.scores import PostgresTraceScores
from adapters.postgres.evaluation.scores.waiting_evaluations import (
    DELETE_EXPIRED_EVALUATIONS,
    SELECT_DUE,
)
from adapters.postgres.exports.trace_archive import PostgresTraceArchive
from adapters.postgres.privacy.erasures import (
    ANONYMIZE_SESSION,
    COUNT_REMAINING_SESSION_ROWS,
    COUNT_REMAINING_TRACE_ROWS,
    COUNT_TRACES,
    SELECT_NEXT_TRACES,
    SUBJECT_COLUMNS,
)
from adapters.postgres.privacy.retention import (
    LOCK_EXPIRED_TRACES,
    SELECT_PROJECTS_WITH_EXPIRED_TRACES,
)
from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from adapters.postgres.tracing.otlp.otlp_rows import SELECT_NODES
from adapters.postgres.tracing.otlp.otlp_settling import (
    DELETE_ORPHANED_RECORDS,
    LOCK_OPEN_TRACES,
    settle_open_traces,
)
from adapters.postgres.tracing.otlp.otlp_writer import OtlpWriter
from adapters.postgres.tracing.rollups.percentiles import COMPUTE_BUCKETS, VolumeReader
from adapters.postgres.tracing.search.search_index import DELETE_QUEUED, STORE_TRACES
from adapters.postgres.tracing.session_id_walk import IdWalkLimits
from adapters.postgres.tracing.session_walk import SessionWalkLimits
from adapters.postgres.tracing.spans.span_walk import WalkLimits
from adapters.postgres.tracing.spans.spans import PostgresSpans
from adapters.postgres.tracing.trace_details import (
    fetch_detail,
    fetch_shown_span,
    fetch_shown_spans,
)
from adapters.postgres.tracing.trace_lists import TraceLists
from adapters.postgres.tracing.trace_loader import fetch_trace
from adapters.postgres.tracing.trace_parts import fetch_outline, fetch_payload
from adapters.postgres.tracing.writes.batch_writer import HAS_ERASED_TRACE, TraceWriter
from adapters.postgres.tracing.writes.deletes import (
    DELETE_EVALUATIONS_OF_RESPONSES,
    LOCK_DATASETS_OF_COPIES,
    TRACES_PER_TRANSACTION,
)
from adapters.postgres.tracing.writes.row_updates import DELETE_SPANS_BY_KEY
from application.privacy.ports import ERASURES_IN_PROGRESS_MAX
from application.tracing.otlp.ports import BATCH_BYTES
from domain.evaluation.scores.score import (
    CreatedWithin,
    ScoreChange,
    ScoreFilter,
    ScoreSource,
    ScoreStatus,
    ScoreTarget,
)
from domain.ids import ProjectId, RunId, SpanId, TraceId
from domain.page import PageRequest, Position, SortOrder
from domain.privacy.erasure import DataSubjectKind
from domain.tracing.analytics import Granularity, Period
from domain.tracing.facet_values import FacetField, FacetQuery
from domain.tracing.otel.fragments import Sent
from domain.tracing.otel.ingestion_warnings import NEWEST_SPANS_MAX
from domain.tracing.payloads.payload_detail import PayloadDetail, PayloadExtent, PayloadName
from domain.tracing.payloads.read_limit import READ_BYTES_MAX
from domain.tracing.query import ScoredOutcome, TraceFilter, TraceSort
from domain.tracing.session import SessionFilter, SessionSort
from domain.tracing.span import SpanChange, SpanKind
from domain.tracing.spans.error_groups import ErrorFilter, ErrorSort
from domain.tracing.spans.span_analytics import SpanAnalyticsQuery, SpanGroupKey, SpanInterval
from domain.tracing.spans.span_query import COUNTED_SPANS_MAX, SpanFilter, SpanSort
from domain.tracing.trace import TraceChange, TraceStatus
from domain.tracing.trace_breakdown import TraceAnalyticsQuery, TraceGroupKey
from entrypoints.composition.otlp_rules import fragment_rules
from tests.support.builders.datasets import a_dataset
from tests.support.builders.many_scores import NAMES, OF_RUN, SESSION_NAMES, UNTIL
from tests.support.builders.otel import fragments, sent_record, sent_span
from tests.support.builders.scores import session_score, trace_score
from tests.support.builders.values import at, project_prices, span, trace, trace_id
from tests.support.fixtures.seeded_database import (
    END,
    ERROR_GROUPS,
    FAILED_SPANS,
    HOUR,
    LONG,
    OURS,
    SCORES,
    SESSIONS,
    SPAN_SCORES,
    START,
    TRACES,
    UNKNOWN,
    Seeded,
)
from tests.support.fixtures.servers import citus

pytestmark = pytest.mark.service

type Read = Callable[[Seeded, ProjectId], Awaitable[object]]

LARGE: Final = {
    "traces",
    "span_rows",
    "span_fragment_rows",
    "sessions",
    "trace_scores",
    "session_scores",
    "latest_trace_scores",
}
PAGE: Final = 51  # one more than is shown
HIDE: Final = """
INSERT INTO erasures (project_id, id, organization_id, kind, owner, salt, digest, state,
                      requested_at, actor_name, rows)
VALUES ($1, gen_random_uuid(), $1, 'user', 'user-1', '', '', 'REMOVING', now(), '', '{}')
"""
HIDE_MANY: Final = f"""
INSERT INTO erasures (project_id, id, organization_id, kind, owner, salt, digest, state,
                      requested_at, actor_name, rows)
SELECT $1, gen_random_uuid(), $1, CASE WHEN i % 2 > 0 THEN 'user' ELSE 'session' END,
       'nobody-' || i, '', '', 'REMOVING', now(), '', '{{}}'
FROM generate_series(2, {ERASURES_IN_PROGRESS_MAX}) AS i
"""
SHOW: Final = "DELETE FROM erasures WHERE project_id = $1"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """With Citus, those of the worker as well, with names as on plain PostgreSQL."""
    yield citus.with_names_of_tables(plan)
    for inner in (*plan.get("Plans", ()), *citus.plans_of_tasks(plan)):
        yield from nodes(inner)


async def plans(seeded: Seeded, read: Read, project: ProjectId = OURS) -> list[Any]:
    """The plans of every statement of a read that regards a project, as they are carried out."""
    seeded.statements.clear()
    await read(seeded, project)
    asked = [one for one in seeded.statements if "$1" in one.query and "UPDATE" not in one.query]
    assert asked
    found = []
    for one in asked:
        async with read_snapshot(seeded.pool, "", project, hide_erased_in=project) as connection:
            sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {one.query}"
            text = await connection.fetchval(sql, *one.args)
        found += nodes(json.loads(text)[0]["Plan"])
    return found


def read_rows(found: list[Any]) -> Counter[str]:
    """How many rows or entries of each table were looked at."""
    rows: Counter[str] = Counter()
    for node in found:
        if "Relation Name" in node:
            passed = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            passed += node.get("Rows Removed by Index Recheck", 0)
            rows[node["Relation Name"]] += round(passed * node["Actual Loops"])
    return rows


def scanned_whole(found: list[Any]) -> set[str]:
    whole = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
    return whole & LARGE  # the others are small, as are their scans


def traces(
    matching: TraceFilter | None = None,
    sort: TraceSort = TraceSort.STARTED_AT,
    order: SortOrder = SortOrder.DESC,
    window: PageRequest | None = None,
) -> Read:
    wanted = matching or TraceFilter()
    return lambda at, project_id: at.lists.summaries(
        project_id, wanted, sort, order, window or PageRequest()
    )


def sessions(
    matching: SessionFilter | None = None,
    sort: SessionSort = SessionSort.RECENT,
    window: PageRequest | None = None,
) -> Read:
    wanted = matching or SessionFilter()
    return lambda at, project_id: at.sessions.summaries(
        project_id, wanted, sort, SortOrder.DESC, window or PageRequest()
    )


def spans(
    sort: SpanSort = SpanSort.STARTED_AT, window: PageRequest | None = None, **conditions: Any
) -> Read:
    wanted = SpanFilter(**conditions)
    return lambda at, project_id: at.spans.summaries(
        project_id, wanted, sort, SortOrder.DESC, window or PageRequest()
    )


def rare_spans(**conditions: Any) -> Read:
    """Spans of which the first ones are compared before the roll-ups are asked."""
    wanted, by = SpanFilter(**conditions), (SpanSort.STARTED_AT, SortOrder.DESC, PageRequest())
    said = {"walk_limits": WalkLimits(first_spans=COMPARED), "searched_traces_max": 100}
    return lambda at, project_id: PostgresSpans(at.pool, **said).summaries(project_id, wanted, *by)


def errors(period: Period, *, is_new: bool | None = None) -> Read:
    wanted = ErrorFilter(period=period, is_new=is_new)
    return lambda at, project_id: at.spans.error_groups(
        project_id, wanted, ErrorSort.COUNT, SortOrder.DESC, PageRequest()
    )


def span_figures(
    group_by: SpanGroupKey, interval: SpanInterval, period: Period, **conditions: Any
) -> Read:
    query = SpanAnalyticsQuery(
        matching=SpanFilter(**conditions), period=period, group_by=group_by, interval=interval
    )
    return lambda at, project_id: at.spans.analytics(project_id, query)


def figures(metric: str, *arguments: object) -> Read:
    return lambda at, project_id: getattr(at.analytics, metric)(project_id, *arguments)


def scores(window: PageRequest | None = None, **conditions: Any) -> Read:
    """Each value may be a function of the project."""

    def read(at: Seeded, project_id: ProjectId) -> Awaitable[object]:
        said = {key: one(project_id) if callable(one) else one for key, one in conditions.items()}
        return at.evaluation.trace_scores.page(
            project_id, ScoreFilter(**said), window or PageRequest()
        )

    return read


def run_of(project: ProjectId) -> RunId:
    """The run of the first scores."""
    return RunId(UUID(hashlib.md5(f"{project}run0".encode()).hexdigest()))


def trace_of(project: ProjectId) -> TraceId:
    """The trace of the first scores."""
    return TraceId(UUID(hashlib.md5(f"{project}0".encode()).hexdigest()))


def span_of(project: ProjectId) -> SpanId:
    """The span of the first scores of spans."""
    return SpanId(UUID(hashlib.md5(str(trace_of(project)).encode()).hexdigest()))


def score_figures(figure: str, *arguments: object) -> Read:
    return lambda at, project_id: getattr(at.evaluation.score_analytics, figure)(
        project_id, *arguments
    )


def exported(session: str) -> Read:
    async def read(at: Seeded, project_id: ProjectId) -> None:
        archive = PostgresTraceArchive(at.pool, at.pool, 60)
        matching = TraceFilter(session_id=session)
        by = (TraceSort.STARTED_AT, SortOrder.ASC)
        async with archive.read(project_id, matching, *by, []) as batches:
            found = [one async for batch in batches for one in batch]
        assert [len(one.session_scores) for one in found] == [4, *[0] * (LONG - 1)]

    return read


def labels(question: str, *arguments: object) -> Read:
    return lambda at, project_id: getattr(at.evaluation.labels, question)(project_id, *arguments)


DAY_END = END - timedelta(hours=1, minutes=10)
LAST_DAY = TraceFilter(started_after=END - timedelta(days=1))
PERIOD = Period(START + timedelta(minutes=10), DAY_END)
LAST_PERIOD = Period(END - timedelta(days=1), END)
LAST_SCORES = CreatedWithin(UNTIL - timedelta(days=3), UNTIL)
OF_NAME: Final = SCORES // len(NAMES)
LOOKS_MAX: Final = 30  # of the views in what one read asks, users and sessions apart
COUNTED = COUNTED_SPANS_MAX + PAGE
COMPARED: Final = 1_000  # spans; at most a fifth more, and once more if their trace is looked up
SHOWN = 2 * PAGE  # keys by index, then the rows they lead to
# For each read: how many rows it may look at, of each table that it may look at.
READS: dict[str, tuple[Read, dict[str, int]]] = {
    **{
        f"traces by {sort} {order}": (traces(None, sort, order), {"traces": SHOWN})
        for sort in TraceSort
        for order in SortOrder
    },
    "traces at an offset": (traces(window=PageRequest(offset=9_000)), {"traces": 9_000 + SHOWN}),
    "traces near the end": (traces(window=PageRequest(offset=19_900)), {"traces": 100 + SHOWN}),
    "session": (traces(TraceFilter(session_id="conv-7")), {"traces": SHOWN}),
    "user": (traces(TraceFilter(user_id="user-7")), {"traces": SHOWN}),
    "environment": (traces(TraceFilter(environment="staging")), {"traces": SHOWN}),
    "release": (traces(TraceFilter(release="1.3")), {"traces": SHOWN}),
    "release by name": (
        traces(TraceFilter(release="1.3"), TraceSort.NAME),
        {"traces": 2_000 + SHOWN},
    ),
    "status": (traces(TraceFilter(status=TraceStatus.ERROR)), {"traces": 2_000 + SHOWN}),
    "a rare tag": (traces(TraceFilter(tags=("canary",))), {"traces": 200 + SHOWN}),
    "a common tag": (traces(TraceFilter(tags=("prod",))), {"traces": SHOWN}),
    "two tags": (traces(TraceFilter(tags=("canary", "none"))), {"traces": 200 + SHOWN}),
    "part of a name": (traces(TraceFilter(name="RUN 1")), {"traces": 2 * SHOWN}),
    "a rare name": (traces(TraceFilter(name="n 19")), {"traces": 1_000 + SHOWN}),
    "whole names": (traces(TraceFilter(names=("run 19", "run 7"))), {"traces": 1_000 + SHOWN}),
    "a day": (traces(LAST_DAY), {"traces": 3 * HOUR + SHOWN}),
    "a day by latency": (traces(LAST_DAY, TraceSort.LATENCY), {"traces": 27 * HOUR + SHOWN}),
    "model": (traces(TraceFilter(model="tiny")), {"traces": 1_000 + SHOWN}),
    "latency": (traces(TraceFilter(min_latency_ms=6_900)), {"traces": 3 * 240 + SHOWN}),
    "expensive": (traces(TraceFilter(min_cost=1e6), TraceSort.COST), {"traces": SHOWN}),
    "many tokens": (traces(TraceFilter(min_tokens=10**9)), {"traces": SHOWN}),
    "many spans": (
        traces(TraceFilter(min_span_count=10**6), TraceSort.SPAN_COUNT),
        {"traces": SHOWN},
    ),
    "two environments": (
        traces(TraceFilter(environments=("staging", "production"))),
        {"traces": 2 * SHOWN},
    ),
    "all of two tags": (traces(TraceFilter(tags_all=("canary", "prod"))), {"traces": 200 + SHOWN}),
    "failed": (traces(TraceFilter(has_error=True)), {"traces": SHOWN}),
    "not failed": (traces(TraceFilter(has_error=False)), {"traces": 2 * SHOWN}),
    "metadata": (traces(TraceFilter(metadata=(("tenant", ("t-7",)),))), {"traces": 100 + SHOWN}),
    "other environments": (
        traces(TraceFilter(not_environment=("staging",))),
        {"traces": 2 * SHOWN},
    ),
    "other tags and users": (
        traces(TraceFilter(not_tags=("canary",), not_user_id=("user-7",))),
        {"traces": TRACES + 2 * SHOWN},  # counted
    ),
    "other metadata": (
        traces(TraceFilter(not_metadata=(("tenant", ("t-7",)),))),
        {"traces": 2 * SHOWN},
    ),
    "a user's failures": (
        traces(TraceFilter(user_id="user-40", has_error=True)),
        {"traces": 40 + SHOWN},
    ),
    # The index names traces that had such a span.
    "name of a span": (
        traces(TraceFilter(span_name="find")),
        {"traces": 500 + SHOWN, "span_rows": 3 * 500},
    ),
    "name and kind of a span": (
        traces(TraceFilter(span_name="find", span_kind=SpanKind.LLM), TraceSort.COST),
        {"traces": 500 + SHOWN, "span_rows": 3 * 500},
    ),
    "no span of a kind": (traces(TraceFilter(span_kind=SpanKind.TOOL)), {}),
    "a common kind of spans": (
        traces(TraceFilter(span_kind=SpanKind.LLM)),
        {"traces": TRACES + SHOWN, "span_rows": TRACES},  # counted and sorted
    ),
    "low scores": (
        traces(TraceFilter(score="quality", score_max=0.004)),
        {"traces": 60 + SHOWN, "latest_trace_scores": 2 * 60},
    ),
    "low scores by cost": (
        traces(TraceFilter(score="quality", score_max=0.004), TraceSort.COST),
        {"traces": 60 + SHOWN, "latest_trace_scores": 2 * 60},
    ),
    "no such score": (traces(TraceFilter(score="nothing")), {}),
    "failed scores": (
        traces(TraceFilter(score="quality", score_outcome=ScoredOutcome.FAILED)),
        {},
    ),
    "traces without a span of a name": (
        traces(TraceFilter(not_span_name=("find",))),
        {"traces": TRACES + 2 * SHOWN, "span_rows": 3 * 500},  # counted
    ),
    "traces without a score": (
        traces(TraceFilter(not_score=("nothing",))),
        {"traces": TRACES + 2 * SHOWN},  # counted
    ),
    "traces without a score that all have": (
        traces(TraceFilter(not_score=("quality",))),
        {"traces": 2 * TRACES, "latest_trace_scores": 2 * TRACES},
    ),
    "scored traces": (
        traces(TraceFilter(score="quality", score_min=0.0)),
        {"traces": TRACES + SHOWN, "latest_trace_scores": 2 * TRACES},  # counted and sorted
    ),
    "scores of a user": (
        traces(TraceFilter(user_id="user-7", score="quality", score_min=0.01)),
        {"traces": 20 + SHOWN, "latest_trace_scores": TRACES + 20},  # counted
    ),
    "scored traces of the failed": (
        traces(TraceFilter(has_failed_span=True, score="quality", score_max=0.004)),
        {"traces": 60 + SHOWN, "latest_trace_scores": 2 * 60},
    ),
    **{f"sessions by {sort}": (sessions(None, sort), {"sessions": SHOWN}) for sort in SessionSort},
    "failed sessions": (sessions(SessionFilter(has_error=True)), {"sessions": SHOWN}),
    "sessions without failure": (
        sessions(SessionFilter(has_error=False)),
        {"sessions": 3 * SHOWN},
    ),
    "part of a session's id": (
        sessions(SessionFilter(query="v-123")),
        {"sessions": 11 + SHOWN},
    ),
    "sessions of a day": (
        sessions(SessionFilter(started_after=LAST_DAY.started_after)),
        {"sessions": 3 * 240 + SHOWN, "traces": 12},
    ),
    "sessions of a user": (
        sessions(SessionFilter(user_id="user-7")),
        {"traces": 40 + 8 * PAGE, "sessions": 0},
    ),
    "sessions with a rare tag": (
        sessions(SessionFilter(tags=("canary",))),
        {"traces": 200 + 8 * PAGE, "sessions": 0},
    ),
    # The traces that are counted, those of a step, and some of each of its sessions.
    "sessions with a frequent tag": (
        sessions(SessionFilter(tags=("prod",))),
        {"traces": TRACES + 9 * 1_000, "sessions": 400},
    ),
    "sessions with a frequent tag, at a cursor": (
        sessions(
            SessionFilter(tags=("prod",)),
            window=PageRequest(after=Position(START + timedelta(days=3), "conv-7")),
        ),
        {"traces": TRACES + 9 * 1_000, "sessions": SESSIONS},
    ),
    "sessions with a frequent tag by cost": (
        sessions(SessionFilter(tags=("prod",)), SessionSort.COST),
        {"traces": TRACES + 8 * PAGE, "sessions": 0},
    ),
    # The spans that are counted, those of the page, and their rows.
    "spans": (spans(), {"span_rows": COUNTED + SHOWN, "traces": PAGE}),
    "spans at an offset": (
        spans(window=PageRequest(offset=9_000)),
        {"span_rows": COUNTED + 9_000 + SHOWN, "traces": PAGE},
    ),
    "spans of a model": (
        spans(model="o3"),
        {"span_rows": COUNTED + 4 * PAGE + SHOWN, "traces": PAGE},
    ),
    "spans of a model that none has": (spans(model="nobody-has-it"), {}),
    **{
        f"spans with more {what} than any": (
            rare_spans(**{f"min_{what}": 10**6}, kind=SpanKind.LLM),
            {"span_rows": 2 * COMPARED},
        )
        for what in ("tokens", "cost")
    },
    "spans that took longer than any": (
        rare_spans(min_latency_ms=1e9),
        {"span_rows": 2 * COMPARED},
    ),
    "spans of a release that is over": (
        rare_spans(release="1.3"),
        # A trace has three spans; each hour with traces of the release is looked up, too.
        {"span_rows": 2 * COMPARED + COUNTED + SHOWN, "traces": (COMPARED + COUNTED) // 3 + SHOWN},
    ),
    "failed spans": (spans(has_error=True), {"span_rows": FAILED_SPANS + SHOWN, "traces": PAGE}),
    "spans of a group of errors": (
        spans(error_group=hashlib.md5(b"user-3").hexdigest()[:16]),
        {"span_rows": 2 * FAILED_SPANS // ERROR_GROUPS + SHOWN, "traces": PAGE},
    ),
    "spans of a day by tokens": (
        spans(SpanSort.TOKENS, started_after=LAST_DAY.started_after),
        {"span_rows": 25 * 3 * HOUR + SHOWN, "traces": PAGE},
    ),
    "spans of a session": (
        spans(session_id="conv-7"),
        {"span_rows": 3 * LONG + SHOWN, "traces": LONG + PAGE},
    ),
    "spans of an environment": (
        spans(environment="staging"),
        {
            "span_rows": COUNTED + 6 * PAGE + SHOWN,
            # The numbers of rows that match and that don't are rounded.
            "traces": 5 * COUNTED // 4 + 7 * PAGE,
        },
    ),
    **{
        f"figures of spans by {group_by}": (
            span_figures(group_by, SpanInterval.DAY, PERIOD),
            {"span_rows": 4 * 3 * HOUR},  # of partial hours: counted, and read
        )
        for group_by in (SpanGroupKey.KIND, SpanGroupKey.NAME, SpanGroupKey.MODEL)
    },
    "figures of errors": (
        span_figures(SpanGroupKey.ERROR, SpanInterval.DAY, PERIOD),
        {"span_rows": FAILED_SPANS + 2 * ERROR_GROUPS},
    ),
    "figures of spans of a session": (
        span_figures(SpanGroupKey.NAME, SpanInterval.NONE, PERIOD, session_id="conv-7"),
        {"span_rows": 3 * LONG, "traces": LONG},
    ),
    "figures of spans of a day by latency": (
        span_figures(SpanGroupKey.NAME, SpanInterval.HOUR, LAST_PERIOD, min_latency_ms=1),
        {"span_rows": 2 * 25 * 3 * HOUR},
    ),
    # Groups are counted by index alone.
    "groups of errors": (
        errors(PERIOD),
        {"span_rows": 2 * FAILED_SPANS + ERROR_GROUPS * 60, "traces": ERROR_GROUPS * 60},
    ),
    "new groups of errors": (
        errors(PERIOD, is_new=True),
        {"span_rows": 2 * FAILED_SPANS + ERROR_GROUPS * 60, "traces": ERROR_GROUPS * 60},
    ),
    **{
        f"traces by {by}": (
            figures("groups", TraceAnalyticsQuery(period=LAST_PERIOD, by=by)),
            {"traces": 25 * HOUR},
        )
        for by in (None, TraceGroupKey.ENVIRONMENT, TraceGroupKey.RELEASE, TraceGroupKey.USER)
    },
    "traces of a user by release": (
        figures(
            "groups",
            TraceAnalyticsQuery(
                period=PERIOD, matching=TraceFilter(user_id="user-7"), by=TraceGroupKey.RELEASE
            ),
        ),
        {"traces": 40 + 2 * HOUR},
    ),
    "usage by model and day of a zone": (
        figures("model_usage", PERIOD, Granularity.DAY, ZoneInfo("Europe/Berlin")),
        {"span_rows": 2 * 3 * HOUR},
    ),
    "usage": (figures("usage", PERIOD, Granularity.HOUR), {"span_rows": 2 * 3 * HOUR}),
    "usage by day": (figures("usage", PERIOD, Granularity.DAY), {"span_rows": 2 * 3 * HOUR}),
    "models": (figures("models", PERIOD), {"span_rows": 2 * 3 * HOUR}),
    "volume by hour": (figures("volume", PERIOD, Granularity.HOUR), {"traces": 2 * HOUR}),
    "volume by day": (figures("volume", PERIOD, Granularity.DAY), {"traces": 2 * 24 * HOUR}),
    "sessions over time": (
        figures("sessions", PERIOD, Granularity.DAY),
        {"sessions": 4 * HOUR // LONG, "traces": 16},  # of the hours at the two ends
    ),
    "users": (figures("users", PageRequest()), {}),
    "values": (
        figures("facets", FacetQuery(FacetField.SESSION, "conv-10")),
        {"sessions": SESSIONS // 5, "traces": TRACES // 5},
    ),
    "values of the traces of a user": (
        figures("facets", FacetQuery(FacetField.TAG, matching=TraceFilter(user_id="user-7"))),
        {"traces": 40 + 2 * HOUR},
    ),
    "sources": (figures("are_sources_mixed", PERIOD), {"span_rows": NEWEST_SPANS_MAX}),
    # Totals are counted by an index, so are figures.
    "scores": (scores(), {"trace_scores": SCORES + SHOWN}),
    "scores at an offset": (
        scores(PageRequest(offset=9_000)),
        {"trace_scores": SCORES + 9_000 + SHOWN},
    ),
    "scores of a name": (scores(name=NAMES[3]), {"trace_scores": OF_NAME + SHOWN}),
    "scores of a run": (scores(run_id=run_of), {"trace_scores": OF_RUN + SHOWN}),
    "scores of a trace": (scores(trace_id=trace_of), {"trace_scores": 10 + 2 * PAGE}),
    "scores by a source": (
        scores(source=ScoreSource.ANNOTATION),
        {"trace_scores": 2 * SCORES + SHOWN},
    ),
    "scores of a name that failed": (
        scores(name=NAMES[0], status=ScoreStatus.FAILED),
        {"trace_scores": 2 * OF_NAME + SHOWN},
    ),
    "scores of three days": (
        scores(created_after=UNTIL - timedelta(days=3)),
        {"trace_scores": SCORES // 10 + SHOWN},
    ),
    "the latest scores of a trace": (
        lambda at, project_id: at.evaluation.trace_scores.latest(project_id, trace_of(project_id)),
        {"trace_scores": 10},
    ),
    "scores of spans": (scores(of_spans=True), {"trace_scores": SPAN_SCORES + SHOWN}),
    "scores of spans of a name": (
        scores(of_spans=True, name=NAMES[3]),
        {"trace_scores": SPAN_SCORES // 10 + SHOWN},
    ),
    "scores of the spans of a trace": (
        scores(of_spans=True, trace_id=trace_of),
        {"trace_scores": 10 + 2 * PAGE},
    ),
    "scores of a span": (scores(span_id=span_of), {"trace_scores": 10 + 2 * PAGE}),
    "the latest scores of a span": (
        lambda at, project_id: at.evaluation.trace_scores.latest(
            project_id, trace_of(project_id), span_of(project_id)
        ),
        {"trace_scores": 10},
    ),
    # No run has scored spans, which is found out by reading all of a name.
    "a summary of scores of spans": (
        score_figures("summaries", ScoreTarget.SPAN, CreatedWithin()),
        {"trace_scores": 2 * SPAN_SCORES + 500},
    ),
    "a distribution of scores of spans": (
        score_figures("distribution", ScoreTarget.SPAN, NAMES[3], 10, CreatedWithin()),
        {"trace_scores": 2 * SPAN_SCORES // 10 + 50},
    ),
    "all scores of a run": (
        lambda at, project_id: at.evaluation.trace_scores.by_run(project_id, run_of(project_id)),
        {"trace_scores": OF_RUN},
    ),
    "a summary of scores": (
        score_figures("summaries", ScoreTarget.TRACE, CreatedWithin()),
        {"trace_scores": 2 * SCORES + 500},  # again for fingerprints, which change
    ),
    "a summary of scores of three days": (
        score_figures("summaries", ScoreTarget.TRACE, LAST_SCORES),
        {"trace_scores": SCORES // 10 + 500},
    ),
    "a trend of scores": (
        score_figures("trend", ScoreTarget.TRACE, (NAMES[3],), Granularity.DAY, LAST_SCORES),
        {"trace_scores": OF_NAME // 10 + 50},
    ),
    "a distribution of scores": (
        score_figures("distribution", ScoreTarget.TRACE, NAMES[3], 10, CreatedWithin()),
        {"trace_scores": OF_NAME + 50},
    ),
    "judges held against people": (
        labels("compare_with_human_labels", NAMES[3], 0.5, CreatedWithin()),
        {"trace_scores": OF_NAME + 3 * OF_NAME // 10},  # each label, and the scores of its trace
    ),
    "judges held against people in three days": (
        labels("compare_with_human_labels", NAMES[3], 0.5, LAST_SCORES),
        {"trace_scores": OF_NAME // 10 + 3 * OF_NAME // 100 + 20},
    ),
    "what people may label next": (
        labels("annotation_queue", NAMES[3], 0.5, "seed", 20),
        {"trace_scores": 2 * OF_NAME + 2 * 20},  # each score, and whether a label exists
    ),
    "how long the annotation queue is": (
        lambda at, project_id: at.evaluation.annotation_claims.progress(
            project_id, NAMES[3], UNTIL
        ),
        {"trace_scores": 3 * OF_NAME},
    ),
    "all scores of a session": (
        lambda at, project_id: at.evaluation.session_scores.by_session(project_id, "conv-7"),
        {"session_scores": 4},
    ),
    "an export of a session": (
        exported("conv-7"),
        # Weighed, and read.
        {"traces": 2 * LONG, "span_rows": 2 * 3 * LONG, "session_scores": 2 * 4},
    ),
    "a session's history": (
        score_figures("history", "conv-7", None, 50),
        {"session_scores": 4},
    ),
    "sessions compared": (
        score_figures("comparison", SESSION_NAMES[0], SortOrder.ASC, PageRequest()),
        {"session_scores": SCORES // 4},
    ),
}
EXACT: Final = {
    "trace_facets",
    "trace_hours",
    "trace_percentiles",
    "trace_users",
    "usage_hours",
    "span_hours",
    "session_hours",
}  # what is counted


# With the policies of a cluster, counts of a project read it whole, where one index is as good as
# another.
BESIDE_POLICY: Final = "under the policies of Citus one index is as good as another"
WITHOUT_INDEX: Final = {"spans", "scores by a source"}
ON_18: Final = {"a trend of scores"}  # PostgreSQL 17 doesn't skip from value to value of an index


def reason_to_skip(read: str) -> str | None:
    if read in WITHOUT_INDEX:
        return BESIDE_POLICY
    return "PostgreSQL before 18 reads more of an index" if read in ON_18 else None


OF_BOTH: Final = pytest.mark.parametrize("project_id", [OURS, UNKNOWN], ids=["known", "unknown"])
KEYS: Final = {
    "span_fragment_rows": ("trace_id",),
    "traces": ("trace_id", "session_id", "user_id"),
    "trace_payloads": ("trace_id",),
    "span_rows": ("trace_id", "response_hash = "),
    "sessions": ("session_id",),
    "trace_scores": ("id", "trace_id"),
    "session_scores": ("id", "session_id"),
    "trace_facets": ("value",),
    "usage_hours": ("hour",),
    "span_hours": ("hour",),
}


@pytest.mark.parametrize(
    ("project_id", "read"),
    [
        pytest.param(
            project_id,
            read,
            id=f"{read}-{'unknown' if project_id is UNKNOWN else 'known'}",
            marks=() if (turn + (project_id is UNKNOWN)) % 2 else pytest.mark.exhaustive,
        )
        for turn, read in enumerate(READS)
        for project_id in (OURS, UNKNOWN)
    ],
)
async def test_reads_scan_only_the_rows_they_need(seeded, project_id, read):
    """In `make test`, each with the statistics of its turn."""
    if citus.IS_USED and (reason := reason_to_skip(read)):
        pytest.skip(reason)
    act, most = READS[read]
    await act(seeded, project_id)  # percentiles are computed once, and then kept
    found = await plans(seeded, act, project_id)
    rows = read_rows(found)
    looked_at = {table: count for table, count in rows.items() if count and table not in EXACT}
    assert looked_at.keys() <= most.keys()
    assert {table: rows for table, rows in looked_at.items() if rows > most[table]} == {}
    assert scanned_whole(found) == set()


@pytest.mark.parametrize(
    ("read", "project_id"),
    [
        # Every third read, known and unknown by turns; `make test-all` tries both for each.
        pytest.param(read, project_id, marks=() if n % 6 == 3 * turn else pytest.mark.exhaustive)
        for n, read in enumerate(READS)
        for turn, project_id in enumerate((UNKNOWN, OURS))
    ],
)
async def test_hidden_rows_are_checked_one_by_one(seeded, read, project_id):
    """Runs with as many erasures as can be active, under every kind of statistics.

    No table is scanned whole, and the active erasures are read once for each table, not for each of
    its rows.
    """
    act, _ = READS[read]
    for sql in (HIDE, HIDE_MANY):
        await seeded.owner.execute(sql, project_id)
    try:
        found = await plans(seeded, act, project_id)
    finally:
        await seeded.owner.execute(SHOW, project_id)
    assert scanned_whole(found) == set()
    assert read_rows(found)["erasures"] <= LOOKS_MAX * ERASURES_IN_PROGRESS_MAX


@OF_BOTH
async def test_a_part_of_many_ids_is_looked_for_in_the_newest_by_index_alone(seeded, project_id):
    limits = IdWalkLimits(counted=0, tried=400, least_step=400)
    few = replace(seeded.sessions, id_walk_limits=limits)
    by = (SessionSort.RECENT, SortOrder.DESC, PageRequest())

    async def found(_: Seeded, project_id: ProjectId) -> None:
        page = await few.summaries(project_id, SessionFilter(query="CONV-1"), *by)
        assert page.total_is_at_least

    nodes_ = await plans(seeded, found, project_id)
    assert read_rows(nodes_)["sessions"] <= 400 + SHOWN
    walks = {node["Node Type"] for node in nodes_ if node.get("Index Name") == "sessions_recent"}
    assert walks == {"Index Only Scan"}
    assert scanned_whole(nodes_) == set()


@OF_BOTH
async def test_a_part_of_no_id_is_looked_for_in_few_of_the_newest(seeded, project_id):
    """Then all ids are compared, so that those of the newest would be compared twice."""
    limits = IdWalkLimits(counted=0, tried=400, least_step=20)
    few = replace(seeded.sessions, id_walk_limits=limits)
    by = (SessionSort.RECENT, SortOrder.DESC, PageRequest())

    async def found(_: Seeded, project_id: ProjectId) -> None:
        page = await few.summaries(project_id, SessionFilter(query="nowhere"), *by)
        assert (page.total, page.total_is_at_least) == (0, False)

    assert read_rows(await plans(seeded, found, project_id))["sessions"] <= 20


@OF_BOTH
async def test_sessions_of_a_tag_are_found_without_those_that_ended_before(seeded, project_id):
    """Nearly all sessions began before the newest traces, and ended before them."""
    limits = SessionWalkLimits(grouped=0, grouped_by_sum=0)
    walking = replace(seeded.sessions, walk_limits=limits)
    by = (SessionSort.RECENT, SortOrder.DESC, PageRequest(limit=10))

    async def found(_: Seeded, project_id: ProjectId) -> None:
        page = await walking.summaries(project_id, SessionFilter(tags=("prod",)), *by)
        assert len(page.items) == 10

    plan = [one for one in await plans(seeded, found, project_id) if one["Actual Loops"]]
    assert any("last_activity_at >=" in one.get("Index Cond", "") for one in plan)
    # The start is compared outside, so that no statistics make the planner take the index of it.
    reads = [one for one in plan if one.get("Relation Name") == "sessions"]
    assert [one for one in reads if "first_started_at <" in one.get("Filter", "")] == []


@OF_BOTH
async def test_sessions_of_a_period_are_found_without_those_before_it(seeded, project_id):
    """Entries of an index that its condition passes over aren't rows, but take time as well."""
    wanted = SessionFilter(started_after=END - timedelta(days=2), started_before=DAY_END)
    found = await plans(seeded, sessions(wanted), project_id)
    looks = [
        node["Index Cond"]
        for node in found
        if node.get("Index Name", "").startswith("sessions_")
        and node["Index Name"] != "sessions_pkey"  # of the page
    ]
    assert looks
    assert [one for one in looks if "first_started_at >=" not in one] == []


@OF_BOTH
@pytest.mark.parametrize("by", [Granularity.HOUR, Granularity.DAY])
async def test_percentiles_are_computed_of_each_trace_once(seeded, project_id, by):
    seeded.statements.clear()
    await seeded.owner.execute("DELETE FROM trace_percentiles WHERE project_id = $1", project_id)
    await figures("volume", PERIOD, by)(seeded, project_id)
    asked = [one for one in seeded.statements if one.query == COMPUTE_BUCKETS]
    looked_at = 0
    for one in asked:
        async with read_snapshot(seeded.pool, "", project_id) as connection:
            sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {one.query}"
            found = await connection.fetchval(sql, *one.args)
        looked_at += read_rows([*nodes(json.loads(found)[0]["Plan"])])["traces"]
    assert 0 < looked_at <= TRACES


class CutOffConnection(asyncpg.Connection):
    """Ends after the first statement that computes percentiles."""

    async def fetch(self, query: str, *values: Any, **options: Any) -> Any:
        rows = await super().fetch(query, *values, **options)
        if query == COMPUTE_BUCKETS:
            self.terminate()
        return rows


async def test_percentiles_of_a_read_that_was_cut_off_are_kept(seeded):
    """The connection ends after the first of two statements."""
    count = "SELECT count(*) FROM trace_percentiles WHERE project_id = $1"
    await seeded.owner.execute("DELETE FROM trace_percentiles WHERE project_id = $1", OURS)
    reader = VolumeReader(OURS, Granularity.HOUR, latencies_at_once=6_000)
    connection = await asyncpg.connect(seeded.url, connection_class=CutOffConnection)
    with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresError, ConnectionError)):
        await reader.read(connection, Period(START, END))
    assert await seeded.owner.fetchval(count, OURS) == 0
    await reader.keep(seeded.owner)
    kept = await seeded.owner.fetchval(count, OURS)
    assert 200 < kept < 400
    buckets = await seeded.analytics.volume(OURS, Period(START, END), Granularity.HOUR)
    assert len(buckets) > kept
    assert {one.bucket for one in buckets} > {new["bucket"] for _, new in reader.computed}


async def test_figures_of_errors_are_read_from_an_index_alone(seeded):
    act = span_figures(SpanGroupKey.ERROR, SpanInterval.NONE, Period(END - timedelta(days=5), END))
    reads = [node for node in await plans(seeded, act) if node.get("Index Name") == "spans_failed"]
    assert {node["Node Type"] for node in reads} == {"Index Only Scan"}


@pytest.mark.parametrize("sort", TraceSort)
async def test_later_cursor_page_costs_as_much_as_first(seeded, sort):
    page = await seeded.lists.summaries(
        OURS, TraceFilter(), sort, SortOrder.DESC, PageRequest(limit=200, offset=900)
    )
    found = await plans(seeded, traces(None, sort, window=PageRequest(after=page.end)))
    assert read_rows(found)["traces"] <= SHOWN


@OF_BOTH
async def test_counting_ends_where_many_match(seeded, project_id):
    counted = 500
    lists = TraceLists(seeded.pool, sorted_max=counted, counted_max=counted)
    trace_scores = PostgresTraceScores(seeded.pool, counted_max=counted, sampled_max=counted)

    async def tagged(_: Seeded, project_id: ProjectId) -> None:
        matching = TraceFilter(tags=("canary", "prod"), environment="production")
        sort, order = TraceSort.STARTED_AT, SortOrder.DESC
        page = await lists.summaries(project_id, matching, sort, order, PageRequest())
        assert (page.total, page.total_is_at_least) == (counted, True)

    async def of_release(_: Seeded, project_id: ProjectId) -> None:
        few = replace(lists, sorted_max=100, counted_max=100)
        matching = TraceFilter(release="1.3", environment="staging")
        sort, order = TraceSort.STARTED_AT, SortOrder.DESC
        page = await few.summaries(project_id, matching, sort, order, PageRequest())
        assert (page.total, page.total_is_at_least) == (100, True)

    async def scored(_: Seeded, project_id: ProjectId) -> None:
        for matching in (ScoreFilter(), ScoreFilter(status=ScoreStatus.SUCCESS)):
            page = await trace_scores.page(project_id, matching, PageRequest())
            assert (page.total, page.total_is_at_least) == (counted, True)

    # The counters tell that more match: only the page is read.
    assert read_rows(await plans(seeded, tagged, project_id))["traces"] <= 6 * SHOWN
    # The bitmap of a value has all traces with it; what is read of the table ends early.
    assert read_rows(await plans(seeded, of_release, project_id))["traces"] <= 2 * TRACES
    found = await plans(seeded, scored, project_id)
    assert read_rows(found)["trace_scores"] <= 4 * counted + 6 * SHOWN
    assert scanned_whole(found) == set()


@OF_BOTH
@pytest.mark.parametrize("offset", [0, 450, 2_000])
async def test_counting_of_users_ends(seeded, project_id, offset):
    """There are 500. Offsets are reached all the same, by either way to read a page."""
    figures_ = PostgresTraceAnalytics(seeded.pool, counted_users=100)
    window = PageRequest(offset=offset)
    page = await figures_.users(project_id, window)
    assert (len(page.items), page.total_is_at_least) == (0 if offset > 500 else 50, True)
    assert page.total == max(100, 500 if offset == 450 else 0)
    found = await plans(
        seeded, lambda _, project_id: figures_.users(project_id, window), project_id
    )
    assert read_rows(found)["trace_users"] <= 101 + min(offset, 500) + SHOWN


async def test_first_page_walks_index_under_generic_plan(seeded):
    seeded.statements.clear()
    for act in (traces(), traces(sort=TraceSort.LATENCY), figures("users", PageRequest())):
        await act(seeded, OURS)
    asked = [one for one in seeded.statements if "$1" in one.query]
    assert len(asked) == 3
    for number, one in enumerate(asked):
        values = ", ".join(f"'{value}'" for value in one.args)
        async with seeded.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE first_{number} AS {one.query}")
            sql = f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE first_{number}({values})"
            found = list(nodes(json.loads(await connection.fetchval(sql))[0]["Plan"]))
        assert scanned_whole(found) == set()
        assert read_rows(found)["traces"] <= SHOWN


@OF_BOTH
async def test_session_is_read_by_its_traces(seeded, project_id):
    window = PageRequest(limit=2)
    found = await plans(
        seeded, lambda at, project_id: at.sessions.get(project_id, "conv-7", window), project_id
    )
    rows = read_rows(found)
    assert rows["sessions"] == 1
    assert rows["span_rows"] == 2 * 2 * 3
    assert rows["traces"] <= 3 * 4


@OF_BOTH
async def test_turns_of_session_are_read_by_their_traces(seeded, project_id):
    window = PageRequest(limit=2)
    rows = read_rows(
        await plans(
            seeded,
            lambda at, project_id: at.sessions.turns(project_id, "conv-7", SortOrder.ASC, window),
            project_id,
        )
    )
    assert rows["sessions"] == 1
    assert rows["span_rows"] == 2 * 3
    assert rows["traces"] <= 2 * (LONG + 3)


@OF_BOTH
async def test_writes_and_details_find_rows_by_key(seeded, project_id):
    first, second = span(model="m"), span()
    one = trace(first, second, session_id="conv-new", user_id="u")
    seeded.statements.clear()
    write = TraceWriter(seeded.pool, project_prices()).write
    await write([(project_id, one)])
    await write([(project_id, replace(one, session_id="conv-newer", user_id="v", input=b"1"))])
    await seeded.edits.add_spans(project_id, one.id, [replace(second, output=b"2"), span()])
    await seeded.edits.change_span(project_id, one.id, first.id, SpanChange(model="n"))
    change = TraceChange(tags=("a",), session_id="conv-new")
    await seeded.edits.change(project_id, one.id, change, READ_BYTES_MAX)
    await seeded.edits.retag(project_id, [one.id], ["b"], ["a"])
    async with read_snapshot(seeded.pool, "", OURS) as connection:
        await fetch_trace(connection, project_id, one.id)
        await fetch_outline(connection, project_id, one.id, 1, 1)
        for extent in map(PayloadExtent, PayloadDetail):
            most = READ_BYTES_MAX
            await fetch_shown_span(connection, project_id, one.id, first.id, extent, bytes_max=most)
            await fetch_detail(connection, project_id, one.id, extent)
            page = PageRequest(limit=1)
            read = partial(
                fetch_shown_spans, connection, project_id, one.id, extent, bytes_max=most
            )
            [shown] = (await read(page)).items
            await read(PageRequest(limit=1, after=shown.position))
        for name, step in product(PayloadName, (None, first.id)):
            await fetch_payload(
                connection, project_id, one.id, step, name, bytes_max=READ_BYTES_MAX
            )
    await seeded.lists.previews(project_id, [one.id])
    evaluation, score = seeded.evaluation, trace_score(project_id, one.id)
    await evaluation.trace_scores.add(score)
    await evaluation.trace_scores.latest_of_traces(project_id, [one.id])
    await evaluation.trace_scores.change(project_id, score.id, ScoreChange(value="1"), at(1), None)
    await evaluation.trace_scores.delete(project_id, score.id)
    await evaluation.trace_scores.add(trace_score(project_id, one.id, span_id=first.id))
    await evaluation.session_scores.add(score := session_score(project_id, "conv-new"))
    await evaluation.session_scores.latest_of_sessions(project_id, ["conv-new"])
    await seeded.sessions.first_inputs(project_id, ["conv-new"])
    await evaluation.session_scores.delete(project_id, score.id)
    assert await seeded.sessions.delete(project_id, "conv-new") == 1
    asked = [(one.query, one.args) for one in seeded.statements]
    assert (await tables_entered_by_key(seeded, asked)).keys() == KEYS.keys()


async def tables_entered_by_key(seeded: Seeded, asked: Sequence[tuple[str, Any]]) -> Counter[str]:
    """The tables that statements find rows of. Each is searched by its key."""
    entered = Counter[str]()
    for query, args in asked:
        if query.startswith("COPY") or not args or not citus.is_explained(query):
            continue
        async with seeded.pool.acquire() as connection:
            text = await citus.explain(connection, "FORMAT JSON", query, *args)
        for node in nodes(json.loads(text)[0]["Plan"]):
            # What gives the places of a scan by TID is a node of its own.
            if node["Node Type"] in {"ModifyTable", "Tid Scan"}:
                continue
            if (table := node.get("Relation Name")) in KEYS:
                condition = node.get("Index Cond", "") or node.get("Recheck Cond", "")
                assert any(key in condition for key in KEYS[table]), (query, node)
                entered[table] += 1
    return entered


@OF_BOTH
async def test_fragments_find_rows_by_key(seeded, project_id):
    id_, other, native = trace_id(), trace_id(), trace()
    write = OtlpWriter(seeded.pool, project_prices(), fragment_rules()).write

    async def put(trace: TraceId, *sent: Sent, size: int = 1_000) -> None:
        await write([(project_id, trace, fragments(trace, *sent, size=size))])

    inner = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 1,
             "gen_ai.input.messages": '[{"role":"user","content":"hi"}]'}  # fmt: skip
    record = sent_record("gen_ai.choice", span_id="f" * 16)
    answered = sent_record("claude_code.assistant_response", {"response": "ho"}, span_id="f" * 16)
    await TraceWriter(seeded.pool, project_prices()).write([(project_id, native)])
    seeded.statements.clear()
    await put(id_, record, answered)
    await put(id_, sent_span(inner, parent_span_id="e" * 16))
    await put(id_, sent_span(span_id="f" * 16), sent_span(span_id="d" * 16), size=BATCH_BYTES)
    await put(id_, sent_span({"gen_ai.usage.input_tokens": 1}, span_id="e" * 16, end_ns=0))
    await put(id_, sent_span({"gen_ai.usage.input_tokens": 1, "user.id": "u"}, span_id="e" * 16))
    await put(native.id, sent_span())
    await put(other, sent_span(parent_span_id="e" * 16))
    await settle_open_traces(seeded.edits, fragment_rules(), datetime.now(UTC))
    assert await seeded.edits.delete(project_id, [id_, other, native.id]) == 3
    asked = [(one.query, one.args) for one in seeded.statements]
    asked += [
        (SELECT_NODES, ([project_id], [id_])),
        (DELETE_SPANS_BY_KEY, ([project_id], [id_], [id_])),
    ]
    asked = [one for one in asked if one[0] != LOCK_OPEN_TRACES]  # by age, see below
    entered = await tables_entered_by_key(seeded, asked)
    assert {"traces", "trace_payloads", "span_rows", "span_fragment_rows"} <= entered.keys()


OPEN: Final = (
    # Twelve of thousands, in each project.
    """
    UPDATE traces SET otlp_stored_at = started_at, otlp_phase = 'open', otlp_detail = '{}'
    WHERE project_id = $1 AND name = 'run 7' AND started_at < '2026-01-01T12:30Z'
    """,
    """
    UPDATE span_fragments SET is_waiting = true
    WHERE project_id = $1 AND stored_at < '2026-01-01T00:42Z'
    """,
)


@OF_BOTH
async def test_open_traces_and_waiting_records_are_found_by_age(seeded, project_id):
    async with seeded.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        for statement in OPEN:
            await connection.execute(statement, project_id)
        found = []
        for sql in (LOCK_OPEN_TRACES, DELETE_ORPHANED_RECORDS):
            text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", END)
            found += nodes(json.loads(text)[0]["Plan"])
        await transaction.rollback()
    assert scanned_whole(found) == set()
    rows = read_rows(found)
    assert 12 <= rows["traces"] <= 3 * 12
    assert 12 <= rows["span_fragment_rows"] <= 3 * 15


# The three spans of a trace have the same response.
RESPONSES: Final = """
UPDATE spans SET facts = ('{"response_id": "' || trace_id::text || '"}')::json
WHERE project_id = $1 AND started_at < '2026-01-02Z'
"""
# Citus can't insert what a policy chooses, unless it is read first.
AWAITED: Final = """
WITH called AS MATERIALIZED (
  SELECT project_id, trace_id, started_at FROM traces
  WHERE project_id = $1 AND name = 'run 7' AND started_at < '2026-01-01T12:30Z'
)
INSERT INTO waiting_evaluations (project_id, id, response_id, data, stored_at)
SELECT project_id, trace_id, trace_id, '', started_at FROM called
ON CONFLICT DO NOTHING RETURNING id
"""


@OF_BOTH
async def test_spans_are_found_by_their_responses(seeded, project_id):
    async with seeded.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(RESPONSES, project_id)
        awaited = [row[0] for row in await connection.fetch(AWAITED, project_id)]
        rows = []
        for sql, arguments in (
            (SELECT_DUE, ([],)),
            (DELETE_EXPIRED_EVALUATIONS, (datetime.max.replace(tzinfo=UTC),)),
            (DELETE_EVALUATIONS_OF_RESPONSES, (project_id, awaited)),
        ):
            text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
            rows.append(read_rows([*nodes(json.loads(text)[0]["Plan"])])["span_rows"])
        left = await connection.fetchval("SELECT count(*) FROM waiting_evaluations")
        await transaction.rollback()
    assert (len(awaited), left) == (12, 0)
    due, unexpired, deleted = rows
    assert due == 3 * 12
    assert 12 <= unexpired <= 3 * 12
    assert 12 <= deleted <= 3 * 12


COPY_TRACES: Final = """
INSERT INTO dataset_items (
  project_id, dataset_id, item_id, valid_from, digest, input, metadata, trace_id, created_at
)
SELECT $1, $2, 'item-' || i, 1, '', '{}', '{}', gen_random_uuid(), $3
FROM generate_series(1, $4::int) AS i RETURNING trace_id
"""


@OF_BOTH
async def test_copies_of_deleted_traces_are_found_by_the_traces(seeded, project_id):
    dataset = a_dataset(project_id)
    async with seeded.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(INSERT_DATASET, *dataset_row(dataset))
        copies = await connection.fetch(COPY_TRACES, project_id, dataset.id, END, TRACES)
        gone = [copies[0][0], *(uuid.uuid4() for _ in range(TRACES_PER_TRANSACTION - 1))]
        found = await connection.fetch(LOCK_DATASETS_OF_COPIES, project_id, gone, False)
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {LOCK_DATASETS_OF_COPIES}"
        text = await connection.fetchval(explained, project_id, gone, False)
        await transaction.rollback()
    read = [
        one
        for one in nodes(json.loads(text)[0]["Plan"])
        if "dataset_items" in str(one.get("Relation Name"))
    ]
    assert [row[0] for row in found] == [dataset.id]
    assert [one["Index Name"] for one in read] == ["dataset_items_trace"]
    assert [one.get("Rows Removed by Filter", 0) for one in read] == [0]


OF_AGE: Final = (
    "INSERT INTO organizations (id, name, created_at) VALUES ($1, 'kept', now())",
    """
    INSERT INTO projects (id, organization_id, name, description, created_at, retention_days)
    VALUES ($1, $1, 'kept', '', now(), 7)
    """,
    # Twelve of thousands.
    """
    UPDATE traces SET created_at = $2
    WHERE project_id = $1 AND name = 'run 7' AND started_at < '2026-01-01T12:30Z'
    """,
)


@OF_BOTH
async def test_expired_traces_are_found_by_age(seeded, project_id):
    now = datetime.now(UTC)
    async with seeded.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        for statement in OF_AGE:
            given = (project_id, now - timedelta(days=9))[: 2 if "$2" in statement else 1]
            await connection.execute(statement, *given)
        found = []
        for sql, arguments in (
            (
                LOCK_EXPIRED_TRACES,
                (project_id, await fetch_kept_since(connection, project_id, now)),
            ),
            (SELECT_PROJECTS_WITH_EXPIRED_TRACES, await fetch_all_kept_since(connection, now)),
        ):
            text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
            found += nodes(json.loads(text)[0]["Plan"])
        await transaction.rollback()
    assert scanned_whole(found) == set()
    assert 12 <= read_rows(found)["traces"] <= 3 * 12


# As autovacuum finds tables that are empty most of the time.
ANALYZED_EMPTY: Final = """
UPDATE pg_class SET reltuples = 0, relpages = 1
WHERE oid IN ('search_queue'::regclass, 'waiting_evaluations'::regclass)
"""
QUEUE_TRACES: Final = """
INSERT INTO search_queue (project_id, trace_id)
SELECT project_id, trace_id FROM traces WHERE project_id = $1 LIMIT $2
RETURNING project_id, id, trace_id
"""
EXPIRE_EVALUATIONS: Final = """
INSERT INTO waiting_evaluations (project_id, id, trace_id, data, stored_at)
SELECT project_id, trace_id, gen_random_uuid(), '', $3 FROM traces WHERE project_id = $1 LIMIT $2
"""


@citus.not_on_cluster("the statistics are those of a worker")
async def test_queued_rows_are_deleted_by_key_after_the_queue_was_analyzed_empty(seeded):
    async with seeded.owner.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        for name, value in SESSION_SETTINGS.items():
            await connection.execute("SELECT set_config($1, $2, true)", name, value)
        queued = await connection.fetch(QUEUE_TRACES, OURS, 100)
        newest = max(row["id"] for row in queued)
        indexed = [(OURS, row["trace_id"], newest, START, None) for row in queued]
        await connection.execute(STORE_TRACES, *arrays(indexed))
        await connection.execute(EXPIRE_EVALUATIONS, OURS, 100, START)
        await connection.execute(ANALYZED_EMPTY)
        found = []
        for sql, arguments in (
            (DELETE_QUEUED, arrays((*row, newest) for row in queued)),
            (DELETE_EXPIRED_EVALUATIONS, (END,)),
        ):
            text = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
            found += nodes(json.loads(text)[0]["Plan"])
        await transaction.rollback()
    rows = read_rows(found)
    assert 2 * 100 <= rows["search_queue"] <= 4 * 100
    assert 2 * 100 <= rows["waiting_evaluations"] <= 4 * 100


@OF_BOTH
async def test_traces_under_erasure_are_found_by_subject(seeded, project_id):
    for kind, column in SUBJECT_COLUMNS.items():
        owner = "user-7" if kind is DataSubjectKind.USER else "conv-7"
        sql = SELECT_NEXT_TRACES.format(owner=column), COUNT_TRACES.format(owner=column)
        async with read_snapshot(seeded.pool, "", OURS) as connection:
            found = []
            for one, arguments in zip(
                sql, ((project_id, owner), (project_id, owner, END)), strict=True
            ):
                explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {one}"
                text = await connection.fetchval(explained, *arguments)
                found += nodes(json.loads(text)[0]["Plan"])
        assert scanned_whole(found) == set()
        assert 0 < read_rows(found)["traces"] <= 2 * (TRACES // 500)


@OF_BOTH
async def test_erasures_find_rows_by_key(seeded, project_id):
    asked = [
        *((sql, (project_id, "conv-7", "x")) for sql in ANONYMIZE_SESSION.values()),
        *((sql, (project_id, project_id)) for sql in COUNT_REMAINING_TRACE_ROWS.values()),
        *(
            (sql, (project_id, "conv-7", END)[: 3 if "$3" in sql else 2])
            for sql in COUNT_REMAINING_SESSION_ROWS.values()
        ),
        (HAS_ERASED_TRACE, ([project_id], [trace_of(project_id)])),
    ]
    for sql, arguments in asked:
        text = await seeded.pool.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
        entered = [node for node in nodes(json.loads(text)[0]["Plan"]) if "Index Name" in node]
        # Few traces were erased recently, and a count reads all of one erasure. A project has at
        # most 1,000 rejections, and 5,000 claims.
        small = (
            {"removals", "erased_traces", "otlp_rejections", "annotation_claims"}
            if sql in COUNT_REMAINING_TRACE_ROWS.values()
            else {"removals"}
        )
        keys = ("trace_id", "target", "session_id", "id = named.run_id")
        for node in entered:
            if node.get("Relation Name") not in small:
                assert any(key in node["Index Cond"] for key in keys), (sql, node)
