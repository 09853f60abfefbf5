"""Organizations, their projects and members."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.errors import Conflict, Invalid
from domain.identity.audit import Actor, AuditAction, AuditEntry
from domain.ids import AuditEntryId, MembershipId, OrganizationId, ProjectId, UserId

NAME_MAX: Final = 255
DESCRIPTION_MAX: Final = 2_000  # characters
RETENTION_MAX_DAYS: Final = 3_650
FIRST_ORGANIZATION: Final = "My Organization"
FIRST_PROJECT: Final = "onboarding"

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.'\-]*[A-Za-z0-9])?")
# Control characters (Unicode category Cc) except tab, line feed and carriage return.
_CONTROL: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
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
    retention_days: int | None = None  # after which stored traces are deleted; None: never


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A user's membership in an organization."""

    id: MembershipId
    organization_id: OrganizationId
    user_id: UserId
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A membership, with display data of the user."""

    membership: Membership
    display_name: str
    email: str


def check_owner_remains(owners: Collection[UserId], leaving: UserId) -> None:
    """Raises Conflict if `leaving` is the only owner of the organization."""
    if set(owners) <= {leaving}:
        raise Conflict("An organization needs an owner: make another member OWNER first")


def validate_name(text: str, field: str) -> str:
    """A name of an organization or project, trimmed. Raises Invalid, naming `field`."""
    name = text.strip()
    single = len(name) == 1 and (name.isalpha() or name.isdecimal())
    if not single and (len(name) > NAME_MAX or _NAME.fullmatch(name) is None):
        raise Invalid.field(field, NAME_RULE)
    return name


def validate_description(text: str, field: str) -> str:
    """A description of a project, trimmed. Raises Invalid, naming `field`."""
    description = text.strip()
    if len(description) > DESCRIPTION_MAX:
        raise Invalid.field(field, f"must be at most {DESCRIPTION_MAX} characters")
    if _CONTROL.search(description):
        raise Invalid.field(field, "must not contain control characters except tab and line breaks")
    return description


@dataclass(frozen=True, slots=True)
class NewOrganization:
    """An organization, its OWNER, a first project, and the entry for the audit log."""

    organization: Organization
    owner: Membership
    project: Project
    entry: AuditEntry

    @classmethod
    def create(
        cls, name: str, owner: UserId, by: Actor, new_id: Callable[[], UUID], at: datetime
    ) -> Self:
        organization = Organization(id=OrganizationId(new_id()), name=name, created_at=at)
        return cls(
            organization,
            Membership(
                id=MembershipId(new_id()),
                organization_id=organization.id,
                user_id=owner,
                role=Role.OWNER,
                created_at=at,
            ),
            Project(
                id=ProjectId(new_id()),
                organization_id=organization.id,
                name=FIRST_PROJECT,
                created_at=at,
            ),
            AuditEntry(
                id=AuditEntryId(new_id()),
                organization_id=organization.id,
                at=at,
                actor=by,
                action=AuditAction.ORGANIZATION_CREATED,
                resource_id=str(organization.id),
                detail={"name": name},
            ),
        )
