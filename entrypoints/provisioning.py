"""Creates API keys and organizations for the command line."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from application.use_cases import Ports, UseCases
from domain.errors import Unauthenticated
from domain.identity.api_key import ALL_SCOPES, Scope, key_digest
from domain.identity.audit import UNKNOWN_ORIGIN
from domain.identity.invitation import Invitation
from domain.identity.organization import Organization, Project
from domain.ids import OrganizationId
from entrypoints.composition import root
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
    async with root.ports(settings) as ports:
        _, secret = await UseCases(ports).identity.issue_key(
            await resolve_organization(settings, ports, organization),
            name=name,
            scopes=frozenset(granted),
            expires_at=None if lasts_s is None else ports.clock() + timedelta(seconds=lasts_s),
        )
    return secret


async def create_organization(
    settings: Settings, *, name: str, owner: str, project: str | None, with_key: bool
) -> tuple[Organization, Project, Invitation, str | None]:
    """Creates an organization and invites its owner; with a key, its secret.

    Raises Invalid, Unavailable.
    """
    async with root.ports(settings) as ports:
        use_cases = UseCases(ports)
        organization, first, invitation = await use_cases.identity.provision_organization(
            name, owner, project
        )
        secret = None
        if with_key:
            _, secret = await use_cases.identity.issue_key(organization.id, name=OPERATOR_KEY)
    return organization, first, invitation, secret


async def resolve_organization(
    settings: Settings, ports: Ports, text: str | None
) -> OrganizationId:
    """The organization with this id, by default the developer's. Raises CommandError."""
    if text is None:
        return await _sign_developer_in(settings, ports)
    try:
        return OrganizationId(UUID(text))
    except ValueError:
        raise CommandError(f"--organization: {text!r} is not the id of an organization") from None


async def ensure_developer_key(settings: Settings, current: str | None) -> str:
    """The developer's API key: `current` if it is still valid, else a new one.

    The first call creates the developer, their organization and its first project.
    """
    async with root.ports(settings) as ports:
        organization = await _sign_developer_in(settings, ports)
        if current is not None and await _is_valid(ports, current, organization):
            return current
        _, secret = await UseCases(ports).identity.issue_key(organization, name=FIRST_KEY)
    return secret


async def _is_valid(ports: Ports, secret: str, organization: OrganizationId) -> bool:
    try:
        key = await ports.identity.keys.by_digest(key_digest(secret))
        if key is not None:
            key.check_active(ports.clock())
    except Unauthenticated:
        return False
    return key is not None and key.organization_id == organization


async def _sign_developer_in(settings: Settings, ports: Ports) -> OrganizationId:
    """Signs the developer in as through HTTP. Returns their organization."""
    if not settings.auth_dev_issuer:
        raise CommandError("give the organization: --organization ID")
    use_cases = UseCases(ports)
    token = development_token(settings, email=DEVELOPER, name=DEVELOPER_NAME, expires_in_s=60)
    user = await use_cases.identity.authenticate_token(token, UNKNOWN_ORIGIN)
    return (await use_cases.identity.resolve_membership(user, None)).organization_id
