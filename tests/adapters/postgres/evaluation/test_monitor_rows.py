"""What a monitor evaluates is read as it was written."""

from datetime import UTC, datetime

from adapters.postgres.evaluation.monitors.monitor_rows import decode_selection, encode_selection
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import GivenInstant, SessionSelection, TraceSelection
from domain.tracing.query import ScoredOutcome
from domain.tracing.span import SpanKind
from domain.tracing.trace import TraceStatus

DAY = GivenInstant("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC))


def test_filters_of_traces_are_read_as_they_were_written() -> None:
    written = TraceSelection(
        started_after=DAY,
        status=TraceStatus.ERROR,
        statuses=(TraceStatus.ERROR, TraceStatus.RUNNING),
        tags=("a",),
        tags_all=("a", "b"),
        environments=("dev",),
        metadata=(("k", ("v", "w")),),
        score="m",
        score_outcome=ScoredOutcome.FAILED,
        span_kind=SpanKind.TOOL,
        not_status=(TraceStatus.PENDING,),
        not_metadata=(("k", ("v",)), ("n", ())),
    )
    read = decode_selection(TargetType.TRACE, encode_selection(written))
    assert read == written
    assert read.matching == written.matching


def test_filters_of_sessions_are_read_as_they_were_written() -> None:
    written = SessionSelection(date_to=DAY, tags=("a",), not_user_id=("u", "v"), has_error=True)
    assert decode_selection(TargetType.SESSION, encode_selection(written)) == written
