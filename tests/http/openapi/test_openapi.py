"""The OpenAPI document."""

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from litestar import Litestar

from entrypoints.http.app import CONTROLLERS
from entrypoints.http.config import HttpConfig
from entrypoints.http.endpoint import Endpoint, HandlerSignature, endpoint_of
from entrypoints.http.middleware.otlp_errors import PATHS
from entrypoints.http.requests.body_io import JSON
from entrypoints.http.requests.errors import FieldErrors
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.raw_body import RawBody
from tests.http.conftest import CONFIG, Site
from tests.support.clients.contract_checks import CONTRACT, operations, violations
from tests.support.clients.openapi_snapshot import SNAPSHOT, text

BINARY = {"type": "string", "format": "binary"}
TIGHTER = {
    # A list has up to 100 tags with up to 255 characters each.
    *(
        f"{place}{rule}"
        for place in (
            *("POST /traces body.tags", "PATCH /traces/{trace_id} body.tags"),
            *("GET /traces query.tags", "GET /sessions query.tags"),
            *("POST /traces/batch/tags body.add_tags", "POST /traces/batch/tags body.remove_tags"),
            "POST /evaluations/trace-runs body.filters.tags",
            "POST /evaluations/session-runs body.filters.tags",
        )
        for rule in (": maxItems", ".[]: maxLength")
    ),
    # Costs are bounded.
    *(
        f"{place}.cost.*: {rule}"
        for place in (
            *("POST /traces body.spans.[]", "POST /traces/{trace_id}/spans body.[]"),
            "PATCH /traces/{trace_id}/spans/{span_id} body",
        )
        for rule in ("minimum", "maximum")
    ),
    # A request that asks for less than whole payloads, as no published client does, gets it.
    "GET /traces/{trace_id} 200: 1 types",
    # A request for figures by group, as no published client sends it, gets groups.
    "GET /traces/analytics 200: 3 types",
    # A trend takes one name, as before, or several. Buckets without numbers are listed on request.
    *(
        f"GET /evaluations/analytics/{kind}-scores/trend {place}"
        for kind in ("trace", "session")
        for place in ("query.metric_name: string", "200.[].avg_score: null")
    ),
    # A key that may not read gets back only what it sent.
    "PATCH /traces/{trace_id} 200: 1 types",
    "PATCH /traces/{trace_id}/spans/{span_id} 200: 1 types",
    "PATCH /evaluations/trace-scores/{score_id} 200: 1 types",
    "PATCH /evaluations/monitors/{monitor_id} 200: 1 types",
    "POST /evaluations/monitors/{monitor_id}/pause 200: 1 types",
    "POST /evaluations/monitors/{monitor_id}/resume 200: 1 types",
    "POST /evaluations/monitors/{monitor_id}/trigger 202: 1 types",
    "POST /evaluations/trace-runs/{run_id}/retry 202: 1 types",
    "POST /evaluations/session-runs/{run_id}/retry 202: 1 types",
    # Negative weights are refused.
    "POST /evaluations/session-runs body.signal_weights.*: minimum",
    "POST /evaluations/session-runs/batch body.signal_weights.*: minimum",
    # The only method.
    "POST /cli/auth/codes body.code_challenge_method: enum",
    "POST /cli/auth/codes body.expires_days: minimum",
    "POST /cli/auth/codes body.expires_days: maximum",
    # The range of a database integer.
    *(
        f"GET {path} query.offset: maximum"
        for path in (
            *("/traces", "/traces/users", "/sessions", "/sessions/{session_id}"),
            *("/evaluations/trace-scores", "/evaluations/session-scores"),
            *("/evaluations/trace-runs", "/evaluations/session-runs"),
            *("/evaluations/monitors", "/evaluations/monitors/{monitor_id}/runs"),
            "/evaluations/analytics/session-scores/comparison",
        )
    ),
    "POST /evaluations/session-runs body.filters.min_trace_count: maximum",
    # More orders than published clients know.
    "GET /traces query.sort_by: enum",
    "GET /evaluations/analytics/session-scores/comparison query.sort_order: enum",
    # Bounds of names and values of scores.
    "POST /evaluations/trace-scores body.name: minLength",
    "POST /evaluations/trace-scores body.name: maxLength",
    "POST /evaluations/trace-scores body.value: maxLength",
    "PATCH /evaluations/trace-scores/{score_id} body.value: maxLength",
    "POST /evaluations/trace-scores body.reason: maxLength",
    "PATCH /evaluations/trace-scores/{score_id} body.reason: maxLength",
    # Bounds of names, models and ids of runs.
    *(
        f"POST /evaluations/{kind}-runs{batch} body.{rule}"
        for kind in ("trace", "session")
        for batch in ("", "/batch")
        for rule in ("name: maxLength", "model: minLength", "model: maxLength")
    ),
    # A list of names has a bound: each name is checked.
    *(
        f"POST /evaluations/{kind}-runs{batch} body.metrics: maxItems"
        for kind in ("trace", "session")
        for batch in ("", "/batch")
    ),
    "POST /evaluations/monitors body.metrics: maxItems",
    "PATCH /evaluations/monitors/{monitor_id} body.metrics: maxItems",
    "POST /evaluations/trace-runs/batch body.trace_ids: maxItems",
    "POST /evaluations/session-runs/batch body.session_ids: maxItems",
    "POST /evaluations/session-runs/batch body.session_ids.[]: maxLength",
    # The same for monitors; and fields that refuse null.
    *(
        f"{method} body.{rule}"
        for method in ("POST /evaluations/monitors", "PATCH /evaluations/monitors/{monitor_id}")
        for rule in (
            *("name: minLength", "name: maxLength", "model: minLength", "model: maxLength"),
            *("cadence: maxLength", "signal_weights.*: minimum"),
        )
    ),
    "POST /evaluations/monitors body.target_type: enum",
    "PATCH /evaluations/monitors/{monitor_id} body.metrics: minItems",
    *(
        f"PATCH /evaluations/monitors/{{monitor_id}} body.{name}: null"
        for name in ("name", "cadence", "only_if_changed", "sampling_rate")
    ),
    # An enumeration in place of any text.
    *(
        f"{method} /evaluations/monitors{place}.{field}: enum"
        for method, place in (
            *(("POST", " 201"), ("GET", " 200.items.[]"), ("GET", "/{monitor_id} 200")),
            *(("PATCH", "/{monitor_id} 200"), ("POST", "/{monitor_id}/pause 200")),
            ("POST", "/{monitor_id}/resume 200"),
        )
        for field in ("status", "target_type")
    ),
    "POST /evaluations/monitors/{monitor_id}/trigger 202.target_type: enum",
    "GET /evaluations/monitors/{monitor_id}/runs 200.items.[].target_type: enum",
    *(
        f"{method} /evaluations/{kind}-runs{place}.target_type: enum"
        for kind in ("trace", "session")
        for method, place in (
            *(("POST", " 202"), ("POST", "/batch 202"), ("POST", "/{run_id}/retry 202")),
            *(("GET", " 200.items.[]"), ("GET", "/{run_id} 200")),
        )
    ),
    *(
        f"GET /evaluations/session-runs/{{run_id}}/scores 200.[].{field}: enum"
        for field in ("data_type", "source", "status")
    ),
    *(
        f"GET /evaluations/{place}: enum"
        for place in (
            *("trace-metrics 200.[].category", "session-metrics 200.[].category"),
            "trace-runs/template 200.metric.category",
            "analytics/session-scores/history/{session_id} 200.[].status",
            *(
                f"session-scores{scores}.{field}"
                for scores in (" 200.items.[]", "/{session_id} 200.[]")
                for field in ("data_type", "source", "status")
            ),
        )
    ),
    # Names are not empty.
    "PATCH /traces/{trace_id} body.name: minLength",
    "PATCH /traces/{trace_id}/spans/{span_id} body.name: minLength",
    # The configured maximum of spans is above the 500 of the contract.
    "POST /traces body.spans: maxItems",
    "POST /traces/{trace_id}/spans body: maxItems",
}


