"""Conditions on traces that are evaluated, by their state as OpenTelemetry traces."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from adapters.postgres.database.pool import IN_PROJECT
from adapters.postgres.database.statements.sql_builder import Parameters
from domain.evaluation.monitors.monitor import Watermark

# Since when a trace is over, as `OtlpState.settled_from`, unless it is open. That of a native trace
# is its last write. `{quiet}` is the time without a fragment after which an ended trace is over.
_SETTLED_FROM: Final = """
CASE otlp_phase WHEN 'ended'
  THEN greatest(updated_at, least(otlp_stored_at, updated_at) + {quiet}::interval)
ELSE updated_at END
"""
HAS_CONTENT: Final = "otlp_is_setup IS NOT TRUE"


@dataclass(frozen=True, slots=True)
class WriteWindow:
    """The time between two watermarks; from the beginning if `after` is None."""

    after: Watermark | None
    upto: Watermark


def unsettled(
    p: Parameters, column: Literal["trace_id", "session_id"], quiet: timedelta, at: datetime | None
) -> str:
    """Selects the traces, or their sessions, that aren't over at an instant; None: now.

    They are few, and indexes find them: `traces_open`, and `traces_quiet` for those whose last
    fragment is recent. A condition on the columns of each trace would have to read the table where
    the key or the index of sessions is enough.
    """
    instant = "now()" if at is None else f"{p.put(at)}::timestamptz"
    wait = f"{p.put(quiet)}::interval"
    known = f"SELECT {column} FROM traces WHERE {IN_PROJECT} AND {column} IS NOT NULL"
    since = _SETTLED_FROM.format(quiet=wait)
    return f"""
    {known} AND otlp_phase = 'open'
    UNION ALL
    {known} AND otlp_phase = 'ended' AND otlp_stored_at > {instant} - {wait} AND {since} > {instant}
    """


def written_within(p: Parameters, window: WriteWindow) -> str:
    """Whether a trace was last written within the window."""
    conditions = [_compare(p, "updated_at", "<=", window.upto)]
    if window.after is not None:
        conditions += [_reaches(p, window.after), _compare(p, "updated_at", ">", window.after)]
    return " AND ".join(conditions)


def settled_within(p: Parameters, window: WriteWindow, quiet: timedelta) -> str:
    """Whether a trace is over, and was so for the first time in its present form in the window."""
    wait = f"{p.put(quiet)}::interval"
    since = _SETTLED_FROM.format(quiet=wait)
    conditions = ["otlp_phase IS DISTINCT FROM 'open'", _compare(p, since, "<=", window.upto)]
    if window.after is not None:
        # It was written in the window, or its last fragment shortly before: two indexes.
        earliest = f"{p.put(window.after.written_at)}::timestamptz - {wait}"
        ended = f"otlp_phase = 'ended' AND otlp_stored_at > {earliest}"
        conditions.append(f"({_reaches(p, window.after)} OR {ended})")
        conditions.append(_compare(p, since, ">", window.after))
    return " AND ".join(conditions)


def _reaches(p: Parameters, mark: Watermark) -> str:
    """A bound that the index `traces_updated` supports; it supports no comparison of pairs."""
    return f"updated_at >= {p.put(mark.written_at)}::timestamptz"


def _compare(p: Parameters, instant: str, sign: Literal["<=", ">"], mark: Watermark) -> str:
    """Compares `instant`, which isn't before the write of the trace."""
    at, trace = p.put(mark.written_at), p.put(mark.trace)
    pair = f"({instant}, trace_id) {sign} ({at}::timestamptz, {trace}::uuid)"
    return f"updated_at <= {at}::timestamptz AND {pair}" if sign == "<=" else pair
