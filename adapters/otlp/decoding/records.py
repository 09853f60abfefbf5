"""Which log records are kept: those that say something of a span or evaluate one."""

from typing import Final

from adapters.otlp.decoding.fragments import span_id_from, trace_id_from
from domain.ids import TraceId
from domain.tracing.otel.fragments import Attributes, AttributeValue

EVALUATION_RESULT: Final = "gen_ai.evaluation.result"
INFERENCE_DETAILS: Final = "gen_ai.client.inference.operation.details"

_KEPT: Final = frozenset(
    {
        EVALUATION_RESULT,
        INFERENCE_DETAILS,
        "gen_ai.system.message",
        "gen_ai.user.message",
        "gen_ai.assistant.message",
        "gen_ai.tool.message",
        "gen_ai.choice",
        "claude_code.user_prompt",
        "claude_code.tool_result",
        "claude_code.api_request",
        "claude_code.assistant_response",
    }
)
# They belong to a span that is found by other facts, so they need not name one.
_WITHOUT_SPAN: Final = frozenset(
    {
        EVALUATION_RESULT,
        "claude_code.tool_result",
        "claude_code.api_request",
        "claude_code.assistant_response",
    }
)
_EVENT_NAME: Final = "event.name"
_RESPONSE_ID: Final = "gen_ai.response.id"


def record_name(event_name: str, attributes: Attributes, body: AttributeValue) -> str | None:
    """The first name that is known; None for a record that isn't kept."""
    for name in (event_name, attributes.get(_EVENT_NAME), body):
        if isinstance(name, str) and name in _KEPT:
            return name
    return None


def record_ids(
    name: str, attributes: Attributes, trace_id: bytes, span_id: bytes
) -> tuple[TraceId | None, str | None]:
    """The ids of a record that is kept. Senders say by zeros, too, that there is none.

    Raises Rejected if an id is invalid or is missing though the record needs it.
    """
    if name == EVALUATION_RESULT and isinstance(attributes.get(_RESPONSE_ID), str):
        trace = trace_id_from(trace_id) if any(trace_id) else None
    else:
        trace = trace_id_from(trace_id)
    if name in _WITHOUT_SPAN and not any(span_id):
        return trace, None
    return trace, span_id_from(span_id)
