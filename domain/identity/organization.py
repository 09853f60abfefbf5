"""Organizations, their projects and members."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain.errors import Invalid
from domain.ids import OrganizationId, ProjectId, UserId

NAME_MAX: Final = 255
FIRST_ORGANIZATION: Final = "My Organization"
FIRST_PROJECT: Final = "onboarding"

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.'\-]*[A-Za-z0-9])?")
NAME_RULE: Final = (
    "must be 1 to 255 characters: ASCII letters, digits, space and _ . ' - between a first and "
    "last letter or digit"
)


class Role(StrEnum):
    OWNER = "OWNER"
    ADMIN = "ADMIN"
    MEMBER = "MEMBER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    id: OrganizationId
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    id: ProjectId
    organization_id: OrganizationId
    name: str
    description: str = ""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    organization_id: OrganizationId
    user_id: UserId
    role: Role
    created_at: datetime


def checked_name(text: str, field: str) -> str:
    """A name of an organization or project, trimmed. Raises Invalid, naming `field`."""
    name = text.strip()
    single = len(name) == 1 and (name.isalpha() or name.isdecimal())
    if not single and (len(name) > NAME_MAX or _NAME.fullmatch(name) is None):
        raise Invalid.field(field, NAME_RULE)
    return name
