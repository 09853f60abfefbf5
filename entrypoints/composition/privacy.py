"""What traces are kept and erased by: the ports."""

from adapters.postgres.privacy.erasures import PostgresErasures
from adapters.postgres.privacy.retention import PostgresExpired
from adapters.postgres.tracing.edits import TraceEdits
from application.privacy.use_cases import KeepingPorts


def keeping_ports(edits: TraceEdits) -> KeepingPorts:
    return KeepingPorts(expired=PostgresExpired(edits), erasures=PostgresErasures(edits))
