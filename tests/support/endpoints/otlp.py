"""OpenTelemetry over HTTP, at three prefixes."""

from typing import Any

from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.spec import INGEST, PAGE, READ, EndpointSpec, beyond_contract

IDS = {"traceId": "{trace_hex}", "spanId": "{span_hex}"}
ATTRIBUTES = [
    {"key": "session.id", "value": {"stringValue": "{session_id}"}},
    {"key": "user.id", "value": {"stringValue": "{reader}"}},
]
SPAN = IDS | {
    "parentSpanId": "{span_hex}",
    "name": "{text}",
    "startTimeUnixNano": "1772409600000000000",
    "endTimeUnixNano": "1772409601000000000",
    "attributes": ATTRIBUTES,
}
RECORD = IDS | {
    "eventName": "gen_ai.user.message",
    "timeUnixNano": "1772409600000000000",
    "body": {"stringValue": "{text}"},
}
BODIES: dict[str, Any] = {
    "traces": {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]},
    "logs": {"resourceLogs": [{"scopeLogs": [{"logRecords": [RECORD]}]}]},
    "metrics": {"resourceMetrics": []},
}
ENDPOINTS = beyond_contract(
    *(
        EndpointSpec(
            f"POST {prefix}/v1/{signal}",
            INGEST,
            200,
            body=body,
            route_class=RouteClass.INGEST,
            limited_by_volume=True,
        )
        for prefix in ("", "/otel", "/api/public/otel")
        for signal, body in BODIES.items()
    ),
    EndpointSpec(
        "GET /ingest/rejections", READ, 200, query=f"{PAGE}&reason=invalid_id", shows_more=True
    ),
)
