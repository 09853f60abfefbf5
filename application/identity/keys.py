"""API keys: creating, rotating, revoking and deleting them."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from application.identity.organization_edit import OrganizationEditor, require
from application.identity.ports import Administration, LockedOrganization
from application.ports import Clock, NewId, RandomBytes
from domain.errors import Invalid
from domain.identity.api_key import (
    ALL_SCOPES,
    KEY_LIFETIME,
    NO_LIMITS,
    PREFIX_LENGTH,
    RANDOM_BYTES,
    ApiKey,
    Expiration,
    KeyLimits,
    Scope,
    check_key_count,
    format_key,
    key_digest,
)
from domain.identity.audit import OPERATOR, AuditAction, AuditEntry
from domain.identity.caller import Person
from domain.identity.organization import Action
from domain.ids import ApiKeyId, AuditEntryId, OrganizationId, UserId

KEY_NOT_FOUND: Final = "API key not found"


@dataclass(frozen=True, slots=True)
class ApiKeyFactory:
    """Makes keys. Only here is the secret of a key known; it is never stored."""

    clock: Clock
    new_id: NewId
    random: RandomBytes
    active_max: int | None = None  # keys of one organization

    async def store(self, key: ApiKey, locked: LockedOrganization) -> None:
        """Stores a new key. Raises Conflict if the organization has too many."""
        if self.active_max is not None:
            check_key_count(await locked.count_active_keys(key.created_at), self.active_max)
        await locked.put_key(key)

    def create(
        self,
        organization: OrganizationId,
        *,
        name: str,
        created_by: UserId | None,
        scopes: frozenset[Scope],
        expires_at: datetime | None,
        limits: KeyLimits = NO_LIMITS,
    ) -> tuple[ApiKey, str]:
        """A key that isn't stored yet, and its secret."""
        secret = format_key(self.random(RANDOM_BYTES))
        key = ApiKey(
            id=ApiKeyId(self.new_id()),
            organization_id=organization,
            created_by=created_by,
            name=name,
            prefix=secret[:PREFIX_LENGTH],
            digest=key_digest(secret),
            scopes=scopes,
            limits=limits,
            created_at=self.clock(),
            expires_at=expires_at,
        )
        return key, secret


@dataclass(frozen=True, slots=True)
class IssueKey:
    """Creates a key for an operator of the service, without a user."""

    administration: Administration
    key_factory: ApiKeyFactory

    async def __call__(
        self,
        organization: OrganizationId,
        *,
        name: str,
        scopes: frozenset[Scope] = ALL_SCOPES,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """The key and its secret.

        Raises NotFound if the organization is gone, Conflict if it has too many keys, Unavailable.
        """
        key, secret = self.key_factory.create(
            organization, name=name, created_by=None, scopes=scopes, expires_at=expires_at
        )
        entry = AuditEntry(
            id=AuditEntryId(self.key_factory.new_id()),
            organization_id=organization,
            at=key.created_at,
            actor=OPERATOR,
            action=AuditAction.API_KEY_CREATED,
            resource_id=str(key.id),
            detail=_audit_detail(key),
        )
        async with self.administration.lock(organization) as locked:
            await self.key_factory.store(key, locked)
            await locked.record(entry)
        return key, secret


@dataclass(frozen=True, slots=True)
class CreateKey:
    editor: OrganizationEditor
    key_factory: ApiKeyFactory

    async def __call__(
        self,
        person: Person,
        organization: OrganizationId,
        name: str,
        expiration: Expiration | None,
        scopes: frozenset[Scope],
        *,
        limits: KeyLimits = NO_LIMITS,
    ) -> tuple[ApiKey, str]:
        """The key and its secret. Without `expiration` the limits of the organization apply.

        Raises Forbidden, Invalid for unknown projects, Conflict for too many keys, Unavailable.
        """
        key, secret = self.key_factory.create(
            organization,
            name=name,
            created_by=person.user.id,
            scopes=scopes,
            expires_at=None if expiration is None else expiration.after(self.editor.clock()),
            limits=limits,
        )
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CREATE_KEY)
            if expiration is None:
                default = (await edit.locked.limits()).key_expires_at(key.created_at)
                key = replace(key, expires_at=default)
            for project in limits.project_ids or ():
                if await edit.locked.project(project) is None:
                    raise Invalid.field("project_ids", f"{project} isn't a project of yours")
            await self.key_factory.store(key, edit.locked)
            await edit.record(AuditAction.API_KEY_CREATED, key.id, _audit_detail(key))
        return key, secret


@dataclass(frozen=True, slots=True)
class RotateKey:
    """Creates a key like another one, which stays valid until it expires."""

    editor: OrganizationEditor
    key_factory: ApiKeyFactory

    async def __call__(
        self, person: Person, organization: OrganizationId, key: ApiKeyId
    ) -> tuple[ApiKey, str]:
        """The new key and its secret.

        Raises Forbidden, NotFound, Invalid, Conflict for too many keys, Unavailable.
        """
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CHANGE_KEY)
            known = require(await edit.locked.key(key), KEY_NOT_FOUND)
            known.check_rotatable()
            new, secret = self.key_factory.create(
                organization,
                name=known.name,
                created_by=person.user.id,
                scopes=known.scopes,
                expires_at=self.editor.clock() + KEY_LIFETIME,
                limits=known.limits,
            )
            await self.key_factory.store(new, edit.locked)
            detail = {**_audit_detail(new), "new_id": str(new.id)}
            await edit.record(AuditAction.API_KEY_ROTATED, known.id, detail)
        return new, secret


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """A revoked key is refused but stays listed. Revoking it again changes nothing."""

    editor: OrganizationEditor

    async def __call__(self, person: Person, organization: OrganizationId, key: ApiKeyId) -> None:
        """Raises Forbidden, NotFound, Unavailable."""
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CHANGE_KEY)
            known = require(await edit.locked.key(key), KEY_NOT_FOUND)
            revoked = known.revoked(self.editor.clock())
            if revoked != known:
                await edit.locked.put_key(revoked)
                await edit.record(AuditAction.API_KEY_REVOKED, key, _audit_detail(known))


@dataclass(frozen=True, slots=True)
class DeleteKey:
    """Deletes a key: it is refused, and no longer listed."""

    editor: OrganizationEditor

    async def __call__(self, person: Person, organization: OrganizationId, key: ApiKeyId) -> None:
        """Raises Forbidden, NotFound, Unavailable."""
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.CHANGE_KEY)
            known = require(await edit.locked.key(key), KEY_NOT_FOUND)
            await edit.locked.remove_key(key)
            await edit.record(AuditAction.API_KEY_DELETED, key, _audit_detail(known))


def _audit_detail(key: ApiKey) -> dict[str, str]:
    return {"name": key.name, "prefix": key.prefix}
