"""The OpenAPI document, made of the routes that are served and of the types that they use."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from entrypoints.http.config import HttpConfig
from entrypoints.http.endpoint import Endpoint, RequestShape, endpoint_of
from entrypoints.http.problems import ErrorResponse
from entrypoints.http.requests.body_io import JSON
from entrypoints.http.requests.idempotency_key import KEY_PARAMETER

_REF: Final = "#/components/schemas/{name}"
# What clients know by another name than we do.
_PUBLISHED: Final = {
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
_EMPTY: Final = 204

# In the order in which a reader wants them.
_TAGS: Final = {
    "traces": "Runs of agents with their spans: sending, reading, changing, figures",
    "sessions": "Conversations, each made of traces",
    "model-prices": "What tokens cost in a project, and pricing again what is stored",
    "erasures": "Removing all that a user or a session has left, with a receipt",
    "evaluations": "Scores of traces and sessions, and the runs and monitors that give them",
    "organizations": "What people, projects and keys belong to",
    "projects": "What traces belong to",
    "usage": "What judging has taken of an organization's money",
    "api-keys": "What programs come in with",
    "members": "People and their roles",
    "invitations": "People who are asked in",
    "audit-log": "Who changed what",
    "me": "The person who asks",
    "cli": "How command lines get a key",
    "service": "The service itself",
}
_DESCRIPTION: Final = (
    "Traces, sessions and figures of LLM agents, and the organizations that they belong to. Times "
    "are in UTC; every error has one shape, and tells of all mistakes at once; every answer "
    "carries an X-Request-ID."
)
_SCHEMES: Final = {
    "HTTPBearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "ProjectName": {"type": "apiKey", "in": "header", "name": "X-Project-Name"},
    "ProjectID": {"type": "apiKey", "in": "header", "name": "X-Project-ID"},
    "OrganizationID": {"type": "apiKey", "in": "header", "name": "X-Organization-ID"},
}
_REQUEST_ID: Final = {
    "X-Request-ID": {
        "description": "The request's own X-Request-ID where it had a valid one, else a new id.",
        "schema": {"type": "string"},
    }
}
_REFUSALS: Final = {
    400: "The body is not JSON",
    401: "Credentials are missing, unknown, revoked or expired",
    403: "A role, scope or membership is lacking",
    404: "There is no such thing, or none that is yours",
    409: "The state of things doesn't allow it",
    413: "The body is too large",
    416: "The file has no such part",
    415: "The media type or coding of the body is not supported",
    422: "Something in the request can't be; `errors` names each field",
    429: "A rate limit was exceeded; send it again after Retry-After seconds",
    500: "An unexpected fault",
    503: "A part that the request needs is down; send it again after Retry-After seconds",
}


def _whole(description: str, least: int = 0) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "integer", "minimum": least}}


_WAIT: Final = {"Retry-After": _whole("Seconds to wait", 1)}
_RATE_LIMIT: Final = {
    "RateLimit-Limit": _whole("Requests in the window"),
    "RateLimit-Remaining": _whole("Requests that are left in it, after this one"),
    "RateLimit-Reset": _whole("Seconds until the oldest counted request leaves the window"),
}
_MORE: Final = {429: _WAIT | _RATE_LIMIT, 503: _WAIT}
_BODY_REFUSALS: Final = (400, 413, 415, 422)


def document(app: Litestar, config: HttpConfig) -> dict[str, Any]:
    """The document of every endpoint of `app`."""
    served = sorted(_served(app), key=lambda one: (one.path, one.method))
    schemas = _Schemas(_types(served), _parameter_types(served), config)
    paths: dict[str, dict[str, Any]] = {}
    for one in served:
        paths.setdefault(one.path, {})[one.method] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PandaProbe server",
            "version": config.version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": _tags(paths),
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _SCHEMES},
    }


@dataclass(frozen=True, slots=True)
class _Served:
    """An endpoint at one path and method."""

    path: str
    method: str
    endpoint: Endpoint
    shape: RequestShape
    handler: HTTPRouteHandler


def _served(app: Litestar) -> Iterator[_Served]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if (endpoint := endpoint_of(handler)) is not None:
                for method in handler.http_methods:
                    shape = endpoint.shape(handler)
                    yield _Served(route.path_format, method.lower(), endpoint, shape, handler)


def _types(served: Iterable[_Served]) -> list[Any]:
    """Every type of a part or an answer, once."""
    found: list[Any] = [ErrorResponse]
    for one in served:
        shape, endpoint = one.shape, one.endpoint
        parts = [part.wire for part in (shape.path, shape.params, shape.content) if part]
        wires = (*parts, *shape.answers, *endpoint.answers.values(), *endpoint.referenced_types)
        found += [wire for wire in wires if wire not in found]
    return found


def _parameter_types(served: Iterable[_Served]) -> set[str]:
    """Names of the types of paths and queries, which are published as parameters."""
    return {
        part.wire.__name__ for one in served for part in (one.shape.path, one.shape.params) if part
    }


class _Schemas:
    """The schema of each type, and the components that they refer to."""

    def __init__(self, types: list[Any], words: set[str], config: HttpConfig) -> None:
        schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
        self._config = config
        self._types = types
        self._schemas = [self._published(one) for one in schemas]
        self._all = {
            _PUBLISHED.get(name, name): self._published(one) for name, one in components.items()
        }
        self.components = {name: one for name, one in self._all.items() if name not in words}

    def of(self, *wires: Any) -> dict[str, Any]:
        """The schema of a type, or of one of several."""
        if len(wires) > 1:
            return {"anyOf": [self.of(one) for one in wires]}
        found: dict[str, Any] = self._schemas[self._types.index(wires[0])]
        return found

    def words(self, wire: Any) -> Iterator[tuple[str, dict[str, Any], bool]]:
        """Name, schema and necessity of each field of a path or query."""
        whole = self._all[wire.__name__]
        for name, schema in whole["properties"].items():
            yield name, schema, name in whole["required"]

    def _published(self, schema: Any) -> Any:
        if isinstance(schema, list):
            return [self._published(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        found = {name: self._published(one) for name, one in schema.items()}
        if "type" in found:
            found.pop("anyOf", None)  # epochs are taken too, and nobody should start with them
        if "patternProperties" in found:
            found["additionalProperties"] = False  # the schema of a dict says what values it takes
        if isinstance(setting := found.get("maxItems"), str):
            found["maxItems"] = getattr(self._config, setting)
        if isinstance(ref := found.get("$ref"), str):
            name = ref.rpartition("/")[2]
            found["$ref"] = _REF.format(name=_PUBLISHED.get(name, name))
        if (title := found.get("title")) in _PUBLISHED:
            found["title"] = _PUBLISHED[title]
        return found


def _operation(served: _Served, schemas: _Schemas) -> dict[str, Any]:
    endpoint, shape, handler = served.endpoint, served.shape, served.handler
    described: dict[str, Any] = {
        "operationId": handler.operation_id or handler.handler_name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [_tag(served.path)],
        "security": endpoint.access.security,
        "parameters": list(_parameters(shape, schemas)),
        "responses": _responses(served, schemas),
    }
    if shape.content is not None:
        media = {"schema": schemas.of(shape.content.wire), "example": endpoint.body_example}
        described["requestBody"] = {"required": True, "content": {JSON: media}}
    return described


def _tag(path: str) -> str:
    first, _, rest = path.strip("/").partition("/")
    if first == "organizations" and (inner := rest.partition("/")[2]):
        return inner.partition("/")[0]
    return first if first not in {"", "health"} else "service"


def _tags(paths: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    used = {tag for methods in paths.values() for told in methods.values() for tag in told["tags"]}
    return [{"name": name, "description": told} for name, told in _TAGS.items() if name in used]


def _parameters(shape: RequestShape, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for part in (shape.path, shape.params):
        if part is None:
            continue
        for name, schema, is_required in schemas.words(part.wire):
            inner = next(iter(schema.get("anyOf", ())), schema)  # an optional word: itself, or null
            parameter = {"name": name, "in": part.place, "required": is_required}
            if (told := schema.get("description", inner.get("description"))) is not None:
                parameter["description"] = told
            if (shown := inner.get("examples")) is not None:
                parameter["example"] = shown[0]
            if "patternProperties" in schema:
                parameter |= {"style": "form", "explode": True}  # a parameter for each property
            yield {**parameter, "schema": _untold(schema)}
    if shape.takes_key:
        yield KEY_PARAMETER


def _untold(schema: Any) -> Any:
    """Without what the parameter itself tells."""
    if isinstance(schema, list):
        return [_untold(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    told = ("description", "examples")
    return {name: _untold(one) for name, one in schema.items() if name not in told}


def _responses(served: _Served, schemas: _Schemas) -> dict[str, dict[str, Any]]:
    endpoint, shape, status = served.endpoint, served.shape, served.handler.status_code
    success: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": _REQUEST_ID}
    if status != _EMPTY:
        shown = {"schema": schemas.of(*shape.answers), "example": endpoint.example}
        success["content"] = dict.fromkeys(endpoint.media_types, shown)
    found = {str(status): success}
    refusals = {*endpoint.access.refusals, 500}
    if endpoint.route_class is not None:
        refusals.update((429, 503))  # of too much at once
        success["headers"] = _REQUEST_ID | _RATE_LIMIT
    if shape.content is not None:
        refusals.update(_BODY_REFUSALS)
    if shape.path is not None:
        refusals.update((404, 422))
    if shape.params is not None:
        refusals.add(422)
    if shape.takes_key:
        refusals.add(409)
    for code in sorted({*refusals, *endpoint.answers}):
        wire = endpoint.answers.get(code, ErrorResponse)
        found[str(code)] = {
            "description": _REFUSALS[code],
            "headers": _REQUEST_ID | _MORE.get(code, {}),
            "content": {JSON: {"schema": schemas.of(wire), "example": _example(code)}}
            if wire is ErrorResponse
            else {JSON: {"schema": schemas.of(wire)}},
        }
    return found


def _example(code: int) -> dict[str, Any]:
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        said = "Rate limit exceeded: 100 per minute"
        return {"detail": said, "error": said}
    if code != HTTPStatus.UNPROCESSABLE_ENTITY:
        return {"detail": _REFUSALS[code]}
    errors = [{"field": "spans.0.started_at", "message": "is required"}]
    return {"detail": "Validation error", "errors": errors}
