"""What a run is about: filters as they were given, ids one by one, and the share that is taken."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Final

from domain.errors import Invalid
from domain.evaluation.runs.run import TARGETS_MAX, Target, TargetType
from domain.tracing.payload import JsonText
from domain.tracing.query import TraceFilter
from domain.tracing.session import SessionFilter, SessionSummary, sessions_of
from domain.tracing.trace import Trace, TraceStatus

BATCH_MAX: Final = 10_000  # ids of one request
SAMPLING_RATE_DEFAULT: Final = 1.0


@dataclass(frozen=True, slots=True)
class GivenInstant:
    """A bound of time: what was typed, which is shown again, and the instant that it means."""

    given: str | int | float
    instant: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSelection:
    """Which traces a run or a monitor is about; None is no condition. See TraceFilter.

    Its fields are the keys of the filters on the wire, in their order.
    """

    date_from: GivenInstant | None = None
    date_to: GivenInstant | None = None
    status: TraceStatus | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: tuple[str, ...] | None = None
    name: str | None = None

    @property
    def matching(self) -> TraceFilter:
        return TraceFilter(
            started_after=_instant(self.date_from),
            started_before=_instant(self.date_to),
            status=self.status,
            session_id=self.session_id,
            user_id=self.user_id,
            tags=self.tags or (),
            name=self.name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSelection:
    """Which sessions a run or a monitor is about; None is no condition.

    Dates, user and tags select traces, and every session with one of them is looked at.
    `has_error` and `min_trace_count` regard its selected traces. What is scored in the end is
    the whole session.
    """

    date_from: GivenInstant | None = None
    date_to: GivenInstant | None = None
    user_id: str | None = None
    has_error: bool | None = None
    tags: tuple[str, ...] | None = None
    min_trace_count: int | None = None

    @property
    def matching(self) -> SessionFilter:
        """All of it but `min_trace_count`, which `admits` adds."""
        return SessionFilter(
            started_after=_instant(self.date_from),
            started_before=_instant(self.date_to),
            user_id=self.user_id,
            has_error=self.has_error,
            tags=self.tags or (),
        )

    def matches(self, session: SessionSummary) -> bool:
        """Whether a session is meant, by the summary of its selected traces."""
        return self.matching.matches(session) and session.trace_count >= (self.min_trace_count or 1)


def select_sessions(traces: Iterable[Trace], selection: SessionSelection) -> list[str]:
    """The ids of the sessions that are meant, ascending, of the settled traces of a project."""
    found = sessions_of(traces, selection.matching)
    return sorted(session.id for session in found if selection.matches(session))


def filters_as_given(
    selection: TraceSelection | SessionSelection, signal_weights: Mapping[str, float] | None = None
) -> JsonText:
    """The filters as a run shows them: what was given, without nulls; then the weights, if any."""
    given = {one.name: getattr(selection, one.name) for one in fields(selection)}
    echo = {key: _as_given(value) for key, value in given.items() if value is not None}
    if signal_weights:
        echo["signal_weights"] = dict(signal_weights)
    return _json(echo)


def batch_as_given(target_type: TargetType, targets: Sequence[Target]) -> JsonText:
    return _json({target_type.ids_key: list(targets)})


def _instant(bound: GivenInstant | None) -> datetime | None:
    return None if bound is None else bound.instant


def _as_given(value: object) -> object:
    return value.given if isinstance(value, GivenInstant) else value


def _json(value: object) -> JsonText:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def validate_batch_ids(target_type: TargetType, ids: Sequence[Target]) -> tuple[Target, ...]:
    """The targets of a batch, each once, at its first place. Raises Invalid, naming the field.

    Whether they exist isn't asked: one that doesn't counts as failed when its turn comes.
    """
    if not 1 <= len(ids) <= BATCH_MAX:
        raise Invalid.field(target_type.ids_key, f"must hold 1 to {BATCH_MAX} ids")
    return tuple(dict.fromkeys(ids))


def sampling_rank(target: Target, salt: str) -> int:
    """Where a target stands in the order of sampling: 0 to 2⁶⁴ - 1, evenly spread."""
    digest = hashlib.sha256(f"{salt}\n{target}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def sampled(
    targets: Iterable[Target], rate: float, salt: str, *, least: int = 0
) -> tuple[Target, ...]:
    """The share `rate` of the targets, in the order given, each once; no chance is involved.

    ⌊matches · rate⌋ of them, and one at least where the rate isn't 0: those that stand lowest
    by `sampling_rank`. So a higher rate keeps everything that a lower one had, the same rate finds
    the same targets again, and whatever else matches doesn't change how two of them compare.
    `salt` is the id of the monitor, or of the project. A monitor asks for one at `least`.
    """
    distinct = list(dict.fromkeys(targets))
    count = min(max(_share(len(distinct), rate), least), len(distinct))
    if count == len(distinct):
        return tuple(distinct)
    in_order = sorted(distinct, key=lambda one: (sampling_rank(one, salt), one))
    taken = set(in_order[:count])
    return tuple(one for one in distinct if one in taken)


def _share(matches: int, rate: float) -> int:
    # The rate as it is written: 0.29 of 100 are 29, whatever the double that stands for 0.29.
    exact = int(matches * Decimal(repr(rate)))
    return max(exact, 1) if rate > 0 else 0


def validate_target_count(targets: Sequence[Target]) -> Sequence[Target]:
    """Raises Invalid where there are none to choose from, or more than a run can hold."""
    if not targets:
        raise Invalid("Nothing matches these filters")
    if len(targets) > TARGETS_MAX:
        raise Invalid(f"{len(targets)} targets match, more than {TARGETS_MAX}: narrow the filters")
    return targets
