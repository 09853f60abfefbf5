"""Organizations, their projects and members, and what each role may do."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.errors import Conflict, Forbidden, Invalid
from domain.identity.audit import Actor, AuditAction, AuditEntry
from domain.ids import AuditEntryId, MembershipId, OrganizationId, ProjectId, UserId
from domain.wording import counted

NAME_MAX: Final = 255
DESCRIPTION_MAX: Final = 2_000  # characters
RETENTION_MAX_DAYS: Final = 3_650
KEY_DAYS_MAX: Final = 3_650
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
    public_links: bool = False  # whether its members may make public links to traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    id: ProjectId
    organization_id: OrganizationId
    name: str
    description: str = ""
    created_at: datetime
    retention_days: int | None = None  # after which stored traces are deleted; None: never


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationLimits:
    """The limits of an organization and its new projects; None: no limit.

    `monthly_usd` is the budget for the judges of all its projects together. A new project starts
    with its own monthly budget, and its retention. A new key expires after `key_days` unless its
    creator says something else.
    """

    monthly_usd: Decimal | None = None
    project_monthly_usd: Decimal | None = None
    project_retention_days: int | None = None
    key_days: int | None = None

    def key_expires_at(self, now: datetime) -> datetime | None:
        return None if self.key_days is None else now + timedelta(days=self.key_days)


NO_LIMITS: Final = OrganizationLimits()


@dataclass(frozen=True, slots=True)
class NewProject:
    """A project that isn't stored yet, and the entry for the audit log."""

    project: Project
    entry: AuditEntry


def check_project_count(count: int, most: int) -> None:
    """Raises Invalid if an organization with `count` projects may have no further one."""
    if count >= most:
        raise Invalid(
            f"The organization has {counted(count, 'project')}, and the most is {most}: "
            "send the name of one of them, or delete those that you don't need"
        )


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


def validate_retention(days: int | None, field: str) -> int | None:
    """Raises Invalid beyond RETENTION_MAX_DAYS, naming `field`. None: for ever."""
    if days is not None and not 1 <= days <= RETENTION_MAX_DAYS:
        raise Invalid.field(field, f"must be between 1 and {RETENTION_MAX_DAYS}, or null")
    return days


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


class Action(StrEnum):
    """An action of a user, in the wording of the error message, with the least role that it takes.

    No role may invite an OWNER: only existing members can become owners.
    """

    least: Role | None

    def __new__(cls, text: str, least: Role | None = None) -> Self:
        action = str.__new__(cls, text)
        action._value_ = text
        action.least = least
        return action

    READ = "read this organization", Role.MEMBER
    CREATE_KEY = "create API keys", Role.MEMBER
    SHARE_TRACE = "share traces by public links", Role.MEMBER
    ISSUE_LOGIN_CODE = "sign the command line in", Role.MEMBER
    LEAVE = "leave this organization", Role.MEMBER
    READ_AUDIT_LOG = "read the audit log", Role.ADMIN
    CHANGE_SHARING = "allow or forbid public links", Role.ADMIN
    RENAME = "rename this organization", Role.ADMIN
    CREATE_PROJECT = "create projects", Role.ADMIN
    CHANGE_PROJECT = "change projects", Role.ADMIN
    CHANGE_RETENTION = "change the retention of projects", Role.ADMIN
    CHANGE_BUDGET = "change budgets", Role.ADMIN
    CHANGE_PRICES = "change prices", Role.ADMIN
    CHANGE_KEY = "rotate, revoke or delete API keys", Role.ADMIN
    REVOKE_INVITATION = "revoke invitations", Role.ADMIN
    INVITE_MEMBER = "invite members", Role.ADMIN
    REMOVE_MEMBER = "remove members", Role.ADMIN
    INVITE_ADMIN = "invite an ADMIN", Role.OWNER
    CHANGE_ROLE = "change roles", Role.OWNER
    REMOVE_ADMIN = "remove an ADMIN", Role.OWNER
    REMOVE_OWNER = "remove an OWNER", Role.OWNER
    DELETE_PROJECT = "delete projects", Role.OWNER
    DELETE = "delete this organization", Role.OWNER
    INVITE_OWNER = "invite an OWNER"


_ROLES: Final = (Role.MEMBER, Role.ADMIN, Role.OWNER)  # each may do all that those before it may
RIGHTS: Final[Mapping[Role, frozenset[Action]]] = {
    role: frozenset(one for one in Action if one.least in _ROLES[: place + 1])
    for place, role in enumerate(_ROLES)
}

TO_INVITE: Final = {
    Role.MEMBER: Action.INVITE_MEMBER,
    Role.ADMIN: Action.INVITE_ADMIN,
    Role.OWNER: Action.INVITE_OWNER,
}
TO_REMOVE: Final = {
    Role.MEMBER: Action.REMOVE_MEMBER,
    Role.ADMIN: Action.REMOVE_ADMIN,
    Role.OWNER: Action.REMOVE_OWNER,
}


def check_right(role: Role, action: Action) -> None:
    """Raises Forbidden if the role doesn't permit the action; names the roles that do."""
    if action in RIGHTS[role]:
        return
    enough = [one for one in Role if action in RIGHTS[one]]
    if not enough:
        raise Forbidden(f"No role may {action}")
    raise Forbidden(f"Only {' or '.join(enough)} may {action}")
