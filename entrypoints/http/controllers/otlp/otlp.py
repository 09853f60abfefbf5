"""OpenTelemetry over HTTP: spans, log records and metrics, in protobuf and in JSON."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Response, Router
from litestar.handlers import HTTPRouteHandler

from application.tracing.otlp.ingest import IngestOutcome
from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.tracing.otel.requests import DecodedRequest, Encoding, Rejection, Signal
from entrypoints.http.authentication import CAN_EXPORT_OTLP
from entrypoints.http.config import http_context
from entrypoints.http.controllers.otlp import examples, schemas
from entrypoints.http.controllers.otlp.reports import METRICS_SIGNAL, report, report_refused
from entrypoints.http.endpoint import post
from entrypoints.http.middleware.load_shedding import admission_ticket
from entrypoints.http.middleware.otlp_errors import encoding_of
from entrypoints.http.middleware.rate_limits import RouteClass, rate_limit_principal
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.raw_body import RawBody

# Small bodies are kept decoded until they are stored; of larger ones, a part at a time.
KEPT_DECODED_BYTES: Final = 4 << 20
DECODED_FACTOR: Final = 4
_CREDENTIALS_AND_PATHS: Final = (
    "An API key may also be sent as a Bearer token, or as the password of Basic authentication, "
    "whose user is the project unless X-Project-Name names it. The same paths exist below `/otel` "
    "and `/api/public/otel`, where some SDKs send their data."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The differences between the endpoints of spans and of log records."""

    signal: Signal
    request: type[Any]
    response: type[Any]
    summary: str
    description: str
    example: Mapping[str, Any]


TRACES: Final = Export(
    signal=Signal.TRACES,
    request=schemas.ExportTraceServiceRequest,
    response=schemas.ExportTraceServiceResponse,
    summary="Export spans of OpenTelemetry",
    description=(
        "Stores spans, and responds once they are on disk. A span that is sent again changes "
        "nothing. Spans that can't be stored are counted in `partialSuccess` and listed by "
        "`GET /ingest/rejections`; if none can be stored, the response is 400. "
    ),
    example=examples.TRACES,
)
LOGS: Final = Export(
    signal=Signal.LOGS,
    request=schemas.ExportLogsServiceRequest,
    response=schemas.ExportLogsServiceResponse,
    summary="Export log records of OpenTelemetry",
    description=(
        "Stores the log records that say something of a span or evaluate it, and ignores all "
        "others. Records may come before their spans. "
    ),
    example=examples.LOGS,
)


def otlp_router(prefix: str) -> Router:
    handlers = [_export(prefix, TRACES), _export(prefix, LOGS), _ignore_metrics(prefix)]
    return Router(prefix or "/", route_handlers=handlers)


def _body[B](
    json_type: type[Any], decode: Callable[[HttpRequest, bytes], Awaitable[B]]
) -> RawBody[B]:
    media_types: Mapping[str, Any] = {Encoding.PROTOBUF: None, Encoding.JSON: json_type}
    return RawBody(media_types, "otlp_max_body_bytes", decode)


async def _charge(request: HttpRequest, size: int, items: int) -> None:
    volumes = http_context(request).rate_limits.volumes
    if volumes is not None:
        await volumes.charge(rate_limit_principal(request.user), size, items)


def _operation_id(name: str, prefix: str) -> str:
    return f"{name}{prefix.replace('/', '_')}"


def _export(prefix: str, export: Export) -> HTTPRouteHandler:
    signal = export.signal

    async def decode(request: HttpRequest, body: bytes) -> DecodedRequest:
        context, encoding = http_context(request), encoding_of(request.scope["headers"])
        decode_request = context.use_cases.tracing.decode_otlp_request
        is_small = len(body) <= KEPT_DECODED_BYTES
        weight = DECODED_FACTOR * len(body) if is_small else len(body)
        await admission_ticket(request.scope).begin_work(weight)
        items = 0
        try:
            decoded = await decode_request(signal, encoding, body, context.config.otlp_max_spans)
            items = decoded.items
        finally:
            await _charge(request, len(body), items)
        return decoded

    @post(
        f"/v1/{signal}",
        CAN_EXPORT_OTLP,
        summary=export.summary,
        description=export.description + _CREDENTIALS_AND_PATHS,
        operation_id=_operation_id(f"export_otlp_{signal}", prefix),
        status_code=200,
        example={},
        body_example=export.example,
        body=_body(export.request, decode),
        route_class=RouteClass.INGEST,
        limited_by_volume=True,
        ignores_query=True,
        binary_media_types=(Encoding.PROTOBUF,),
        response_type=export.response,
        error_type=schemas.RpcStatus,
        on_refused=report_refused(signal),
    )
    async def export_(
        request: HttpRequest, caller: Caller, content: DecodedRequest, use_cases: UseCases
    ) -> Response[bytes]:
        tracing = use_cases.tracing
        outcome = await tracing.store_otlp_request(caller.project_id, content)
        unrecorded = await _record_evaluations(request, caller, content, outcome)
        report(
            request,
            signal,
            stored=outcome.stored,
            ignored=outcome.ignored,
            rejections=[*outcome.rejections, *unrecorded],
            rejected_by=outcome.rejected_by,
        )
        encoding = encoding_of(request.scope["headers"])
        answer = tracing.otlp_codec.encode_answer(
            signal, encoding, outcome.rejections, outcome.rejected
        )
        return Response(answer, media_type=encoding)

    return export_


async def _record_evaluations(
    request: HttpRequest, caller: Caller, content: DecodedRequest, outcome: IngestOutcome
) -> Sequence[Rejection]:
    """Records the evaluations among what was stored; returns why some can't be recorded."""
    stored = [one for one in content.evaluations if one.trace not in outcome.refused_traces]
    if not stored:
        return ()
    record = http_context(request).use_cases.evaluation.sent_evaluations.record
    return await record(caller.project_id, stored)


def _ignore_metrics(prefix: str) -> HTTPRouteHandler:
    async def decode(request: HttpRequest, body: bytes) -> None:
        await _charge(request, len(body), items=0)

    @post(
        "/v1/metrics",
        CAN_EXPORT_OTLP,
        summary="Accept metrics of OpenTelemetry",
        description=(
            "Keeps nothing: SDKs with one endpoint for all signals send their metrics, too. "
            f"{_CREDENTIALS_AND_PATHS}"
        ),
        operation_id=_operation_id("export_otlp_metrics", prefix),
        status_code=200,
        example={},
        body_example=examples.METRICS,
        body=_body(schemas.ExportMetricsServiceRequest, decode),
        route_class=RouteClass.INGEST,
        limited_by_volume=True,
        ignores_query=True,
        binary_media_types=(Encoding.PROTOBUF,),
        response_type=schemas.ExportMetricsServiceResponse,
        error_type=schemas.RpcStatus,
        on_refused=report_refused(METRICS_SIGNAL),
    )
    async def export_metrics(
        request: HttpRequest,
        caller: Caller,  # noqa: ARG001 - reading them checks the request
        content: None,  # noqa: ARG001 - see above
    ) -> Response[bytes]:
        report(request, METRICS_SIGNAL, ignored=1)  # a request: nothing in it is counted
        encoding = encoding_of(request.scope["headers"])
        return Response(b"{}" if encoding is Encoding.JSON else b"", media_type=encoding)

    return export_metrics
