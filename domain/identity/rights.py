"""The actions that each role may perform in an organization, in one table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Self

from domain.errors import Forbidden
from domain.identity.organization import Role


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
    ISSUE_LOGIN_CODE = "sign the command line in", Role.MEMBER
    LEAVE = "leave this organization", Role.MEMBER
    READ_AUDIT_LOG = "read the audit log", Role.ADMIN
    RENAME = "rename this organization", Role.ADMIN
    CREATE_PROJECT = "create projects", Role.ADMIN
    CHANGE_PROJECT = "change projects", Role.ADMIN
    CHANGE_RETENTION = "change the retention of projects", Role.ADMIN
    CHANGE_BUDGET = "change budgets", Role.ADMIN
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
