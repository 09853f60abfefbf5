"""The turns of a conversation: the traces of a session, without their spans."""

from collections import Counter
from dataclasses import dataclass
from typing import Final, Self

from domain.page import Position
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.payload_detail import PayloadPreview
from domain.tracing.span import SpanKind
from domain.tracing.trace import Trace, TraceSummary

TURNS_MAX: Final = 100  # on one page, each with two payloads of up to 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTurn:
    """A trace of a session with its payloads; a large payload is None and has a preview."""

    summary: TraceSummary
    input: JsonText | None
    output: JsonText | None
    input_preview: PayloadPreview | None
    output_preview: PayloadPreview | None
    llm_calls: int
    tool_calls: int

    @property
    def position(self) -> Position:
        return Position(self.summary.started_at, self.summary.id)

    @classmethod
    def from_trace(cls, trace: Trace) -> Self:
        """From a settled trace."""
        kinds = Counter(span.kind for span in trace.spans)
        input_preview = PayloadPreview.from_payload(trace.input)
        output_preview = PayloadPreview.from_payload(trace.output)
        return cls(
            summary=TraceSummary.from_trace(trace),
            input=None if input_preview else trace.input,
            output=None if output_preview else trace.output,
            input_preview=input_preview,
            output_preview=output_preview,
            llm_calls=kinds[SpanKind.LLM],
            tool_calls=kinds[SpanKind.TOOL],
        )
