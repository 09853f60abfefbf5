"""One type per identifier, so that mypy rejects a project id where a trace id is expected."""

from typing import NewType
from uuid import UUID

OrganizationId = NewType("OrganizationId", UUID)
ProjectId = NewType("ProjectId", UUID)
UserId = NewType("UserId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)
MembershipId = NewType("MembershipId", UUID)
InvitationId = NewType("InvitationId", UUID)
AuditEntryId = NewType("AuditEntryId", UUID)
BrowserSessionId = NewType("BrowserSessionId", UUID)
TraceId = NewType("TraceId", UUID)
SpanId = NewType("SpanId", UUID)
RunId = NewType("RunId", UUID)
ScoreId = NewType("ScoreId", UUID)
ErasureId = NewType("ErasureId", UUID)
MonitorId = NewType("MonitorId", UUID)
RejectionId = NewType("RejectionId", UUID)