@pytest.fixture
async def document(site: Site) -> Any:
    return (await site.http.get("/openapi.json")).json()


async def test_document_has_every_served_route(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    assert len(operations(document)) >= 44
    assert set(document["components"]["securitySchemes"]) == {
        "HTTPBearer",
        "ApiKey",
        "ProjectID",
        "ProjectName",
        "OrganizationID",
        "Session",
        "CliSession",
        "SessionVerifier",
    }


async def test_every_operation_is_fully_documented(document: Any) -> None:
    envelope = {"$ref": "#/components/schemas/ErrorResponse"}
    status_schema = {"$ref": "#/components/schemas/RpcStatus"}
    for (method, path), reported in operations(document).items():
        assert reported["summary"]
        assert reported["description"]
        assert ("security" in reported) is True
        assert not reported["security"] or "503" in reported["responses"]
        for parameter in reported["parameters"]:
            assert parameter["description"]
            assert not parameter["required"] or parameter["example"]
        if "requestBody" in reported:
            assert reported["requestBody"]["content"]["application/json"]["example"]
            assert {"400", "401", "413", "415", "422"} <= set(reported["responses"])
        for status, answer in reported["responses"].items():
            assert answer["description"]
            assert "X-Request-ID" in answer["headers"]
            if status in {"204", "304"}:
                assert "content" not in answer
            elif int(status) < 300:
                for shown in answer["content"].values():  # a file has several media types
                    assert shown["schema"] == BINARY or shown["example"] is not None
            elif (method, path, status) != ("get", "/health/ready", "503"):
                found = answer["content"]["application/json"]["schema"]
                assert found == (status_schema if path in PATHS else envelope)
        assert "500" in reported["responses"]
    ids = [reported["operationId"] for reported in operations(document).values()]
    assert len(set(ids)) == len(ids)


async def test_every_reference_resolves(document: Any) -> None:
    schemas = document["components"]["schemas"]

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [ref for one in node for ref in references(one)]
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for one in node.values() for ref in references(one)]
        return []

    found = {ref.rpartition("/")[2] for ref in references(document)}
    assert found <= set(schemas)
    assert {"TraceCreate", "SpanCreate", "TraceResponse", "SpanStatusCode"} <= found
    assert {"TracePage", "PaginatedResponse_UserSummary_"} <= found
    assert not {"TraceQuery", "TracePath"} & set(schemas)


