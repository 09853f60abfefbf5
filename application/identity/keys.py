"""Giving programs a way in."""

from dataclasses import dataclass
from datetime import datetime

from application.identity.ports import ApiKeys
from application.ports import Clock, NewId, RandomBytes
from domain.identity.api_key import (
    ALL_SCOPES,
    PREFIX_LENGTH,
    RANDOM_BYTES,
    ApiKey,
    Scope,
    digest_of,
    secret_of,
)
from domain.ids import ApiKeyId, OrganizationId, UserId


@dataclass(frozen=True, slots=True)
class IssueKey:
    """Makes an API key. Its secret is returned here, and nowhere and never again."""

    keys: ApiKeys
    clock: Clock
    new_id: NewId
    random: RandomBytes

    async def __call__(
        self,
        organization: OrganizationId,
        *,
        name: str,
        created_by: UserId | None = None,
        scopes: frozenset[Scope] = ALL_SCOPES,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """The key and its secret. Raises NotFound where the organization is gone, Unavailable."""
        secret = secret_of(self.random(RANDOM_BYTES))
        key = ApiKey(
            id=ApiKeyId(self.new_id()),
            organization_id=organization,
            created_by=created_by,
            name=name,
            prefix=secret[:PREFIX_LENGTH],
            digest=digest_of(secret),
            scopes=scopes,
            created_at=self.clock(),
            expires_at=expires_at,
        )
        await self.keys.add(key)
        return key, secret
