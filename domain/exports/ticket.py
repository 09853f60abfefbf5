"""Tickets with which a browser downloads an export by a link, which can't send credentials."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.ids import ApiKeyId, BrowserSessionId, OrganizationId, ProjectId, UserId

TICKET_BYTES: Final = 32
TICKET_LIFETIME: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadTicket:
    """A ticket as it is stored: by digest. The first download uses it up.

    It stands for its requester: a key, or a user with `name` as email address. With a
    `session_id` it is good only in the browser of that session.
    """

    digest: bytes
    organization_id: OrganizationId
    project_id: ProjectId
    export_id: UUID
    user_id: UserId | None = None
    key_id: ApiKeyId | None = None
    session_id: BrowserSessionId | None = None
    name: str
    created_at: datetime
    expires_at: datetime
