"""The OpenAPI document, generated from the served routes and the types that they use."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from entrypoints.http.browser_requests import HOST_PREFIX, SESSION_COOKIES
from entrypoints.http.config import HttpConfig
from entrypoints.http.endpoint import (
    CHANGING_METHODS,
    Endpoint,
    HandlerSignature,
    endpoint_of,
)
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.otlp_errors import PATHS, RETRY_AFTER_MAX_S
from entrypoints.http.requests import etags
from entrypoints.http.requests.body_io import JSON
from entrypoints.http.requests.errors import IGNORED_SHOWN_MAX
from entrypoints.http.requests.idempotency_key import KEY_PARAMETER
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.raw_body import RawBody
from entrypoints.http.requests.unknown_names import UnknownKeys
from entrypoints.http.responses import HAS_ETAG

_REF: Final = "#/components/schemas/{name}"
# Types that are published under another name than ours.
_PUBLISHED_NAMES: Final = {
    "SpanStatus": "SpanStatusCode",
    "TraceSort": "TraceSortBy",
    "SessionSort": "SessionSortBy",
    "Granularity": "AnalyticsGranularity",
    "Role": "MembershipRole",
    "Expiration": "KeyExpiration",
    "Scope": "KeyScope",
    "MetricDetail": "MetricInfo",
    "JudgeProvider": "ProviderInfo",
    "RunStatus": "EvaluationStatus",
    "DataType": "ScoreDataType",
    "DataSubjectKind": "OwnerKind",
    "DefinitionKind": "Kind",
    "AlertFigure": "Figure",
    "SelectionReason": "Why",
}
_NO_CONTENT: Final = 204

# In the order in which the reference shows them.
_TAGS: Final = {
    "traces": "Agent runs with their spans: storing, reading, changing and analyzing them",
    "opentelemetry": "Spans and log records of OpenTelemetry, and what was rejected of them",
    "sessions": "Conversations, which consist of traces",
    "model-prices": "Token prices of a project, and repricing of stored spans",
    "erasures": "Erasure of all data of a user or a session, with a receipt",
    "evaluations": "Scores of traces and sessions, and the runs and monitors that create them",
    "datasets": "Test cases in versions that never change",
    "experiments": "Results of the items of a dataset, and what was measured of them",
    "organizations": "Tenants, with their people, projects and keys",
    "projects": "Projects, which own traces",
    "usage": "Judge costs of an organization",
    "api-keys": "Credentials of programs",
    "members": "People and their roles",
    "invitations": "Invitations of people to an organization",
    "audit-log": "The log of all changes in an organization",
    "me": "The signed-in person",
    "session": "Sign-in of browsers, for the dashboard",
    "cli": "Login of the command line",
    "service": "Health and version of the service",
}
DESCRIPTION: Final = (
    "Traces, sessions and evaluations of LLM agents, and the organizations that own them. Times "
    "are in UTC. All errors have the same schema, and report all invalid fields at once. Unknown "
    "keys of a body and unknown parameters are invalid; only those of traces and spans are "
    "ignored, and named in the header `X-Ignored-Fields`. Every response has an X-Request-ID. The "
    "first valid request with a new X-Project-Name creates the project; its response has the "
    "header `X-Project-Created: true`."
)
_SCHEMES: Final = {
    "HTTPBearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "ProjectName": {"type": "apiKey", "in": "header", "name": "X-Project-Name"},
    "ProjectID": {"type": "apiKey", "in": "header", "name": "X-Project-ID"},
    "OrganizationID": {"type": "apiKey", "in": "header", "name": "X-Organization-ID"},
    # Only a page of the service can use these, with the headers that its browser adds.
    **{
        scheme: {"type": "apiKey", "in": "cookie", "name": f"{HOST_PREFIX}{cookie}"}
        for scheme, cookie in zip(("Session", "CliSession"), SESSION_COOKIES.values(), strict=True)
    },
    "SessionVerifier": {"type": "apiKey", "in": "header", "name": "X-Session-Verifier"},
}
_REQUEST_ID: Final = {
    "X-Request-ID": {
        "description": "The X-Request-ID of the request if it had a valid one, else a new id.",
        "schema": {"type": "string"},
    }
}
_ETAG: Final = {
    "ETag": {
        "description": "Identifies the content of the response, for If-None-Match.",
        "schema": {"type": "string"},
    }
}
_NOT_MODIFIED: Final = "If-None-Match has the ETag of what would be sent, and nothing is sent"
_BINARY: Final = {"type": "string", "format": "binary"}
_ERROR_DESCRIPTIONS: Final = {
    400: "The body is not JSON",
    401: "The credentials are missing, unknown, revoked or expired",
    403: "The caller lacks a role, scope or membership",
    404: "The object does not exist, or the caller has no access to it",
    409: "The state of the object does not allow the request",
    412: "If-Match isn't supported: ETags of objects are weak",
    413: "The body is too large",
    416: "The range is beyond the end of the file",
    415: "The media type or coding of the body is not supported",
    422: "The request has invalid fields; `errors` lists each of them",
    429: "A rate limit was exceeded; retry after Retry-After seconds",
    500: "An unexpected error of the service",
    503: (
        "The service is overloaded, or a part that the request needs is down; retry after "
        "Retry-After seconds"
    ),
}


def _integer_header(description: str, minimum: int = 0, **more: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": minimum, **more}
    return {"description": description, "schema": schema}


_RETRY_AFTER: Final = {"Retry-After": _integer_header("Seconds to wait", 1)}
_SHORT_RETRY_AFTER: Final = {
    "Retry-After": _integer_header("Seconds to wait", 1, maximum=RETRY_AFTER_MAX_S)
}
_RATE_LIMIT: Final = {
    "RateLimit-Policy": {
        "description": (
            "The limit that is counted: its class, its number of requests (q) and its window in "
            "seconds (w)"
        ),
        "schema": {"type": "string"},
    },
    "RateLimit-Limit": _integer_header("The number of requests that the window allows"),
    "RateLimit-Remaining": _integer_header("The number of requests left in the window"),
    "RateLimit-Reset": _integer_header(
        "Seconds until the oldest counted request leaves the window"
    ),
}
_IGNORED_FIELDS: Final = {
    "X-Ignored-Fields": {
        "description": (
            f"The first {IGNORED_SHOWN_MAX} paths of unknown keys, which were not stored; "
            "percent-encoded, separated by commas"
        ),
        "schema": {"type": "string"},
    }
}
_ERROR_HEADERS: Final = {429: _RETRY_AFTER | _RATE_LIMIT, 503: _RETRY_AFTER}
_BODY_ERRORS: Final = (400, 413, 415, 422)


def document(app: Litestar, config: HttpConfig) -> dict[str, Any]:
    """The document of every endpoint of `app`."""
    operations = sorted(_operations(app), key=lambda one: (one.path, one.method))
    schemas = _Schemas(
        _types(operations), _parameter_types(operations), _open_types(operations), config
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        methods = paths.setdefault(operation.path, {})
        methods[operation.method] = _describe(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PandaProbe server",
            "version": config.version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": _tags(paths),
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _SCHEMES},
    }


@dataclass(frozen=True, slots=True)
class _Operation:
    """An endpoint at one path and method."""

    path: str
    method: str
    endpoint: Endpoint
    signature: HandlerSignature
    handler: HTTPRouteHandler


def _operations(app: Litestar) -> Iterator[_Operation]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if (endpoint := endpoint_of(handler)) is not None:
                for method in handler.http_methods:
                    signature = endpoint.signature(handler)
                    yield _Operation(
                        route.path_format, method.lower(), endpoint, signature, handler
                    )


def _types(operations: Iterable[_Operation]) -> list[Any]:
    """The types of all request parts and responses, without duplicates."""
    found: list[Any] = [ErrorResponse]
    for operation in operations:
        signature, endpoint = operation.signature, operation.endpoint
        wires = (
            *(part.wire for part in (signature.path, signature.params) if part),
            *(kind for kind in _body_types(signature.content).values() if kind is not None),
            *signature.response_types,
            *endpoint.error_types.values(),
            *([] if endpoint.error_type is None else [endpoint.error_type]),
            *endpoint.referenced_types,
        )
        found += [wire for wire in wires if wire not in found]
    return found


def _body_types(content: Body[Any] | RawBody[Any] | None) -> Mapping[str, Any]:
    """The type of a body by its media type; None: it is binary."""
    if content is None:
        return {}
    return content.media_types if isinstance(content, RawBody) else {JSON: content.wire}


def _parameter_types(operations: Iterable[_Operation]) -> set[str]:
    """Names of the types of paths and queries: they become parameters, and no components."""
    return {
        part.wire.__name__
        for operation in operations
        for part in (operation.signature.path, operation.signature.params)
        if part
    }


def _open_types(operations: Iterable[_Operation]) -> set[str]:
    """Names of the types of bodies that may have unknown keys, which are ignored and reported."""
    wires = [
        content.wire
        for operation in operations
        if isinstance(content := operation.signature.content, Body)
        and _reports_unknown_keys(operation.signature)
    ]
    return set(msgspec.json.schema_components(wires, ref_template=_REF)[1])


def _reports_unknown_keys(signature: HandlerSignature) -> bool:
    content = signature.content
    return isinstance(content, Body) and content.unknown_keys is UnknownKeys.REPORTED


class _Schemas:
    """The schema of each type, and the components that they refer to."""

    def __init__(
        self,
        types: list[Any],
        parameter_types: set[str],
        open_types: set[str],
        config: HttpConfig,
    ) -> None:
        schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
        for name in open_types:
            components[name].pop("additionalProperties", None)  # enums have none
        self._config = config
        self._types = types
        self._schemas = [self._published(one) for one in schemas]
        self._all = {
            _PUBLISHED_NAMES.get(name, name): self._published(one)
            for name, one in components.items()
        }
        self.components = {
            name: one for name, one in self._all.items() if name not in parameter_types
        }

    def schema_of(self, *wires: Any) -> dict[str, Any]:
        """The schema of a type, or that of a union of several."""
        if len(wires) > 1:
            return {"anyOf": [self.schema_of(wire) for wire in wires]}
        found: dict[str, Any] = self._schemas[self._types.index(wires[0])]
        return found

    def parameters_of(self, wire: Any) -> Iterator[tuple[str, dict[str, Any], bool]]:
        """Name and schema of each field of a path or query, and whether it is required."""
        whole = self._all[wire.__name__]
        for name, schema in whole["properties"].items():
            yield name, schema, name in whole["required"]

    def _published(self, schema: Any) -> Any:
        if isinstance(schema, list):
            return [self._published(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        found = {name: self._published(member) for name, member in schema.items()}
        if "type" in found:
            found.pop("anyOf", None)  # epochs are accepted too, but not advertised
        if "patternProperties" in found:
            found["additionalProperties"] = False  # instead of the schema of the dict's values
        if isinstance(setting := found.get("maxItems"), str):
            found["maxItems"] = getattr(self._config, setting)
        if isinstance(ref := found.get("$ref"), str):
            name = ref.rpartition("/")[2]
            found["$ref"] = _REF.format(name=_PUBLISHED_NAMES.get(name, name))
        if (title := found.get("title")) in _PUBLISHED_NAMES:
            found["title"] = _PUBLISHED_NAMES[title]
        return found


def _describe(operation: _Operation, schemas: _Schemas) -> dict[str, Any]:
    endpoint, signature, handler = operation.endpoint, operation.signature, operation.handler
    summary, description = endpoint.texts(handler)
    described: dict[str, Any] = {
        "operationId": handler.operation_id or handler.handler_name,
        "summary": summary,
        "description": description,
        "tags": [_tag(operation.path)],
        "security": endpoint.access.security,
        "parameters": [
            *_parameters(signature, schemas),
            *([etags.PARAMETER] if _has_etag(operation) else []),
        ],
        "responses": _responses(operation, schemas),
    }
    if signature.content is not None:
        types = _body_types(signature.content)
        content = _content({JSON: types[JSON]}, schemas, example=endpoint.body_example)
        content |= _content({one: types[one] for one in types if one != JSON}, schemas)
        described["requestBody"] = {"required": True, "content": content}
    return described


def _content(types: Mapping[str, Any], schemas: _Schemas, **more: Any) -> dict[str, Any]:
    """A body by its media types; `more` describes it in those that aren't binary."""
    return {
        media_type: {"schema": _BINARY}
        if kind is None
        else {"schema": schemas.schema_of(kind), **more}
        for media_type, kind in types.items()
    }