# The bytes of a body are the bound of an exported trace, to which parts may be added without limit,
# and of OpenTelemetry's lists, whose items are counted together.
UNBOUNDED_LISTS = {
    *(f"POST /traces/import traces.[].{name}" for name in ("spans", "scores", "session_scores")),
}


async def test_names_of_schemas_have_no_path_of_a_module(document: Any) -> None:
    """Litestar adds the module to the name if two classes have the same one."""
    assert [name for name in document["components"]["schemas"] if "." in name] == []


async def test_lists_of_requests_have_a_bound(document: Any) -> None:
    schemas = document["components"]["schemas"]

    def unbounded(schema: Any, place: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
        if (name := schema.get("$ref", "").rpartition("/")[2]) and name not in seen:
            yield from unbounded(schemas[name], place, (*seen, name))
        for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            yield from unbounded(option, place, seen)
        for field, inner in schema.get("properties", {}).items():
            yield from unbounded(inner, f"{place}.{field}".lstrip("."), seen)
        if schema.get("type") == "array":
            if "maxItems" not in schema:
                yield place
            yield from unbounded(schema["items"], f"{place}.[]", seen)

    found = {
        f"{method.upper()} {path} {place}"
        for (method, path), reported in operations(document).items()
        if "requestBody" in reported and path not in PATHS
        for content in reported["requestBody"]["content"].values()
        for place in unbounded(content["schema"], "")
    }
    assert found == UNBOUNDED_LISTS


async def test_types_match_accepted_values(document: Any) -> None:
    schemas = document["components"]["schemas"]
    trace = schemas["TraceCreate"]
    assert set(trace["required"]) == {"name", "started_at"}
    assert trace["properties"]["started_at"] == {"type": "string", "format": "date-time"}
    assert trace["properties"]["name"] == {"type": "string", "minLength": 1, "maxLength": 512}
    assert trace["properties"]["spans"]["maxItems"] == CONFIG.max_spans
    batch = schemas["BatchCreate"]["properties"]["traces"]
    assert batch["items"] == {"$ref": "#/components/schemas/TraceCreate"}
    assert set(schemas["TraceResponse"]["required"]) == set(schemas["TraceResponse"]["properties"])
    parameters = {one["name"]: one for one in document["paths"]["/traces"]["get"]["parameters"]}
    assert parameters["limit"]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 200,
        "default": 50,
    }
    [path, *_, etag] = document["paths"]["/traces/{trace_id}"]["get"]["parameters"]
    assert (etag["in"], etag["name"], etag["required"]) == ("header", "If-None-Match", False)
    assert (path["in"], path["required"]) == ("path", True)
    assert path["schema"] == {"type": "string", "format": "uuid"}


