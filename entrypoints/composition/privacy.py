"""What traces are kept and erased by: the ports."""

from adapters.postgres.privacy.erasures import PostgresErasures
from adapters.postgres.privacy.retention import PostgresExpiredTraces
from adapters.postgres.tracing.edits import TraceEdits
from application.privacy.use_cases import PrivacyPorts


def privacy_ports(edits: TraceEdits) -> PrivacyPorts:
    return PrivacyPorts(expired=PostgresExpiredTraces(edits), erasures=PostgresErasures(edits))
