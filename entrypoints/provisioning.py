"""Creates API keys and organizations for the command line."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from application.clock import utc_now
from application.identity.use_cases import IdentityPorts, IdentityUseCases
from domain.errors import Unauthenticated
from domain.identity.api_key import ALL_SCOPES, KEY_NAME_MAX, Scope, key_digest
from domain.identity.audit import UNKNOWN_ORIGIN
from domain.identity.invitation import Invitation
from domain.identity.organization import Organization, Project
from domain.ids import OrganizationId
from entrypoints.composition.identity import open_identity
from entrypoints.composition.sign_in import DEVELOPER, DEVELOPER_NAME, development_token
from entrypoints.settings import Settings
from entrypoints.startup import CommandError

FIRST_KEY: Final = "development"
OPERATOR_KEY: Final = "command line"


async def create_key(
    settings: Settings,
    *,
    organization: str | None,
    name: str,
    scopes: Sequence[str] | None,
    lasts_s: int | None,
) -> str:
    """Creates a key and returns its secret. Raises CommandError, NotFound for the organization."""
    try:
        granted = ALL_SCOPES if scopes is None else {Scope(scope.strip()) for scope in scopes}
    except ValueError as error:
        raise CommandError(f"--scopes: {error}; valid are {', '.join(ALL_SCOPES)}") from None
    if not 0 < len(name) <= KEY_NAME_MAX:
        raise CommandError(f"--name: must be 1 to {KEY_NAME_MAX} characters")
    async with open_identity(settings) as (_, identity):
        _, secret = await identity.issue_key(
            await resolve_organization(settings, identity, organization),
            name=name,
            scopes=frozenset(granted),
            expires_at=None if lasts_s is None else utc_now() + timedelta(seconds=lasts_s),
        )
    return secret


async def create_organization(
    settings: Settings, *, name: str, owner: str, project: str | None, with_key: bool
) -> tuple[Organization, Project, Invitation, str | None]:
    """Creates an organization and invites its owner; with a key, its secret.

    Raises Invalid, Unavailable.
    """
    async with open_identity(settings) as (_, identity):
        organization, first, invitation = await identity.provision_organization(
            name, owner, project
        )
        secret = None
        if with_key:
            _, secret = await identity.issue_key(organization.id, name=OPERATOR_KEY)
    return organization, first, invitation, secret


async def resolve_organization(
    settings: Settings, identity: IdentityUseCases, text: str | None
) -> OrganizationId:
    """The organization with this id, by default the developer's. Raises CommandError."""
    if text is None:
        return await _sign_developer_in(settings, identity)
    try:
        return OrganizationId(UUID(text))
    except ValueError:
        raise CommandError(f"--organization: {text!r} is not the id of an organization") from None


async def ensure_developer_key(settings: Settings, current: str | None) -> str:
    """The developer's API key: `current` if it is still valid, else a new one.

    The first call creates the developer, their organization and its first project.
    """
    async with open_identity(settings) as (ports, identity):
        organization = await _sign_developer_in(settings, identity)
        if current is not None and await _is_valid(ports, current, organization):
            return current
        _, secret = await identity.issue_key(organization, name=FIRST_KEY)
    return secret


async def _is_valid(ports: IdentityPorts, secret: str, organization: OrganizationId) -> bool:
    try:
        key = await ports.keys.by_digest(key_digest(secret))
        if key is not None:
            key.check_active(utc_now())
    except Unauthenticated:
        return False
    return key is not None and key.organization_id == organization


async def _sign_developer_in(settings: Settings, identity: IdentityUseCases) -> OrganizationId:
    """Signs the developer in as through HTTP. Returns their organization."""
    if not settings.auth_dev_issuer:
        raise CommandError("give the organization: --organization ID")
    token = development_token(settings, email=DEVELOPER, name=DEVELOPER_NAME, expires_in_s=60)
    user = await identity.authenticate_token(token, UNKNOWN_ORIGIN)
    return (await identity.resolve_membership(user, None)).organization_id
