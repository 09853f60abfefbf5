"""Changes to what is stored: what a PATCH says of a trace or of a span, and what tags become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal

from domain.tracing.payload import EMPTY_OBJECT, JsonText, merged_objects
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceStatus
from domain.tracing.usage import Pricing


class Unchanged(Enum):
    """Tells what was left out from null, which clears."""

    UNCHANGED = "unsaid"


UNCHANGED: Final = Unchanged.UNCHANGED

type Clearable[T] = T | Literal[Unchanged.UNCHANGED] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceChange:
    """New values of a trace. UNSAID leaves what is there; None clears it.

    Name, status and tags can't be cleared: there None leaves what is there too. Metadata is
    merged, a key at a time.
    """

    name: str | None = None
    status: TraceStatus | None = None
    tags: tuple[str, ...] | None = None
    metadata: JsonText = EMPTY_OBJECT
    input: Clearable[JsonText] = UNCHANGED
    output: Clearable[JsonText] = UNCHANGED
    ended_at: Clearable[datetime] = UNCHANGED
    session_id: Clearable[str] = UNCHANGED
    user_id: Clearable[str] = UNCHANGED
    environment: Clearable[str] = UNCHANGED
    release: Clearable[str] = UNCHANGED

    def applied(self, trace: Trace) -> Trace:
        cleared = ("input", "output", "ended_at", "session_id", "user_id", "environment", "release")
        return replace(
            trace,
            name=self.name or trace.name,
            status=self.status or trace.status,
            tags=trace.tags if self.tags is None else self.tags,
            metadata=merged_objects(trace.metadata, self.metadata),
            **_said(self, cleared),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanChange:
    """New values of a span, as `TraceChange`. Name, kind and status can't be cleared."""

    name: str | None = None
    kind: SpanKind | None = None
    status: SpanStatus | None = None
    metadata: JsonText = EMPTY_OBJECT
    input: Clearable[JsonText] = UNCHANGED
    output: Clearable[JsonText] = UNCHANGED
    model: Clearable[str] = UNCHANGED
    token_usage: Clearable[JsonText] = UNCHANGED
    ended_at: Clearable[datetime] = UNCHANGED
    error: Clearable[str] = UNCHANGED
    completion_started_at: Clearable[datetime] = UNCHANGED
    model_parameters: Clearable[JsonText] = UNCHANGED
    cost: Clearable[Mapping[str, float]] = UNCHANGED

    def applied(self, span: Span, pricing: Pricing) -> Span:
        """`span`, settled, after the change: priced anew only where what made its price changed."""
        cleared = (
            *("input", "output", "model", "token_usage", "ended_at", "error"),
            *("completion_started_at", "model_parameters", "cost"),
        )
        changed = replace(
            span,
            name=self.name or span.name,
            kind=self.kind or span.kind,
            status=self.status or span.status,
            metadata=merged_objects(span.metadata, self.metadata),
            **_said(self, cleared),
        )
        return changed.repriced_after(span).settled(pricing)


def _said(change: TraceChange | SpanChange, names: Sequence[str]) -> dict[str, Any]:
    found = {name: getattr(change, name) for name in names}
    return {name: value for name, value in found.items() if value is not UNCHANGED}


def retagged(tags: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> tuple[str, ...]:
    """Tags after a removal and then an addition, so that a tag in both is there in the end.

    After an addition they are sorted, each once; after a mere removal they keep their order.
    """
    kept = tuple(tag for tag in tags if tag not in set(remove))
    return tuple(sorted({*kept, *add})) if add else kept
