"""API keys of an organization."""

from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from msgspec import Meta

import domain.identity.api_key as keys
from application.use_cases import UseCases
from domain.identity.api_key import ALL_SCOPES, KEY_LIFETIME, KEY_NAME_MAX, Expiration, Scope
from domain.ids import ApiKeyId
from entrypoints.http.authentication import OF_ORGANIZATION, Colleague
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.wire_types import ShownInstant, instant, optional_instant


class KeyPath(OrganizationPath, frozen=True):
    key_id: Annotated[UUID, Meta(description="The key's id", examples=[examples.KEY_ID])]


class DeleteKeyQuery(msgspec.Struct, frozen=True, kw_only=True):
    permanent: Annotated[
        bool, Meta(description="Whether to remove it, and not only to revoke it")
    ] = False


class CreateAPIKeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=KEY_NAME_MAX)]
    expiration: Expiration = Expiration.NEVER
    scopes: (
        Annotated[
            list[Scope],
            Meta(min_length=1, description="What the key may do; left out or null: everything"),
        ]
        | None
    ) = None

    @property
    def granted(self) -> frozenset[Scope]:
        return ALL_SCOPES if self.scopes is None else frozenset(self.scopes)


class APIKeyResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A key. Its secret, `raw_key`, is shown once: to who makes or rotates it.

    `created_by` is the user who made it, null for one made at the command line; `last_used_at`
    follows its uses by a minute at most.
    """

    id: UUID
    org_id: UUID
    key_prefix: str
    name: str
    is_active: bool
    created_at: ShownInstant
    expires_at: ShownInstant | None
    raw_key: str | None
    scopes: list[Scope]
    created_by: UUID | None
    last_used_at: ShownInstant | None

    @classmethod
    def of(cls, key: keys.ApiKey, now: datetime, secret: str | None = None) -> Self:
        return cls(
            id=key.id,
            org_id=key.organization_id,
            key_prefix=key.prefix,
            name=key.name,
            is_active=key.is_active(now),
            created_at=instant(key.created_at),
            expires_at=optional_instant(key.expires_at),
            raw_key=secret,
            scopes=[scope for scope in Scope if scope in key.scopes],
            created_by=key.created_by,
            last_used_at=optional_instant(key.last_used_at),
        )


CREATE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Create an API key",
    description=(
        "For every member. The key reaches all projects of the organization, and nothing "
        "but the data plane. `raw_key` is its secret, and is never shown again."
    ),
    example=examples.NEW_KEY,
    body_example={"name": "ci", "expiration": "90d", "scopes": ["ingest"]},
)

LIST: Final = endpoint(
    OF_ORGANIZATION,
    summary="List API keys",
    description="All keys, revoked and expired ones included, newest first.",
    example=[examples.KEY],
)

READ: Final = endpoint(
    OF_ORGANIZATION,
    summary="Read an API key",
    description="One key of the organization, without its secret.",
    example=examples.KEY,
)

ROTATE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Rotate an API key",
    description=(
        f"For OWNER and ADMIN. Makes a new key of the same name and scopes, for "
        f"{KEY_LIFETIME.days} days; the old one stays valid until it expires by itself. 422 for a "
        "key that is revoked or never expires."
    ),
    example=examples.NEW_KEY,
)

DELETE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Revoke or delete an API key",
    description=(
        "For OWNER and ADMIN. Either way the key opens nothing any more; a revoked one is "
        "still listed. Processes that remember it may let it in for some seconds yet."
    ),
)


class ApiKeyController(Controller):
    path = "/organizations/{org_id:str}/api-keys"

    @post("/", **CREATE)
    async def create_api_key(
        self,
        caller: Injected[Colleague],
        content: Injected[CreateAPIKeyRequest],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> APIKeyResponse:
        do, body = use_cases, content
        made, secret = await do.identity.create_key(
            caller.person,
            caller.organization,
            body.name,
            body.expiration,
            body.granted,
        )
        return APIKeyResponse.of(made, do.clock(), secret)

    @get("/", **LIST)
    async def list_api_keys(
        self,
        caller: Injected[Colleague],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> list[APIKeyResponse]:
        do = use_cases
        found, now = await do.identity.list_keys(caller.membership), do.clock()
        return [APIKeyResponse.of(one, now) for one in found]

    @get("/{key_id:str}", **READ)
    async def read_api_key(
        self,
        caller: Injected[Colleague],
        path: Injected[KeyPath],
        use_cases: Injected[UseCases],
    ) -> APIKeyResponse:
        do = use_cases
        found = await do.identity.read_key(caller.membership, ApiKeyId(path.key_id))
        return APIKeyResponse.of(found, do.clock())

    @post("/{key_id:str}/rotate", **ROTATE)
    async def rotate_api_key(
        self,
        caller: Injected[Colleague],
        path: Injected[KeyPath],
        use_cases: Injected[UseCases],
    ) -> APIKeyResponse:
        do = use_cases
        made, secret = await do.identity.rotate_key(
            caller.person, caller.organization, ApiKeyId(path.key_id)
        )
        return APIKeyResponse.of(made, do.clock(), secret)

    @delete("/{key_id:str}", status_code=204, **DELETE)
    async def delete_api_key(
        self,
        caller: Injected[Colleague],
        path: Injected[KeyPath],
        params: Injected[DeleteKeyQuery],
        use_cases: Injected[UseCases],
    ) -> None:
        do = use_cases
        take_away = do.identity.delete_key if params.permanent else do.identity.revoke_key
        await take_away(caller.person, caller.organization, ApiKeyId(path.key_id))
