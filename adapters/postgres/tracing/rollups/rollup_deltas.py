"""Changes of the roll-ups, collected while a transaction writes.

Counts and sums are exact and can be subtracted. Minimums, maximums and sets cannot: a session or
user that only grew is merged into its row; any other is recounted from its traces.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Self

from adapters.postgres.tracing.rollups.facets import CountedTrace, FacetKey
from domain.ids import ProjectId, TraceId
from domain.tracing.analytics import BUCKET_WIDTHS, Granularity
from domain.tracing.span import Span, SpanStatus, Totals, elapsed_us
from domain.tracing.spans.span_figures import latency_bin, name_group
from domain.tracing.trace import Trace
from domain.tracing.usage import EXACT

_REST_OF_HOUR: Final = BUCKET_WIDTHS[Granularity.HOUR] - timedelta(microseconds=1)
_NO_HOUR: Final = (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))

type UsageKey = tuple[datetime, bool, str]
type UsageSums = tuple[int, int, int, Decimal, int, int, int, int]
"""Calls, tokens of prompts and of completions, cost, unpriced and priced spans, and the tokens that
were cached, and those of reasoning."""
type SpanKey = tuple[datetime, str, str, bool, str]
"""The hour, the kind, the name without ids, and the model as in UsageKey."""


@dataclass(slots=True)
class Peaks:
    """The greatest values of some spans; -1 and None without any."""

    latency_us: int = -1
    tokens: int = -1
    cost: Decimal | None = None

    def extend(self, latency_us: int | None, tokens: int, cost: Decimal | None) -> None:
        if latency_us is not None and latency_us > self.latency_us:
            self.latency_us = latency_us
        self.tokens = max(self.tokens, tokens)
        if cost is not None and (self.cost is None or cost > self.cost):
            self.cost = cost

    def exceed(self, others: "Peaks") -> bool:
        """Whether one of them is greater than that of `others`."""
        return (
            self.latency_us > others.latency_us
            or self.tokens > others.tokens
            or (self.cost is not None and (others.cost is None or self.cost > others.cost))
        )


@dataclass(slots=True)
class SpanSums:
    """Sums over spans. `calls` are those with tokens and costs that count.

    `added` and `removed` have the peaks of the spans that were added and subtracted.
    """

    spans: int = 0
    errors: int = 0
    latencies: int = 0
    latency_us: int = 0
    bins: dict[int, int] = field(default_factory=dict)
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    priced: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    added: Peaks = field(default_factory=Peaks)
    removed: Peaks = field(default_factory=Peaks)

    @property
    def usage(self) -> UsageSums:
        return (
            self.calls, self.prompt_tokens, self.completion_tokens, self.cost, self.unpriced,
            self.priced, self.cached_tokens, self.reasoning_tokens
        )  # fmt: skip

    @property
    def is_empty(self) -> bool:
        return not (
            any((self.spans, self.errors, self.latencies, self.latency_us))
            or any(self.usage)
            or any(self.bins.values())
            # The stored peaks are at least those of the spans that were removed.
            or self.added.exceed(self.removed)
        )

    def add_latency(self, latency_us: int, sign: int) -> None:
        self.latencies += sign
        self.latency_us += sign * latency_us
        bin_ = latency_bin(latency_us)
        self.bins[bin_] = self.bins.get(bin_, 0) + sign


@dataclass(slots=True)
class SessionGrowth:
    """Values that are merged into the row of a session."""

    first_started_at: datetime
    last_started_at: datetime
    last_ended_at: datetime | None
    traces: int = 0
    latencies: int = 0
    latency_us: int = 0
    errors: int = 0
    user: tuple[datetime, TraceId, str] | None = None
    tags: set[str] = field(default_factory=set)
    totals: Totals = field(default_factory=Totals)

    @classmethod
    def from_trace(cls, trace: Trace) -> Self:
        return cls(trace.started_at, trace.started_at, trace.ended_at)

    @property
    def last_activity_at(self) -> datetime:
        ended = self.last_ended_at
        return self.last_started_at if ended is None else max(self.last_started_at, ended)

    def extend(self, counted: CountedTrace) -> None:
        """Extends the minimums, maximums and sets by a trace."""
        trace, ended = counted.trace, self.last_ended_at
        self.first_started_at = min(self.first_started_at, trace.started_at)
        self.last_started_at = max(self.last_started_at, trace.started_at)
        if trace.ended_at is not None:
            self.last_ended_at = trace.ended_at if ended is None else max(ended, trace.ended_at)
        if trace.user_id is not None:
            candidate = (trace.started_at, trace.id, trace.user_id)
            self.user = candidate if self.user is None else min(self.user, candidate)
        self.tags.update(trace.tags)

    def count(self, counted: CountedTrace, sign: int) -> None:
        latency = counted.trace.latency_us
        self.traces += sign
        self.errors += sign * counted.is_failed
        self.latencies += sign * (latency is not None)
        self.latency_us += sign * (latency or 0)
        totals = counted.totals
        self.totals = self.totals + totals if sign > 0 else self.totals - totals


@dataclass(slots=True)
class UserGrowth:
    first_seen: datetime
    last_seen: datetime
    traces: int = 0
    errors: int = 0

    def extend(self, counted: CountedTrace) -> None:
        self.first_seen = min(self.first_seen, counted.trace.started_at)
        self.last_seen = max(self.last_seen, counted.trace.started_at)

    def count(self, counted: CountedTrace, sign: int) -> None:
        self.traces += sign
        self.errors += sign * counted.is_failed


@dataclass(slots=True)
class Deltas:
    """Changes of one project in one transaction; `rollups.write` applies them."""

    facets: dict[FacetKey, int] = field(default_factory=dict)
    hours: dict[datetime, list[int]] = field(default_factory=dict)  # see `_count_time`
    # By the hour of traces: the first and last start of their spans in other hours.
    extents: dict[datetime, tuple[datetime, datetime]] = field(default_factory=dict)
    moved: set[tuple[datetime, datetime]] = field(default_factory=set)  # traces, between hours
    spans: dict[SpanKey, SpanSums] = field(default_factory=dict)
    sessions: dict[str, SessionGrowth] = field(default_factory=dict)
    users: dict[str, UserGrowth] = field(default_factory=dict)
    stale_sessions: set[str] = field(default_factory=set)
    stale_users: set[str] = field(default_factory=set)

    def add_trace(self, after: CountedTrace) -> None:
        """Adds a new trace."""
        self._count(after, 1)
        if after.trace.session_id is not None:
            self._grow_session(after.trace.session_id, after, None)
        if after.trace.user_id is not None:
            self._grow_user(after.trace.user_id, after, None)

    def remove_trace(self, before: CountedTrace) -> None:
        """Subtracts a deleted trace."""
        self._count(before, -1)
        self._shrink(before, session=before.trace.session_id, user=before.trace.user_id)

    def change_trace(self, before: CountedTrace, after: CountedTrace) -> None:
        """Replaces the values of a changed trace."""
        for key in (old := before.facets()) ^ (new := after.facets()):
            self.facets[key] = self.facets.get(key, 0) + (key in new) - (key in old)
        if before.timing() != after.timing():
            self._count_time(before, -1)
            self._count_time(after, 1)
            self._move(before, after)
        self._change_session(before, after)
        self._change_user(before, after)

    def add_spans(self, trace: Trace, spans: Iterable[Span]) -> None:
        """Adds settled spans of a trace. The tokens and costs of those with a role aren't counted.

        `trace` is as it will be stored.
        """
        self._count_spans(spans, 1, Granularity.HOUR.bucket(trace.started_at))

    def remove_spans(self, spans: Iterable[Span]) -> None:
        """Subtracts spans that were added."""
        self._count_spans(spans, -1, None)

    def _count_spans(self, spans: Iterable[Span], sign: int, trace_hour: datetime | None) -> None:
        hour, last = _NO_HOUR
        for span in spans:
            kind, model, usage, charge = span.kind, span.model, span.usage, span.charge
            assert kind is not None
            assert usage is not None
            assert charge is not None
            started_at = span.started_at
            if not hour <= started_at <= last:  # most are in the hour of the span before
                hour = Granularity.HOUR.bucket(started_at)
                last = hour + _REST_OF_HOUR
            if trace_hour is not None and hour != trace_hour:
                self._extend(trace_hour, started_at)
            sums = self.sums((hour, kind, name_group(span.name), model is not None, model or ""))
            sums.spans += sign
            if span.status is SpanStatus.ERROR:
                sums.errors += sign
            latency = elapsed_us(started_at, span.ended_at)
            if latency is not None:
                sums.add_latency(latency, sign)
            is_known = charge.is_known
            tokens = usage.prompt_tokens + usage.completion_tokens
            cost = charge.amount if is_known else None
            (sums.added if sign > 0 else sums.removed).extend(latency, tokens, cost)
            if span.usage_role is None:
                sums.calls += sign
                sums.prompt_tokens += sign * usage.prompt_tokens
                sums.completion_tokens += sign * usage.completion_tokens
                sums.cached_tokens += sign * usage.cache_read_tokens
                sums.reasoning_tokens += sign * usage.reasoning_tokens
                if is_known:
                    sums.priced += sign
                if amount := charge.amount:
                    sums.cost = (EXACT.add if sign > 0 else EXACT.subtract)(sums.cost, amount)
                elif span.is_unpriced:
                    sums.unpriced += sign

    def sums(self, key: SpanKey) -> SpanSums:
        """The sums of a key, which may be changed."""
        found = self.spans.get(key)
        if found is None:
            found = self.spans[key] = SpanSums()
        return found

    def usage(self) -> dict[UsageKey, UsageSums]:
        """The sums of all spans by hour and model."""
        found: dict[UsageKey, UsageSums] = {}
        for (hour, _, _, has_model, model), sums in self.spans.items():
            usage = sums.usage
            known = found.get((hour, has_model, model))
            if known is not None:
                cost = EXACT.add(usage[3], known[3]) if usage[3] else known[3]
                usage = (
                    usage[0] + known[0], usage[1] + known[1], usage[2] + known[2], cost,
                    usage[4] + known[4], usage[5] + known[5], usage[6] + known[6],
                    usage[7] + known[7],
                )  # fmt: skip
            found[hour, has_model, model] = usage
        return found

    def _count(self, counted: CountedTrace, sign: int) -> None:
        for key in counted.facets():
            self.facets[key] = self.facets.get(key, 0) + sign
        self._count_time(counted, sign)

    def _count_time(self, counted: CountedTrace, sign: int) -> None:
        """Sums traces, failures, latencies and microseconds; keeps hours whose sums are zero."""
        started_at, is_failed, latency = counted.timing()
        sums = self.hours.setdefault(Granularity.HOUR.bucket(started_at), [0, 0, 0, 0])
        sums[0] += sign
        sums[1] += sign * is_failed
        if latency is not None:
            sums[2] += sign
            sums[3] += sign * latency

    def _extend(self, trace_hour: datetime, *instants: datetime) -> None:
        """Notes that a trace of an hour has spans in another one."""
        covered = (*self.extents.get(trace_hour, ()), *instants)
        self.extents[trace_hour] = (min(covered), max(covered))
        self.hours.setdefault(trace_hour, [0, 0, 0, 0])

    def _move(self, before: CountedTrace, after: CountedTrace) -> None:
        """Notes that a trace starts in another hour, where it has all its spans."""
        old, new = (Granularity.HOUR.bucket(one.trace.started_at) for one in (before, after))
        if old != new:
            self._extend(new, old, old + _REST_OF_HOUR)
            earlier = {(first, new) for first, last in self.moved if last == old}
            self.moved |= earlier | {(old, new)}

    def _change_session(self, before: CountedTrace, after: CountedTrace) -> None:
        old, new = before.trace.session_id, after.trace.session_id
        if old == new and new is not None:
            if _session_state(before) != _session_state(after):
                self._grow_session(new, after, before)
                if not _only_grew(before.trace, after.trace):
                    self.stale_sessions.add(new)
            return
        self._shrink(before, session=old, user=None)
        if new is not None:
            self._grow_session(new, after, None)

    def _change_user(self, before: CountedTrace, after: CountedTrace) -> None:
        old, new = before.trace.user_id, after.trace.user_id
        if old == new and new is not None:
            if before.timing()[:2] != after.timing()[:2]:
                self._grow_user(new, after, before)
                if before.trace.started_at != after.trace.started_at:
                    self.stale_users.add(new)
            return
        self._shrink(before, session=None, user=old)
        if new is not None:
            self._grow_user(new, after, None)

    def _grow_session(self, session: str, after: CountedTrace, before: CountedTrace | None) -> None:
        growth = self.sessions.get(session)
        if growth is None:
            growth = self.sessions[session] = SessionGrowth.from_trace(after.trace)
        growth.extend(after)
        growth.count(after, 1)
        if before is not None:
            growth.count(before, -1)

    def _grow_user(self, user: str, after: CountedTrace, before: CountedTrace | None) -> None:
        growth = self.users.get(user)
        if growth is None:
            start = after.trace.started_at
            growth = self.users[user] = UserGrowth(start, start)
        growth.extend(after)
        growth.count(after, 1)
        if before is not None:
            growth.count(before, -1)

    def _shrink(self, before: CountedTrace, *, session: str | None, user: str | None) -> None:
        # Merges nothing into the row of the session, which locks it in the right order, and marks
        # it for a recount.
        start = before.trace.started_at
        if session is not None:
            self.stale_sessions.add(session)
            self.sessions.setdefault(session, SessionGrowth.from_trace(before.trace))
        if user is not None:
            self.stale_users.add(user)
            self.users.setdefault(user, UserGrowth(start, start)).count(before, -1)


type ProjectDeltas = defaultdict[ProjectId, Deltas]


def new_deltas() -> ProjectDeltas:
    """Empty deltas of a transaction, by project."""
    return defaultdict(Deltas)


def _session_state(counted: CountedTrace) -> tuple[object, ...]:
    trace = counted.trace
    return (counted.timing(), trace.ended_at, trace.user_id, trace.tags, counted.totals)


def _only_grew(before: Trace, after: Trace) -> bool:
    """Whether no minimum, maximum or set of the session can have shrunk."""
    return (
        before.started_at == after.started_at
        and (
            before.ended_at is None
            or (after.ended_at is not None and after.ended_at >= before.ended_at)
        )
        and (before.user_id is None or before.user_id == after.user_id)
        and set(before.tags) <= set(after.tags)
    )
