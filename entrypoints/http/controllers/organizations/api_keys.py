"""API keys of an organization."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import UNSET, Meta, UnsetType

from application.identity.ports import LISTED_MAX
from application.use_cases import UseCases
from domain.identity.api_key import (
    ALL_SCOPES,
    KEY_LIFETIME,
    KEY_NAME_MAX,
    KEY_NETWORKS_MAX,
    KEY_PROJECTS_MAX,
    LISTED_SCOPES_MAX,
    ApiKey,
    Expiration,
    KeyLimits,
    Scope,
    validate_network,
)
from domain.ids import ApiKeyId, ProjectId
from entrypoints.http.authentication import ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import CONFLICT, OrganizationPath
from entrypoints.http.endpoint import delete, get, post
from entrypoints.http.requests.scalar_types import PLAIN_TEXT, domain_check
from entrypoints.http.requests.wire_types import ResponseInstant
from entrypoints.http.response_structs import GIVEN, ResponseStruct, Source


class KeyPath(OrganizationPath, frozen=True):
    key_id: Annotated[ApiKeyId, Meta(description="The key's id", examples=[examples.KEY_ID])]


class DeleteKeyQuery(msgspec.Struct, frozen=True, kw_only=True):
    permanent: Annotated[
        bool, Meta(description="Whether to delete the key instead of revoking it")
    ] = False


class CreateAPIKeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=KEY_NAME_MAX, extra=PLAIN_TEXT)]
    expiration: Annotated[
        Expiration | UnsetType,
        Meta(description="If left out, the `key_days` of the organization's limits, else `never`"),
    ] = UNSET
    scopes: (
        Annotated[
            list[Scope],
            Meta(
                min_length=1,
                max_length=LISTED_SCOPES_MAX,
                description="What the key may do; all scopes if null or left out",
            ),
        ]
        | None
    ) = None

    project_ids: (
        Annotated[
            list[ProjectId],
            Meta(
                min_length=1,
                max_length=KEY_PROJECTS_MAX,
                description="The projects that the key may use; all, and new ones, if null",
            ),
        ]
        | None
    ) = None
    networks: (
        Annotated[
            list[Annotated[str, Meta(extra={"check": domain_check(validate_network)})]],
            Meta(
                min_length=1,
                max_length=KEY_NETWORKS_MAX,
                description="Addresses and networks that may use the key; all if null",
                examples=[["192.0.2.0/24", "2001:db8::7"]],
            ),
        ]
        | None
    ) = None

    @property
    def limits(self) -> KeyLimits:
        projects, networks = self.project_ids, self.networks
        return KeyLimits(
            project_ids=None if projects is None else frozenset(projects),
            networks=None
            if networks is None
            else tuple(sorted({*map(validate_network, networks)})),
        )

    @property
    def granted(self) -> frozenset[Scope]:
        return ALL_SCOPES if self.scopes is None else frozenset(self.scopes)


def _sorted_scopes(scopes: frozenset[Scope]) -> list[Scope]:
    return [scope for scope in Scope if scope in scopes]


def _sorted_ids(ids: frozenset[ProjectId] | None) -> list[UUID] | None:
    return None if ids is None else sorted(ids)


def _as_list(texts: tuple[str, ...] | None) -> list[str] | None:
    return None if texts is None else list(texts)


class APIKeyResponse(ResponseStruct[ApiKey], frozen=True, kw_only=True):
    """A key. Only the responses that create or rotate it contain its secret, `raw_key`.

    `created_by` is the user who created it, null if it was created at the command line.
    `last_used_at` is at most a minute behind. `newest_network` is the last network that was new for
    this key, and was first used at `newest_network_at`; both are null unless for OWNER and ADMIN.
    """

    id: UUID
    org_id: Annotated[UUID, Source("organization_id")]
    key_prefix: Annotated[str, Source("prefix")]
    name: str
    is_active: Annotated[bool, GIVEN]
    created_at: ResponseInstant
    expires_at: ResponseInstant | None
    raw_key: Annotated[str | None, GIVEN]
    scopes: Annotated[list[Scope], Source("scopes", _sorted_scopes)]
    project_ids: Annotated[list[UUID] | None, Source("limits.project_ids", _sorted_ids)]
    networks: Annotated[list[str] | None, Source("limits.networks", _as_list)]
    created_by: UUID | None
    last_used_at: ResponseInstant | None
    newest_network: str | None
    newest_network_at: ResponseInstant | None


def _key_response(key: ApiKey, now: datetime, secret: str | None = None) -> APIKeyResponse:
    return APIKeyResponse.from_domain(key, is_active=key.is_active(now), raw_key=secret)


class ApiKeyController(Controller):
    path = "/organizations/{org_id:str}/api-keys"

    @post(
        "/",
        ORGANIZATION_MEMBER,
        error_types=CONFLICT,
        example=examples.NEW_KEY,
        body_example={"name": "ci", "expiration": "90d", "scopes": ["ingest"]},
    )
    async def create_api_key(
        self,
        caller: OrganizationCaller,
        content: CreateAPIKeyRequest,
        path: OrganizationPath,
        use_cases: UseCases,
    ) -> APIKeyResponse:
        """Create an API key.

        For every member. The key gives access to the data plane of all projects of the
        organization, and to nothing else. `raw_key` is its secret; no other response contains it.
        `project_ids` and `networks` limit it further: 403 in other projects, 401 from other
        addresses. 409 if the organization has too many keys that are neither revoked nor expired.
        """
        key, secret = await use_cases.identity.create_key(
            caller.person,
            caller.organization,
            content.name,
            None if content.expiration is UNSET else content.expiration,
            content.granted,
            limits=content.limits,
        )
        return _key_response(key, use_cases.clock(), secret)

    @get(
        "/",
        ORGANIZATION_MEMBER,
        description=(
            "All keys, revoked and expired ones included, the newest first. If there are more than "
            f"{LISTED_MAX:,}, the oldest revoked ones are left out."
        ),
        example=[examples.KEY],
    )
    async def list_api_keys(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> list[APIKeyResponse]:
        """List API keys."""
        keys, now = await use_cases.identity.directory.keys(caller.organization), use_cases.clock()
        role = caller.membership.role
        return [_key_response(key.visible_to(role), now) for key in keys]

    @get("/{key_id:str}", ORGANIZATION_MEMBER, example=examples.KEY)
    async def read_api_key(
        self, caller: OrganizationCaller, path: KeyPath, use_cases: UseCases
    ) -> APIKeyResponse:
        """Read an API key.

        One key of the organization, without its secret.
        """
        key = await use_cases.identity.directory.key(caller.organization, path.key_id)
        return _key_response(key.visible_to(caller.membership.role), use_cases.clock())

    @post(
        "/{key_id:str}/rotate",
        ORGANIZATION_MEMBER,
        description=(
            "For OWNER and ADMIN. Creates a new key with the same name, scopes and limits, valid "
            f"for {KEY_LIFETIME.days} days. The old key stays valid until it expires. 422 for a "
            "key that is revoked or never expires; 409 if the organization has too many keys."
        ),
        error_types=CONFLICT,
        example=examples.NEW_KEY,
    )
    async def rotate_api_key(
        self, caller: OrganizationCaller, path: KeyPath, use_cases: UseCases
    ) -> APIKeyResponse:
        """Rotate an API key."""
        key, secret = await use_cases.identity.rotate_key(
            caller.person, caller.organization, path.key_id
        )
        return _key_response(key, use_cases.clock(), secret)

    @delete("/{key_id:str}", ORGANIZATION_MEMBER)
    async def delete_api_key(
        self, caller: OrganizationCaller, path: KeyPath, params: DeleteKeyQuery, use_cases: UseCases
    ) -> None:
        """Revoke or delete an API key.

        For OWNER and ADMIN. The key can't be used any more; a revoked key is still listed.
        Processes that have cached the key may accept it for some more seconds.
        """
        remove = (
            use_cases.identity.delete_key if params.permanent else use_cases.identity.revoke_key
        )
        await remove(caller.person, caller.organization, path.key_id)
