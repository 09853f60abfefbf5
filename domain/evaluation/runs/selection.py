"""The targets of a run: filters as they were given, lists of ids, and sampling."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

from domain.errors import Invalid
from domain.evaluation.runs.run import TARGETS_MAX, Target, TargetType
from domain.tracing.payloads.payload import JsonText
from domain.tracing.query import MetadataTexts, ScoredOutcome, TraceFilter
from domain.tracing.session import SessionFilter, SessionSummary, sessions_of
from domain.tracing.span import SpanKind
from domain.tracing.trace import Trace, TraceStatus

BATCH_MAX: Final = 10_000  # ids of one request
SAMPLING_RATE_DEFAULT: Final = 1.0
MATCHES_MAX: Final = 1_000_000_000  # that are counted for a small sample
RANK_BYTES: Final = 8  # of `sampling_rank`


@dataclass(frozen=True, slots=True)
class GivenInstant:
    """A time bound: the given value, which is shown again, and the instant it means."""

    given: str | int | float
    instant: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Which of the selected OpenTelemetry traces are evaluated. All native ones are.

    `settled_only`: those that are over, see `OtlpState.settled_from`; of the sessions, those
    without a trace that isn't over. `includes_setup`: also those that only create agents.
    """

    settled_only: bool = True
    includes_setup: bool = True


SETTLED: Final = Eligibility()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSelection:
    """The traces of a run or monitor: the filters of the list of traces; None means no condition.

    See TraceFilter. Its fields are the keys of the filters on the wire, in their order. `date_from`
    and `started_after` mean the same, as do `date_to` and `started_before`: all have to hold.
    """

    date_from: GivenInstant | None = None
    date_to: GivenInstant | None = None
    status: TraceStatus | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: tuple[str, ...] | None = None
    name: str | None = None
    environment: str | None = None
    release: str | None = None
    started_after: GivenInstant | None = None
    started_before: GivenInstant | None = None
    model: str | None = None
    min_latency_ms: float | None = None
    max_latency_ms: float | None = None
    has_error: bool | None = None
    has_failed_span: bool | None = None
    metadata: MetadataTexts | None = None
    environments: tuple[str, ...] | None = None
    statuses: tuple[TraceStatus, ...] | None = None
    names: tuple[str, ...] | None = None
    tags_all: tuple[str, ...] | None = None
    min_cost: float | None = None
    min_tokens: int | None = None
    min_span_count: int | None = None
    score: str | None = None
    score_min: float | None = None
    score_max: float | None = None
    score_outcome: ScoredOutcome | None = None
    span_kind: SpanKind | None = None
    span_name: str | None = None
    not_session_id: tuple[str, ...] | None = None
    not_user_id: tuple[str, ...] | None = None
    not_environment: tuple[str, ...] | None = None
    not_release: tuple[str, ...] | None = None
    not_status: tuple[TraceStatus, ...] | None = None
    not_tags: tuple[str, ...] | None = None
    not_name: tuple[str, ...] | None = None
    not_model: tuple[str, ...] | None = None
    not_score: tuple[str, ...] | None = None
    not_span_kind: tuple[SpanKind, ...] | None = None
    not_span_name: tuple[str, ...] | None = None
    not_metadata: MetadataTexts | None = None

    @property
    def matching(self) -> TraceFilter:
        return TraceFilter(**_conditions(self, TraceFilter))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSelection:
    """The sessions of a run or monitor: the filters of the list of sessions, and their size.

    None means no condition. Dates, user and tags select traces; every session with such a trace is
    considered. `has_error`, `has_failed_span` and `min_trace_count` apply to these selected traces,
    `query` to the id of the session. The whole session is scored.
    """

    date_from: GivenInstant | None = None
    date_to: GivenInstant | None = None
    user_id: str | None = None
    has_error: bool | None = None
    tags: tuple[str, ...] | None = None
    min_trace_count: int | None = None
    started_after: GivenInstant | None = None
    started_before: GivenInstant | None = None
    query: str | None = None
    has_failed_span: bool | None = None
    not_user_id: tuple[str, ...] | None = None
    not_tags: tuple[str, ...] | None = None

    @property
    def matching(self) -> SessionFilter:
        """All conditions except `min_trace_count`, which `matches` adds."""
        return SessionFilter(**_conditions(self, SessionFilter))

    def matches(self, session: SessionSummary) -> bool:
        """Whether a session is selected, given the summary of its selected traces."""
        return self.matching.matches(session) and session.trace_count >= (self.min_trace_count or 1)


def _conditions(
    selection: TraceSelection | SessionSelection,
    filter_type: type[TraceFilter] | type[SessionFilter],
) -> dict[str, Any]:
    """The values that are set of the fields of `filter_type`.

    Starts are the first instant and the end.
    """
    given = {one.name: getattr(selection, one.name) for one in fields(filter_type)}
    after = [selection.date_from, selection.started_after]
    before = [selection.date_to, selection.started_before]
    given["started_after"] = max((one.instant for one in after if one is not None), default=None)
    given["started_before"] = min((one.instant for one in before if one is not None), default=None)
    return {name: value for name, value in given.items() if value is not None}


