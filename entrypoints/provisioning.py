"""Ways in that the command line gives: development tokens and API keys."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from application.use_cases import Ports, UseCases, utc_now
from domain.errors import Unauthenticated
from domain.identity.api_key import ALL_SCOPES, Scope, key_digest
from domain.identity.audit import UNKNOWN_ORIGIN
from domain.ids import OrganizationId
from entrypoints.composition import root
from entrypoints.composition.sign_in import DEVELOPER, DEVELOPER_NAME, development_issuer
from entrypoints.settings import Settings
from entrypoints.startup import CommandError

FIRST_KEY: Final = "development"


def development_token(settings: Settings, *, email: str, name: str, expires_in_s: int) -> str:
    """A token of the development issuer; its subject is the email. Raises CommandError."""
    try:
        issuer = development_issuer(settings)
    except (OSError, ValueError) as error:
        raise CommandError(f"no development key in {Path(settings.data_dir)}: {error}") from error
    return issuer.token(
        subject=email, email=email, name=name, expires_in_s=expires_in_s, now=utc_now()
    )


async def create_key(
    settings: Settings,
    *,
    organization: str | None,
    name: str,
    scopes: Sequence[str] | None,
    lasts_s: int | None,
) -> str:
    """The secret of a new key. Raises CommandError, and NotFound where the organization is gone."""
    wanted = ALL_SCOPES if scopes is None else _scopes(scopes)
    async with root.ports(settings) as ports:
        _, secret = await UseCases.over(ports).identity.issue_key(
            await owner(settings, ports, organization),
            name=name,
            scopes=wanted,
            expires_at=None if lasts_s is None else ports.clock() + timedelta(seconds=lasts_s),
        )
    return secret


async def owner(settings: Settings, ports: Ports, named: str | None) -> OrganizationId:
    """The organization of this id, or else the developer's. Raises CommandError."""
    return _organization(named) or await _developers(settings, ports)


async def first_key(settings: Settings, known: str | None) -> str:
    """The developer's API key: `known` where it still opens something, else a new one.

    The developer, their organization and its first project are made at the first call.
    """
    async with root.ports(settings) as ports:
        organization = await _developers(settings, ports)
        if known is not None and await _belongs(ports, known, organization):
            return known
        _, secret = await UseCases.over(ports).identity.issue_key(organization, name=FIRST_KEY)
    return secret


async def _belongs(ports: Ports, secret: str, organization: OrganizationId) -> bool:
    try:
        key = await ports.keys.by_digest(key_digest(secret))
        if key is not None:
            key.check_active(ports.clock())
    except Unauthenticated:
        return False
    return key is not None and key.organization_id == organization


async def _developers(settings: Settings, ports: Ports) -> OrganizationId:
    """The organization of the developer, who signs in here as they would through HTTP."""
    if not settings.auth_dev_issuer:
        raise CommandError("name the organization: --organization ID")
    use_cases = UseCases.over(ports)
    token = development_token(settings, email=DEVELOPER, name=DEVELOPER_NAME, expires_in_s=60)
    person = await use_cases.identity.authenticate_token(token, UNKNOWN_ORIGIN)
    return (await use_cases.identity.resolve_membership(person, None)).organization_id


def _organization(text: str | None) -> OrganizationId | None:
    try:
        return None if text is None else OrganizationId(UUID(text))
    except ValueError:
        raise CommandError(f"--organization: {text!r} is no id of an organization") from None


def _scopes(names: Sequence[str]) -> frozenset[Scope]:
    try:
        return frozenset(Scope(name.strip()) for name in names)
    except ValueError as error:
        raise CommandError(f"--scopes: {error}; there are {', '.join(ALL_SCOPES)}") from None
