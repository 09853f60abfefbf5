"""What two adapters have to agree on: jsonb keeps values, not how they were written."""

import json
from dataclasses import replace
from decimal import Decimal

from domain.tracing.payload import JsonText
from domain.tracing.trace import Trace
from domain.tracing.usage import EXACT


def canonical(trace: Trace) -> Trace:
    """The trace with its metadata in one way of writing; everything else must be equal as it is."""
    return replace(
        trace,
        metadata=_written_one_way(trace.metadata),
        spans=tuple(
            replace(span, metadata=_written_one_way(span.metadata)) for span in trace.spans
        ),
    )


def _written_one_way(text: JsonText) -> JsonText:
    value = json.loads(text, parse_int=_number, parse_float=_number)
    return json.dumps(value, sort_keys=True).encode()


def _number(written: str) -> str:
    value = Decimal(written)
    return f"number {format(value.normalize(EXACT), 'f') if value else 0}"
