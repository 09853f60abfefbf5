"""An OTLP client: sends requests as exporters do, and reads the answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from domain.tracing.otel.requests import Encoding
from tests.support.builders.otlp_requests import Request, encoded

ANSWERS = {"traces": ExportTraceServiceResponse, "logs": ExportLogsServiceResponse}


@dataclass(frozen=True)
class RpcError:
    """The `google.rpc.Status` of an answer, whichever wire type it has."""

    status: int
    code: int
    message: str


@dataclass
class OtlpExporter:
    """Sends to one site with one project's key, in one wire type."""

    http: httpx.AsyncClient
    headers: Mapping[str, str]
    encoding: Encoding = Encoding.PROTOBUF
    prefix: str = ""

    async def export(self, request: Request, signal: str = "traces") -> httpx.Response:
        return await self.post(encoded(request, self.encoding), signal)

    async def post(
        self, body: bytes, signal: str = "traces", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        head = {"content-type": self.encoding, **self.headers, **(headers or {})}
        return await self.http.post(f"{self.prefix}/v1/{signal}", headers=head, content=body)


def error_of(answer: httpx.Response) -> RpcError:
    """The error of an answer, whose body has the type of the request."""
    if answer.headers["content-type"] == Encoding.PROTOBUF:
        status = Status.FromString(answer.content)
        return RpcError(answer.status_code, status.code, status.message)
    body = answer.json()
    assert set(body) == {"code", "message", "detail"}
    assert body["detail"] == body["message"]
    return RpcError(answer.status_code, body["code"], body["message"])


def partial_success(answer: httpx.Response, signal: str = "traces") -> tuple[int, str]:
    """How many spans or records were rejected, and what is said of them."""
    assert answer.status_code == 200, answer.content
    member = "rejected_spans" if signal == "traces" else "rejected_log_records"
    if answer.headers["content-type"] == Encoding.PROTOBUF:
        partial = ANSWERS[signal].FromString(answer.content).partial_success
        return getattr(partial, member), partial.error_message
    partial = json.loads(answer.content).get("partialSuccess", {})
    words = member.split("_")
    name = words[0] + "".join(word.title() for word in words[1:])
    return int(partial.get(name, 0)), partial.get("errorMessage", "")


async def read_trace(http: httpx.AsyncClient, headers: Mapping[str, str], trace: str) -> Any:
    answer = await http.get(f"/traces/{trace}", headers=dict(headers))
    assert answer.status_code == 200, answer.text
    return answer.json()
