"""The use cases of public links: a part of `application.use_cases`."""

from dataclasses import dataclass

from application.audit import AuditTrail
from application.ports import Clock, RandomBytes
from application.sharing.ports import TraceLinks
from application.sharing.trace_links import (
    CreateTraceLink,
    DeleteTraceLink,
    ListTraceLinks,
    OpenTraceLink,
)
from application.tracing.ports import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingPorts:
    trace_links: TraceLinks


class SharingUseCases:
    """Public links to traces."""

    def __init__(
        self,
        ports: SharingPorts,
        traces: Traces,
        audit: AuditTrail,
        clock: Clock,
        random: RandomBytes,
    ) -> None:
        links = ports.trace_links
        self.create_link = CreateTraceLink(links, traces, audit, clock, random)
        self.list_links = ListTraceLinks(links, traces)
        self.delete_link = DeleteTraceLink(links, traces)
        self.open_link = OpenTraceLink(links, clock)