async def test_configured_limit_is_published() -> None:
    site = Site(config=HttpConfig(version="1", environment="test", max_spans=7))
    async with site.http:
        document = (await site.http.get("/openapi.json")).json()
    body = document["paths"]["/traces/{trace_id}/spans"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert (schema["minItems"], schema["maxItems"]) == (1, 7)


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract isn't next to this checkout")
async def test_contract_is_kept(document: Any) -> None:
    found = set(violations(json.loads(CONTRACT.read_text()), document))
    assert found - TIGHTER == set()
    assert TIGHTER - found == set(), "no difference any more: take it off the list"


def endpoints() -> Iterator[tuple[Endpoint, HandlerSignature]]:
    app = Litestar(route_handlers=CONTROLLERS, openapi_config=None, logging_config=None)
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if (endpoint := endpoint_of(handler)) is not None:
                yield endpoint, endpoint.signature(handler)


def test_examples_match_their_types() -> None:
    for endpoint, signature in endpoints():
        text = msgspec.json.encode(endpoint.example)
        if signature.response_types:
            assert any(fits(text, kind) for kind in signature.response_types), endpoint.summary
        sent = msgspec.json.encode(endpoint.body_example)
        if isinstance(signature.content, RawBody):
            assert fits(sent, signature.content.media_types[JSON])
        if isinstance(signature.content, Body):
            errors = FieldErrors()
            assert signature.content.parse_part(sent, CONFIG, errors) is not None, endpoint.summary
            assert errors.found == []


def fits(text: bytes, kind: Any) -> bool:
    """Whether JSON is a value of the type and has no other keys."""
    try:
        shown = msgspec.json.encode(msgspec.json.decode(text, type=kind))
    except msgspec.ValidationError:
        return False
    return bool(msgspec.json.decode(shown) == msgspec.json.decode(text))


def without(*path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        *parents, last = path
        for step in parents:
            document = document[step]
        del document[last]

    return change


def put(value: Any, *path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        *parents, last = path
        for step in parents:
            document = document[step]
        document[last] = value

    return change


CHANGED = {
    *("/traces", "/traces/{trace_id}", "/traces/analytics", "/sessions", "/sessions/{session_id}")
}
LIST = ("paths", "/traces", "get")
LIMIT = -4  # in its parameters
SCHEMAS = ("components", "schemas")


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (without("paths", "/traces", "post"), "POST /traces"),
        (without("paths", "/sessions/{session_id}"), "GET /sessions/{session_id}"),
        (without(*LIST, "responses", "200"), "GET /traces 200"),
        (put([], *LIST, "parameters"), "GET /traces query.limit"),
        (put(True, *LIST, "parameters", LIMIT, "required"), "GET /traces query.limit: required"),
        (
            put(20, *LIST, "parameters", LIMIT, "schema", "maximum"),
            "GET /traces query.limit: maximum",
        ),
        (
            put(9, *LIST, "parameters", LIMIT, "schema", "default"),
            "GET /traces query.limit: default",
        ),
        (put(["asc"], *SCHEMAS, "SortOrder", "enum"), "GET /traces query.sort_order: enum"),
        (without(*SCHEMAS, "TraceUpdate", "properties", "tags"), "body.tags"),
        (put(["name"], *SCHEMAS, "TraceUpdate", "required"), "body.name: required"),
        (
            put({"type": "string"}, *SCHEMAS, "TraceUpdate", "properties", "user_id"),
            "user_id: null",
        ),
        (
            put({"type": "string"}, *SCHEMAS, "TraceUpdate", "properties", "input"),
            "input: any JSON",
        ),
        (put([], *SCHEMAS, "TopModel", "required"), "200.[].model: required"),
        (put({"type": "string"}, *SCHEMAS, "TopModel", "properties", "model"), ""),
        (put({"type": "string"}, *SCHEMAS, "TopModel", "properties", "call_count"), ": integer"),
        (without(*SCHEMAS, "SpanResponse", "properties", "cost"), "200.spans.[].cost"),
        (put({"type": "null"}, *SCHEMAS, "SpanResponse", "properties", "name"), ": string"),
    ],
)
async def test_broken_contract_is_detected(
    document: Any, change: Callable[[Any], None], reported: str
) -> None:
    few = {path: reported for path, reported in document["paths"].items() if path in CHANGED}
    promised = document | {"paths": few}
    served = json.loads(json.dumps(promised))
    change(served)
    found = list(violations(promised, served))
    assert any(one.endswith(reported) for one in found) if reported else found == []


def test_snapshot_equals_the_served_document() -> None:
    assert SNAPSHOT.read_text() == text(), "run: python -m tests.support.clients.openapi_snapshot"


class Tags(HTMLParser):
    """Collects what a page opens, links to, and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        found = dict(attrs)
        self.targets += [found[name] or "" for name in ("href", "src") if name in found]
