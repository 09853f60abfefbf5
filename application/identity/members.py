"""The members of an organization, and their roles."""

from dataclasses import dataclass, replace
from typing import Final

from application.identity.organization_edit import (
    OrganizationEdit,
    OrganizationEditor,
    require,
)
from domain.errors import Forbidden
from domain.identity.audit import AuditAction
from domain.identity.caller import Person
from domain.identity.invitation import InvitationStatus
from domain.identity.organization import (
    RIGHTS,
    TO_INVITE,
    TO_REMOVE,
    Action,
    Member,
    Role,
    check_owner_remains,
    check_right,
)
from domain.ids import OrganizationId, UserId

MEMBER_NOT_FOUND: Final = "Member not found"


@dataclass(frozen=True, slots=True)
class ChangeRole:
    editor: OrganizationEditor

    async def __call__(
        self, person: Person, organization: OrganizationId, user: UserId, role: Role
    ) -> Member:
        """Raises Forbidden, NotFound, Conflict for the last OWNER, Unavailable; in this order."""
        async with self.editor.edit(organization, person) as edit:
            mine = await edit.authorize()
            if user == person.user.id:
                raise Forbidden("You can't change your own role")
            check_right(mine.role, Action.CHANGE_ROLE)
            member = require(await edit.locked.member(user), MEMBER_NOT_FOUND)
            known = member.membership
            if known.role is role:
                return member
            if known.role is Role.OWNER:
                check_owner_remains(await edit.locked.owners(), user)
            changed = replace(known, role=role)
            await edit.locked.put_membership(changed)
            revoked = await _revoke_invitations(edit, user, role)
            await edit.record(
                AuditAction.MEMBER_ROLE_CHANGED, user, {"from": known.role, "to": role} | revoked
            )
            return replace(member, membership=changed)


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Removes a member, or lets the caller leave.

    Revokes their keys of this organization, and the invitations that they sent.
    """

    editor: OrganizationEditor

    async def __call__(self, person: Person, organization: OrganizationId, user: UserId) -> None:
        """Raises NotFound, Forbidden, Conflict for the last OWNER, Unavailable; in this order."""
        async with self.editor.edit(organization, person) as edit:
            mine = await edit.authorize()
            member = require(await edit.locked.member(user), MEMBER_NOT_FOUND)
            role, leaves = member.membership.role, user == person.user.id
            check_right(mine.role, Action.LEAVE if leaves else TO_REMOVE[role])
            if role is Role.OWNER:
                check_owner_remains(await edit.locked.owners(), user)
            keys = await edit.locked.remove_member(user, self.editor.clock())
            revoked = await _revoke_invitations(edit, user)
            action = AuditAction.MEMBER_LEFT if leaves else AuditAction.MEMBER_REMOVED
            detail = {"role": role, "revoked_keys": str(len(keys))} | revoked
            await edit.record(action, user, detail)


async def _revoke_invitations(
    edit: OrganizationEdit, user: UserId, role: Role | None = None
) -> dict[str, str]:
    """Revokes the pending invitations of a user that the role, if any, doesn't permit any more.

    Otherwise a member who is removed could come back with another account. Returns their number
    for the audit log, if there are any.
    """
    now, rights = edit.clock(), frozenset() if role is None else RIGHTS[role]
    revoked = [
        one.settled(InvitationStatus.REVOKED, now)
        for one in await edit.locked.invitations_by(user)
        if one.is_pending(now) and TO_INVITE[one.role] not in rights
    ]
    for one in revoked:
        await edit.locked.put_invitation(one)
    return {"revoked_invitations": str(len(revoked))} if revoked else {}
