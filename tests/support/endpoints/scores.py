"""Scores of traces, spans and sessions, their analytics, and agreement of judges with people."""

from tests.support.endpoints.spec import (
    DELETE_DATA,
    EVALUATE,
    EVALUATE_AND_READ,
    INGEST,
    PAGE,
    READ,
    Audit,
    EndpointSpec,
)

SCORE = {"name": "{text}", "value": "1"}
TRACES = "/evaluations/trace-scores"
SESSIONS = "/evaluations/session-scores"
ANALYTICS = "/evaluations/analytics"
LIST = f"{PAGE}&eval_run_id={{eval_run_id}}&name={{text}}"
FIGURES = {"summary": "", "trend": "metric_name={text}", "distribution": "metric_name={text}"}
ENDPOINTS = (
    EndpointSpec(
        f"POST {TRACES}",
        INGEST,
        201,
        body={"trace_id": "{trace_id}", "span_id": "{span_id}", **SCORE},
        constrained=("trace_id", "value"),
        takes_key=True,
        variants=({"body": {"trace_id": "{trace_id}", **SCORE}},),
    ),
    EndpointSpec(
        f"GET {TRACES}",
        READ,
        200,
        query=f"{LIST}&trace_id={{trace_id}}&span_id={{span_id}}",
        variants=(
            {"query": f"{LIST}&trace_id={{trace_id}}"},
            {"query": f"{LIST}&trace_id={{trace_id}}&of_spans=true"},
        ),
    ),
    EndpointSpec(
        f"GET {TRACES}/{{trace_id}}",
        READ,
        200,
        query="span_id={span_id}",
        variants=({"query": ""},),
    ),
    EndpointSpec(f"GET {TRACES}/{{score_id}}/history", READ, 200, in_contract=False),
    EndpointSpec(
        f"PATCH {TRACES}/{{score_id}}",
        EVALUATE,
        200,
        body={"value": "1"},
        constrained=("value",),
        audit=Audit("score.changed", "score_id"),
    ),
    EndpointSpec(
        f"POST {TRACES}/{{score_id}}/undo",
        EVALUATE_AND_READ,
        200,
        other_statuses={409},
        in_contract=False,
        audit=Audit("score.changed", "score_id"),
    ),
    EndpointSpec(
        f"DELETE {TRACES}/{{score_id}}", EVALUATE, 204, audit=Audit("score.deleted", "score_id")
    ),
    EndpointSpec(
        f"POST {SESSIONS}",
        INGEST,
        201,
        body={"session_id": "{session_id}", **SCORE},
        constrained=("session_id", "value"),
        takes_key=True,
        in_contract=False,
    ),
    EndpointSpec(f"GET {SESSIONS}", READ, 200, query=f"{LIST}&session_id={{session_id}}"),
    EndpointSpec(f"GET {SESSIONS}/{{session_id}}", READ, 200),
    EndpointSpec(f"GET {SESSIONS}/{{score_id}}/history", READ, 200, in_contract=False),
    EndpointSpec(
        f"PATCH {SESSIONS}/{{score_id}}",
        EVALUATE,
        200,
        body={"value": "1"},
        constrained=("value",),
        audit=Audit("score.changed", "score_id"),
        in_contract=False,
    ),
    EndpointSpec(
        f"POST {SESSIONS}/{{score_id}}/undo",
        EVALUATE_AND_READ,
        200,
        other_statuses={409},
        in_contract=False,
        audit=Audit("score.changed", "score_id"),
    ),
    EndpointSpec(
        f"DELETE {SESSIONS}/{{score_id}}", EVALUATE, 204, audit=Audit("score.deleted", "score_id")
    ),
    *(
        EndpointSpec(
            f"GET {ANALYTICS}/{kind}-scores/{figure}",
            READ,
            200,
            query=query,
            in_contract=kind != "span",
        )
        for kind in ("trace", "span", "session")
        for figure, query in FIGURES.items()
    ),
    EndpointSpec(f"GET {ANALYTICS}/session-scores/history/{{session_id}}", READ, 200),
    EndpointSpec(
        f"GET {ANALYTICS}/session-scores/comparison", READ, 200, query="metric_name={text}"
    ),
    EndpointSpec(f"GET {ANALYTICS}/agreement", READ, 200, query="name={text}", in_contract=False),
    EndpointSpec(
        f"GET {ANALYTICS}/agreement/traces",
        READ,
        200,
        query="name={text}&cell=both_pass",
        in_contract=False,
    ),
    EndpointSpec(
        f"GET {ANALYTICS}/annotation-queue", READ, 200, query="name={text}", in_contract=False
    ),
    EndpointSpec(
        f"POST {ANALYTICS}/annotation-queue/claims",
        DELETE_DATA,
        200,
        query="include=preview",
        body={"name": "{text}", "count": 2, "holder": "{text}", "skip": ["{trace_id}"]},
        in_contract=False,
    ),
)
