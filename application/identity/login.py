"""Sign-in of the command line: the browser gets a code, the program exchanges it for a key.

Authorization code with PKCE (RFC 7636): the code alone can't be exchanged.
"""

from dataclasses import dataclass
from typing import Final

from application.identity.authenticate import NOT_A_MEMBER
from application.identity.keys import ApiKeyFactory
from application.identity.organization_edit import OrganizationEditor, require
from application.identity.ports import Administration, Directory, Organizations
from application.identity.projects import PROJECT_NOT_FOUND
from application.ports import RandomBytes
from domain.errors import Forbidden, NotFound, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, KEY_LIFETIME, ApiKey
from domain.identity.audit import Actor, AuditAction, AuditEntry, Origin
from domain.identity.caller import Person
from domain.identity.login_code import (
    CHALLENGE_MAX,
    CODE_BYTES,
    CODE_LIFETIME,
    REFUSED,
    LoginCode,
    code_digest,
    format_code,
    key_name,
)
from domain.identity.organization import Action, Member, Project
from domain.ids import AuditEntryId, OrganizationId, ProjectId

NOT_A_MEMBER_ANY_MORE: Final = "The user of this code is no longer a member, or its project is gone"


@dataclass(frozen=True, slots=True)
class IssueLoginCode:
    organizations: Organizations
    editor: OrganizationEditor
    random: RandomBytes

    async def __call__(
        self,
        person: Person,
        organization: OrganizationId,
        project: ProjectId,
        challenge: str,
        label: str,
    ) -> str:
        """The code, valid for CODE_LIFETIME. Raises Forbidden, NotFound, Unavailable."""
        # Checked before locking: outsiders must not be able to delay the members.
        memberships = await self.organizations.memberships(person.user.id)
        if all(one.organization_id != organization for one in memberships):
            raise Forbidden(NOT_A_MEMBER)
        code, now = format_code(self.random(CODE_BYTES)), self.editor.clock()
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.ISSUE_LOGIN_CODE)
            require(await edit.locked.project(project), PROJECT_NOT_FOUND)
            await edit.locked.add_login_code(
                LoginCode(
                    digest=code_digest(code),
                    user_id=person.user.id,
                    organization_id=organization,
                    project_id=project,
                    challenge=challenge[:CHALLENGE_MAX],
                    label=label,
                    created_at=now,
                    expires_at=now + CODE_LIFETIME,
                )
            )
            await edit.record(AuditAction.LOGIN_CODE_ISSUED, project, {"label": label})
        return code


@dataclass(frozen=True, slots=True)
class ExchangeLoginCode:
    directory: Directory
    administration: Administration
    key_factory: ApiKeyFactory

    async def __call__(
        self, code: str, verifier: str, origin: Origin
    ) -> tuple[ApiKey, str, Project]:
        """A key for the user who requested the code, its secret, and the chosen project.

        Raises Unauthenticated for a code that is unknown, used or expired, and for a wrong
        verifier, which doesn't use up the code; Forbidden if the membership ended or the project
        is gone; Conflict for too many keys, which doesn't use up the code either; Unavailable.
        """
        now = self.key_factory.clock()
        known = await self.directory.login_code(code_digest(code))
        if known is None:
            raise Unauthenticated(REFUSED)
        known.check(verifier, now)
        key, secret = self.key_factory.create(
            known.organization_id,
            name=key_name(known.label, now),
            created_by=known.user_id,
            scopes=ALL_SCOPES,
            expires_at=now + KEY_LIFETIME,
        )
        try:
            async with self.administration.lock(known.organization_id) as locked:
                if not await locked.use_login_code(known.digest):
                    raise Unauthenticated(REFUSED)
                project = await locked.project(known.project_id)
                member = await locked.member(known.user_id)
                if project is not None and member is not None:
                    await self.key_factory.store(key, locked)
                    await locked.record(self._audit_entry(known, key, member, origin))
        except NotFound as gone:
            raise Forbidden(NOT_A_MEMBER_ANY_MORE) from gone
        if project is None or member is None:  # the code is used up anyway
            raise Forbidden(NOT_A_MEMBER_ANY_MORE)
        return key, secret, project

    def _audit_entry(
        self, code: LoginCode, key: ApiKey, member: Member, origin: Origin
    ) -> AuditEntry:
        return AuditEntry(
            id=AuditEntryId(self.key_factory.new_id()),
            organization_id=code.organization_id,
            at=key.created_at,
            actor=Actor(user_id=code.user_id, name=member.email, origin=origin),
            action=AuditAction.API_KEY_CREATED,
            resource_id=str(key.id),
            detail={"name": key.name, "prefix": key.prefix},
        )