def _tag(path: str) -> str:
    if path in PATHS or path.startswith("/ingest/"):
        return "opentelemetry"
    first, _, rest = path.strip("/").partition("/")
    if first == "organizations" and (inner := rest.partition("/")[2]):
        return inner.partition("/")[0]
    return first if first not in {"", "health"} else "service"


def _tags(paths: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    operations = [operation for methods in paths.values() for operation in methods.values()]
    used = {tag for operation in operations for tag in operation["tags"]}
    return [{"name": name, "description": text} for name, text in _TAGS.items() if name in used]


def _parameters(signature: HandlerSignature, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for part in (signature.path, signature.params):
        if part is None:
            continue
        for name, schema, is_required in schemas.parameters_of(part.wire):
            inner = next(iter(schema.get("anyOf", ())), schema)  # without null, if it is optional
            parameter = {"name": name, "in": part.location, "required": is_required}
            if (text := schema.get("description", inner.get("description"))) is not None:
                parameter["description"] = text
            if (examples := inner.get("examples")) is not None:
                parameter["example"] = examples[0]
            if "patternProperties" in schema:
                parameter |= {"style": "form", "explode": True}  # a parameter for each property
            yield {**parameter, "schema": _without_texts(schema)}
    if signature.takes_key:
        yield KEY_PARAMETER


def _without_texts(schema: Any) -> Any:
    """The schema without description and examples, which the parameter itself has."""
    if isinstance(schema, list):
        return [_without_texts(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_texts(member)
        for name, member in schema.items()
        if name not in {"description", "examples"}
    }


def _responses(operation: _Operation, schemas: _Schemas) -> dict[str, dict[str, Any]]:
    endpoint, signature = operation.endpoint, operation.signature
    status = operation.handler.status_code
    binary = {media_type: {"schema": _BINARY} for media_type in endpoint.binary_media_types}
    success: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": _REQUEST_ID}
    if status != _NO_CONTENT:
        content = {
            "schema": schemas.schema_of(*signature.response_types),
            "example": endpoint.example,
        }
        success["content"] = dict.fromkeys(endpoint.media_types, content) | binary
    if endpoint.route_class is not None and not endpoint.limited_by_volume:
        success["headers"] = _REQUEST_ID | _RATE_LIMIT
    if _reports_unknown_keys(signature):
        success["headers"] = success["headers"] | _IGNORED_FIELDS
    found = {str(status): success}
    if _has_etag(operation):
        success["headers"] = success["headers"] | _ETAG
        found["304"] = {
            "description": _NOT_MODIFIED,
            "headers": _REQUEST_ID | _ETAG | _RATE_LIMIT,
        }
    headers = _ERROR_HEADERS
    if endpoint.limited_by_volume:
        headers = dict.fromkeys(_ERROR_HEADERS, _SHORT_RETRY_AFTER)
    for code in sorted(_error_statuses(operation)):
        wire = endpoint.error_types.get(code, endpoint.error_type or ErrorResponse)
        shown: dict[str, Any] = {"schema": schemas.schema_of(wire)}
        if wire is ErrorResponse:
            shown["example"] = _example(code)
        found[str(code)] = {
            "description": _ERROR_DESCRIPTIONS[code],
            "headers": _REQUEST_ID | headers.get(code, {}),
            "content": {JSON: shown} | binary,
        }
    return found


def _has_etag(operation: _Operation) -> bool:
    return bool(operation.handler.opt.get(HAS_ETAG))


def _error_statuses(operation: _Operation) -> set[int]:
    endpoint, signature = operation.endpoint, operation.signature
    errors = {*endpoint.access.refusals, *endpoint.error_types, 500}
    if endpoint.route_class is not None:
        errors.update((429, 503))  # rate limits, and load shedding
    if signature.content is not None:
        errors.update(_BODY_ERRORS)
    if signature.path is not None:
        errors.update((404, 422))
    if signature.params is not None:
        errors.add(422)
    if signature.takes_key:
        errors.add(409)
    if operation.method.upper() in CHANGING_METHODS:
        errors.add(412)
    return errors


def _example(code: int) -> dict[str, Any]:
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        detail = "Rate limit exceeded: 100 per minute"
        return {"detail": detail, "error": detail}
    if code != HTTPStatus.UNPROCESSABLE_ENTITY:
        return {"detail": _ERROR_DESCRIPTIONS[code]}
    errors = [{"field": "spans.0.started_at", "message": "is required"}]
    return {"detail": "Validation error", "errors": errors}
