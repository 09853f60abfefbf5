"""The state of an OpenTelemetry trace beyond its row.

Whether it is over, which payloads it has, and which of its fields native writes changed.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from domain.ids import SpanId
from domain.tracing.otel.last_message import last_answer, last_user_message
from domain.tracing.otel.native_fields import NativeFields, recomputed_trace
from domain.tracing.otel.trace_state import (
    ComputedTrace,
    LastMessageOf,
    PayloadOf,
    PayloadSource,
    StatedPayload,
)
from domain.tracing.payloads.payload import JsonText
from domain.tracing.trace import Trace

NO_NATIVE_FIELDS: Final = NativeFields()
QUIET_DEFAULT: Final = timedelta(seconds=30)
_DIGEST_BYTES: Final = 16


class OtlpPhase(StrEnum):
    """How far an OpenTelemetry trace is.

        OPEN ──▶ ENDED, once its roots have ended
           └───▶ SETTLED, by a worker

    A later fragment may lead to any of them. A trace that was created natively is SETTLED.
    """

    OPEN = "open"
    ENDED = "ended"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpState:
    """The state of a trace with OpenTelemetry fragments.

    `stored_at` is when its last fragment was stored. `input_from` and `output_from` tell which
    payloads the trace has, so that those that don't change are neither read nor written again.
    `takes_records` if it has log records that belong to other spans than they name.
    """

    stored_at: datetime
    phase: OtlpPhase = OtlpPhase.OPEN
    is_setup: bool = False
    is_native: bool = False
    input_from: str = ""
    output_from: str = ""
    native: NativeFields = NO_NATIVE_FIELDS
    takes_records: bool = False

    @classmethod
    def from_native(cls, trace: Trace, payloads: Collection[str], stored_at: datetime) -> Self:
        """The state of a native trace that its first fragment joins: all that it says stays.

        `payloads` are those of `input` and `output` that it has.
        """
        said = NativeFields.from_write(None, trace) | _payload_fields(payloads)
        return cls(stored_at=stored_at, phase=OtlpPhase.SETTLED, is_native=True, native=said)

    def after_native_write(
        self, before: Trace, after: Trace, payloads: Collection[str] = ()
    ) -> Self:
        """The state after a native write changed the trace, and set `payloads` of it.

        `before` and `after` have no payloads.
        """
        changed = NativeFields.from_write(before, after) | _payload_fields(payloads)
        return replace(self, native=self.native | changed)

    def after_computing(self, computed: ComputedTrace, stored_at: datetime | None) -> Self:
        """The state with the trace that its fragments make, the last of them stored at that time.

        None: no fragment came, and a worker settles the trace.
        """
        phase = OtlpPhase.ENDED if computed.root_ended else OtlpPhase.OPEN
        if self.is_native or (stored_at is None and not computed.root_ended):
            phase = OtlpPhase.SETTLED
        return replace(
            self,
            stored_at=stored_at or self.stored_at,
            phase=phase,
            is_setup=computed.is_setup,
            input_from=_source_text(computed.input),
            output_from=_source_text(computed.output),
        )

    @property
    def recomputed_at(self) -> datetime | None:
        """The argument of `after_computing` if no fragment came, and the phase is to stay."""
        was_settled = self.phase is OtlpPhase.SETTLED and not self.is_native
        return None if was_settled else self.stored_at

    def settled_from(self, written_at: datetime, quiet: timedelta) -> datetime | None:
        """Since when the trace has been over in its present form; None while it is OPEN.

        An ENDED trace is over once no fragment came for `quiet`. `written_at` is when its row was
        last written, by the clock of the store. `stored_at` may be by another clock, so it counts
        only if it is earlier.
        """
        match self.phase:
            case OtlpPhase.OPEN:
                return None
            case OtlpPhase.ENDED:
                return max(written_at, min(self.stored_at, written_at) + quiet)
            case OtlpPhase.SETTLED:
                return written_at

    def row(self, computed: ComputedTrace, known: Trace | None) -> Trace:
        """The trace without payloads and spans: as computed, but for native fields of `known`."""
        return recomputed_trace(known, computed, self.native, input=None, output=None)


def _payload_fields(names: Collection[str]) -> NativeFields:
    return NativeFields(frozenset(names))


def _source_text(source: PayloadSource | None) -> str:
    """Equal texts stand for equal payloads while the span that they name doesn't change."""
    match source:
        case None:
            return ""
        case StatedPayload(json):
            return f"stated {hashlib.blake2b(json, digest_size=_DIGEST_BYTES).hexdigest()}"
        case PayloadOf(span_id):
            return f"span {span_id}"
        case LastMessageOf(span_id):
            return f"message {span_id}"


def source_span(source: PayloadSource | None) -> SpanId | None:
    """The span that a payload is taken from, if any."""
    return source.span_id if isinstance(source, PayloadOf | LastMessageOf) else None


def trace_input(source: PayloadSource | None, span_input: JsonText | None) -> JsonText | None:
    """The input of a trace; `span_input` is that of `source_span(source)`."""
    match source:
        case StatedPayload(json):
            return json
        case LastMessageOf():
            return last_user_message(span_input)
    return span_input


def trace_output(source: PayloadSource | None, span_output: JsonText | None) -> JsonText | None:
    """The output of a trace, as `trace_input`."""
    match source:
        case StatedPayload(json):
            return json
        case LastMessageOf():
            return last_answer(span_output)
    return span_output
