"""Example requests of the OpenAPI document."""

from typing import Final

_TRACE_ID: Final = "5b8efff798038103d269b633813fc60c"
_SPAN_ID: Final = "eee19b7ec3c1b174"
_RESOURCE: Final = {
    "attributes": [{"key": "service.name", "value": {"stringValue": "checkout-bot"}}]
}
_SCOPE: Final = {"name": "opentelemetry.instrumentation.openai_v2"}

REJECTION: Final = {
    "rejected_at": "2026-03-01T09:00:00+00:00",
    "signal": "traces",
    "reason": "no_start_time",
    "message": "the span has no start time",
    "count": 1,
    "scope": "opentelemetry.instrumentation.openai_v2",
    "service": "checkout-bot",
    "trace_id": _TRACE_ID,
    "span_id": _SPAN_ID,
}
TRACES: Final = {
    "resourceSpans": [
        {
            "resource": _RESOURCE,
            "scopeSpans": [
                {
                    "scope": _SCOPE,
                    "spans": [
                        {
                            "traceId": _TRACE_ID,
                            "spanId": _SPAN_ID,
                            "name": "chat gpt-4o",
                            "startTimeUnixNano": "1772355600000000000",
                            "endTimeUnixNano": "1772355601250000000",
                            "attributes": [
                                {
                                    "key": "gen_ai.request.model",
                                    "value": {"stringValue": "gpt-4o"},
                                }
                            ],
                        }
                    ],
                }
            ],
        }
    ]
}
LOGS: Final = {
    "resourceLogs": [
        {
            "resource": _RESOURCE,
            "scopeLogs": [
                {
                    "scope": _SCOPE,
                    "logRecords": [
                        {
                            "traceId": _TRACE_ID,
                            "spanId": _SPAN_ID,
                            "eventName": "gen_ai.user.message",
                            "timeUnixNano": "1772355600000000000",
                            "body": {"stringValue": "Weather in Paris?"},
                        }
                    ],
                }
            ],
        }
    ]
}
METRICS: Final[dict[str, list[dict[str, list[object]]]]] = {
    "resourceMetrics": [{"scopeMetrics": []}]
}
