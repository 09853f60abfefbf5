"""What traces are kept and erased by: the ports."""

from adapters.postgres.erasures import PostgresErasures
from adapters.postgres.retention import PostgresExpired
from adapters.postgres.writing.edits import TraceEdits
from application.tracing.keeping_use_cases import KeepingPorts


def keeping_ports(edits: TraceEdits) -> KeepingPorts:
    return KeepingPorts(expired=PostgresExpired(edits), erasures=PostgresErasures(edits))