def given_filters(selection: TraceSelection | SessionSelection) -> dict[str, Any]:
    """The conditions by their keys on the wire."""
    given = {one.name: getattr(selection, one.name) for one in fields(selection)}
    for name in {"metadata", "not_metadata"} & given.keys():
        given[name] = None if given[name] is None else dict(given[name])
    return {key: value for key, value in given.items() if value is not None}


def select_sessions(traces: Iterable[Trace], selection: SessionSelection) -> list[str]:
    """The ids of the selected sessions, ascending, from the settled traces of a project."""
    found = sessions_of(traces, selection.matching)
    return sorted(session.id for session in found if selection.matches(session))


def filters_as_given(
    selection: TraceSelection | SessionSelection, signal_weights: Mapping[str, float] | None = None
) -> JsonText:
    """The filters as a run shows them: the given values without nulls, then any weights."""
    echo = {
        key: value.given if isinstance(value, GivenInstant) else value
        for key, value in given_filters(selection).items()
    }
    if signal_weights:
        echo["signal_weights"] = dict(signal_weights)
    return _json(echo)


def batch_as_given(target_type: TargetType, targets: Sequence[Target]) -> JsonText:
    return _json({target_type.ids_key: list(targets)})


def rename_session(given: JsonText, old: Target, new: Target) -> JsonText:
    """The filters of a run over given sessions, with `new` in place of the session `old`."""
    filters, key = json.loads(given), TargetType.SESSION.ids_key
    if old not in filters.get(key, ()):
        return given
    return _json(filters | {key: [new if one == old else one for one in filters[key]]})


def _json(value: object) -> JsonText:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def validate_batch_ids(target_type: TargetType, ids: Sequence[Target]) -> tuple[Target, ...]:
    """The targets of a batch, each once, at its first place. Raises Invalid, naming the field.

    Existence isn't checked here: a target that doesn't exist fails during evaluation.
    """
    if not 1 <= len(ids) <= BATCH_MAX:
        raise Invalid.field(target_type.ids_key, f"must hold 1 to {BATCH_MAX} ids")
    return tuple(dict.fromkeys(ids))


def sampling_rank(target: Target, salt: str) -> int:
    """The rank of a target in the sampling order: 0 to 2⁶⁴ - 1, uniformly distributed."""
    digest = hashlib.sha256(f"{salt}\n{target}".encode()).digest()
    return int.from_bytes(digest[:RANK_BYTES], "big")


@dataclass(frozen=True, slots=True)
class Sample:
    """How `sampled` chooses among the targets that match."""

    rate: float
    salt: str
    least: int = 0

    @property
    def takes_all(self) -> bool:
        return self.rate >= 1

    @property
    def fewest(self) -> int:
        """How many it takes at least, if as many match."""
        return max(self.least, sampled_count(1, self.rate))

    def select(self, targets: Iterable[Target]) -> tuple[Target, ...]:
        return sampled(targets, self.rate, self.salt, least=self.least)


def sampled(
    targets: Iterable[Target], rate: float, salt: str, *, least: int = 0
) -> tuple[Target, ...]:
    """The share `rate` of the targets, in the given order, each once; deterministic.

    ⌊matches · rate⌋ targets, at least one unless the rate is 0: those with the lowest
    `sampling_rank`. So a higher rate includes all targets of a lower one, the same rate selects the
    same targets again, and other matches don't change the order of two targets. `salt` is the id of
    the monitor or of the project. `least` is the minimum number of targets; monitors pass 1.
    """
    distinct = list(dict.fromkeys(targets))
    count = min(max(sampled_count(len(distinct), rate), least), len(distinct))
    if count == len(distinct):
        return tuple(distinct)
    in_order = sorted(distinct, key=lambda one: (sampling_rank(one, salt), one))
    taken = set(in_order[:count])
    return tuple(one for one in distinct if one in taken)


def sampled_count(matches: int, rate: float) -> int:
    """How many of the matches `sampled` takes."""
    # The decimal text of the rate counts: 0.29 of 100 is 29, whatever the double rounds to.
    exact = int(matches * Decimal(repr(rate)))
    return min(max(exact, 1), matches) if rate > 0 else 0


@dataclass(frozen=True, slots=True)
class TargetCount:
    """How many targets match, and how many of them a run would evaluate.

    With `is_at_least` more match than `counted_max`: a run would have more than TARGETS_MAX
    targets, which is refused. The counts end there.
    """

    matches: int
    targets: int
    is_at_least: bool = False

    @classmethod
    def from_matches(cls, found: int, rate: float) -> Self:
        """From the number that was found, at most `counted_max` + 1."""
        matches = min(found, counted_max(rate))
        return cls(matches, sampled_count(matches, rate), found > matches)


def counted_max(rate: float) -> int:
    """The most matches of which a run may evaluate a sample at `rate`: TARGETS_MAX targets."""
    if rate <= 0:
        return TARGETS_MAX
    first_refused = (TARGETS_MAX + 1) / Decimal(repr(rate))
    return min(math.ceil(first_refused) - 1, MATCHES_MAX)


def validate_target_count(targets: Sequence[Target]) -> Sequence[Target]:
    """Raises Invalid if there are no targets, or more than a run can hold."""
    if not targets:
        raise Invalid("Nothing matches these filters")
    if len(targets) > TARGETS_MAX:
        raise Invalid(
            f"A run would have more than {TARGETS_MAX} targets: narrow the filters, or lower the "
            "sampling_rate"
        )
    return targets
