"""The use cases of public links: a part of `application.use_cases`."""

from dataclasses import dataclass

from application.audit import AuditTrail
from application.deletion import DeleteOne
from application.ports import Clock, RandomBytes
from application.sharing.ports import TraceLinks
from application.sharing.trace_links import CreateTraceLink, OpenTraceLink
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
        self.trace_links = links
        self.create_link = CreateTraceLink(links, traces, audit, clock, random)
        self.delete_link = DeleteOne(links.delete, "Link not found")
        self.open_link = OpenTraceLink(links, clock)
