"""The actions that each role may perform in an organization, in one table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from domain.errors import Forbidden
from domain.identity.organization import Role


class Action(StrEnum):
    """An action of a user, in the wording of the error message."""

    READ = "read this organization"
    CREATE_KEY = "create API keys"
    ISSUE_LOGIN_CODE = "sign the command line in"
    LEAVE = "leave this organization"
    READ_AUDIT_LOG = "read the audit log"
    RENAME = "rename this organization"
    CREATE_PROJECT = "create projects"
    CHANGE_PROJECT = "change projects"
    CHANGE_RETENTION = "change the retention of projects"
    CHANGE_BUDGET = "change budgets"
    CHANGE_KEY = "rotate, revoke or delete API keys"
    REVOKE_INVITATION = "revoke invitations"
    INVITE_MEMBER = "invite members"
    REMOVE_MEMBER = "remove members"
    INVITE_ADMIN = "invite an ADMIN"
    CHANGE_ROLE = "change roles"
    REMOVE_ADMIN = "remove an ADMIN"
    REMOVE_OWNER = "remove an OWNER"
    DELETE_PROJECT = "delete projects"
    DELETE = "delete this organization"
    INVITE_OWNER = "invite an OWNER"


_OF_MEMBER: Final = frozenset(
    {Action.READ, Action.CREATE_KEY, Action.ISSUE_LOGIN_CODE, Action.LEAVE}
)
_OF_ADMIN: Final = _OF_MEMBER | {
    Action.READ_AUDIT_LOG,
    Action.RENAME,
    Action.CREATE_PROJECT,
    Action.CHANGE_PROJECT,
    Action.CHANGE_RETENTION,
    Action.CHANGE_BUDGET,
    Action.CHANGE_KEY,
    Action.REVOKE_INVITATION,
    Action.INVITE_MEMBER,
    Action.REMOVE_MEMBER,
}
_OF_OWNER: Final = _OF_ADMIN | {
    Action.INVITE_ADMIN,
    Action.CHANGE_ROLE,
    Action.REMOVE_ADMIN,
    Action.REMOVE_OWNER,
    Action.DELETE_PROJECT,
    Action.DELETE,
}
# No role may invite an OWNER: only existing members can become owners.
RIGHTS: Final[Mapping[Role, frozenset[Action]]] = {
    Role.MEMBER: _OF_MEMBER,
    Role.ADMIN: _OF_ADMIN,
    Role.OWNER: _OF_OWNER,
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
