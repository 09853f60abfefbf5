"""Requests of real instrumentations, as they were sent.

A few are in the repository. `OTLP_CORPUS` may name a folder that has more of them, in the same
form: `NAME/NNN-{traces,logs}.raw.{pb,json}[.gz]`.
"""

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from domain.tracing.otel.requests import Encoding, Signal

COPIES: Final = Path(__file__).parents[2] / "adapters/otlp/corpus"
WHOLE: Final = os.environ.get("OTLP_CORPUS")
MESSAGES: Final = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}


@dataclass(frozen=True, slots=True)
class Capture:
    name: str
    signal: Signal
    encoding: Encoding
    body: bytes = field(repr=False)

    def message(self) -> ExportTraceServiceRequest | ExportLogsServiceRequest:
        """The request as the official library reads it; only of a capture in protobuf."""
        assert self.encoding is Encoding.PROTOBUF
        return MESSAGES[self.signal].FromString(self.body)


def captures() -> Iterator[Capture]:
    folder = Path(WHOLE) if WHOLE else COPIES
    for path in sorted(folder.glob("*/*.raw.*")):
        signal = path.name.partition("-")[2].partition(".")[0]
        if signal in list(Signal):
            body = path.read_bytes()
            yield Capture(
                name=f"{path.parent.name}/{path.name}",
                signal=Signal(signal),
                encoding=Encoding.JSON if ".json" in path.suffixes else Encoding.PROTOBUF,
                body=gzip.decompress(body) if path.suffix == ".gz" else body,
            )


CAPTURES: Final = list(captures())
