"""API keys of an organization."""

from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, post
from msgspec import Meta

import domain.identity.api_key as keys
from domain.identity.api_key import ALL_SCOPES, KEY_LIFETIME, KEY_NAME_MAX, Expiration, Scope
from domain.ids import ApiKeyId
from entrypoints.http.authentication import OF_ORGANIZATION
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.requests.json_body import Body
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


CREATE: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Create an API key",
            description=(
                "For every member. The key reaches all projects of the organization, and nothing "
                "but the data plane. `raw_key` is its secret, and is never shown again."
            ),
            answer=APIKeyResponse,
            example=examples.NEW_KEY,
            body_example={"name": "ci", "expiration": "90d", "scopes": ["ingest"]},
        ),
    )
    .with_path(OrganizationPath)
    .with_body(Body(CreateAPIKeyRequest, lambda wire, _: wire))
)

LIST: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="List API keys",
        description="All keys, revoked and expired ones included, newest first.",
        answer=list[APIKeyResponse],
        example=[examples.KEY],
    ),
).with_path(OrganizationPath)

READ: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Read an API key",
        description="One key of the organization, without its secret.",
        answer=APIKeyResponse,
        example=examples.KEY,
    ),
).with_path(KeyPath)

ROTATE: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Rotate an API key",
        description=(
            f"For OWNER and ADMIN. Makes a new key of the same name and scopes, for "
            f"{KEY_LIFETIME.days} days; the old one stays valid until it expires by itself. 422 for "
            "a key that is revoked or never expires."
        ),
        answer=APIKeyResponse,
        example=examples.NEW_KEY,
    ),
).with_path(KeyPath)

DELETE: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Revoke or delete an API key",
            description=(
                "For OWNER and ADMIN. Either way the key opens nothing any more; a revoked one is "
                "still listed. Processes that remember it may let it in for some seconds yet."
            ),
            answer=None,
        ),
    )
    .with_path(KeyPath)
    .with_query(DeleteKeyQuery)
)


class ApiKeyController(Controller):
    path = "/organizations/{org_id:str}/api-keys"

    @post("/", opt=CREATE.opt)
    async def create_api_key(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        do, body = edge_of(request).use_cases, given.body
        made, secret = await do.create_key(
            given.caller.person,
            given.caller.organization,
            body.name,
            body.expiration,
            body.granted,
        )
        return await answer(request, APIKeyResponse.of(made, do.clock(), secret))

    @get("/", opt=LIST.opt)
    async def list_api_keys(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        do = edge_of(request).use_cases
        found, now = await do.list_keys(given.caller.membership), do.clock()
        return await answer(request, [APIKeyResponse.of(one, now) for one in found])

    @get("/{key_id:str}", opt=READ.opt)
    async def read_api_key(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        do = edge_of(request).use_cases
        found = await do.read_key(given.caller.membership, ApiKeyId(given.path.key_id))
        return await answer(request, APIKeyResponse.of(found, do.clock()))

    @post("/{key_id:str}/rotate", opt=ROTATE.opt)
    async def rotate_api_key(self, request: HttpRequest) -> Response[bytes]:
        given = await ROTATE.read(request)
        do = edge_of(request).use_cases
        made, secret = await do.rotate_key(
            given.caller.person, given.caller.organization, ApiKeyId(given.path.key_id)
        )
        return await answer(request, APIKeyResponse.of(made, do.clock(), secret))

    @delete("/{key_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_api_key(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        do = edge_of(request).use_cases
        take_away = do.delete_key if given.query.permanent else do.revoke_key
        await take_away(given.caller.person, given.caller.organization, ApiKeyId(given.path.key_id))
