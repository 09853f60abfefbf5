"""API keys: secrets of an organization, for programs."""

import hashlib
import re
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Self

from domain.errors import Conflict, Forbidden, Invalid, Unauthenticated
from domain.identity.organization import RIGHTS, Action, Role
from domain.ids import ApiKeyId, OrganizationId, ProjectId, UserId

RANDOM_BYTES: Final = 28
PREFIX_LENGTH: Final = 10  # characters that may be shown, enough to distinguish keys
KEY_NAME_MAX: Final = 255  # characters
KEY_PROJECTS_MAX: Final = 100
KEY_NETWORKS_MAX: Final = 50
MAPPED_BITS: Final = 96  # before the IPv4 address in a mapped one (RFC 4291, section 2.5.5.2)
KEY_LIFETIME: Final = timedelta(days=90)  # of an expiring key

KEY_PREFIX: Final = "pp_"
_FORM: Final = re.compile(KEY_PREFIX + "[0-9a-f]{64}")


class Scope(StrEnum):
    """What a key may do. No scope permits administration, which needs a user."""

    INGEST = "ingest"
    READ = "read"
    EVALUATE = "evaluate"


ALL_SCOPES: Final = frozenset(Scope)
LISTED_SCOPES_MAX: Final = 100  # in one request, repeated ones included


def check_scopes(granted: Collection[Scope], needed: Iterable[Scope]) -> None:
    """Raises Forbidden, naming every missing one, unless the key has all that are needed."""
    missing = [f"'{scope}'" for scope in needed if scope not in granted]
    if missing:
        noun = "scope" if len(missing) == 1 else "scopes"
        raise Forbidden(f"This API key lacks the {noun} {' and '.join(missing)}")


class Expiration(StrEnum):
    NEVER = "never"
    DAYS_90 = "90d"

    def after(self, now: datetime) -> datetime | None:
        return now + KEY_LIFETIME if self is Expiration.DAYS_90 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """Where a key may be used: in which projects, and from which networks. None: anywhere.

    `networks` are texts as `validate_network` returns them.
    """

    project_ids: frozenset[ProjectId] | None = None
    networks: tuple[str, ...] | None = None

    def check_project(self, project: ProjectId | None) -> None:
        """Raises Forbidden, with one text for known and unknown projects. None: a new project."""
        if self.project_ids is not None and project not in self.project_ids:
            raise Forbidden("This API key may not use this project")

    def check_address(self, address: str | None) -> None:
        """Raises Unauthenticated. None is the address of an unknown client."""
        if self.networks is None:
            return
        client = _parse_address(address)
        if client is None or all(client not in ip_network(one) for one in self.networks):
            raise Unauthenticated("This API key can't be used from this address")


NO_LIMITS: Final = KeyLimits()


def validate_network(text: str) -> str:
    """An address or a network, as `192.0.2.0/24`. Raises Invalid.

    A network of mapped addresses becomes that of IPv4, as which its clients are compared.
    """
    try:
        network = ip_network(text.strip(), strict=False)
        mapped = getattr(network.network_address, "ipv4_mapped", None)
        if mapped is not None and network.prefixlen >= MAPPED_BITS:
            network = ip_network((mapped, network.prefixlen - MAPPED_BITS))
        return str(network)
    except ValueError as error:
        message = "must be an address or a network, such as 192.0.2.7 or 2001:db8::/48"
        raise Invalid(message) from error


def _parse_address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    # A server with an IPv6 socket sees an IPv4 client as a mapped address.
    return getattr(address, "ipv4_mapped", None) or address


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is stored: only the digest of its secret is known.

    `newest_network` is the last network that was new for the key, and was first used at
    `newest_network_at`.
    """

    id: ApiKeyId
    organization_id: OrganizationId
    created_by: UserId | None
    name: str
    prefix: str
    digest: bytes
    scopes: frozenset[Scope] = ALL_SCOPES
    limits: KeyLimits = NO_LIMITS
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    newest_network: str | None = None
    newest_network_at: datetime | None = None

    def is_active(self, now: datetime) -> bool:
        """Neither revoked nor expired at `now`."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    def visible_to(self, role: Role) -> Self:
        """The key; without networks for those who may not read addresses in the audit log."""
        if Action.READ_AUDIT_LOG in RIGHTS[role]:
            return self
        return replace(self, newest_network=None, newest_network_at=None)

    def check_rotatable(self) -> None:
        """Raises Invalid if the key is revoked or never expires."""
        if self.revoked_at is not None:
            raise Invalid("A revoked key can't be rotated: create a new one")
        if self.expires_at is None:
            raise Invalid("A key that never expires can't be rotated: create a new one")

    def revoked(self, now: datetime) -> Self:
        """Revoked at `now`; unchanged if it was revoked before."""
        return self if self.revoked_at is not None else replace(self, revoked_at=now)

    def check_scopes(self, *scopes: Scope) -> None:
        """Raises Forbidden unless the key has all `scopes`."""
        check_scopes(self.scopes, scopes)

    def check_active(self, now: datetime) -> None:
        """Raises Unauthenticated if the key is revoked or expired at `now`."""
        if self.revoked_at is not None:
            raise Unauthenticated(UNKNOWN_KEY)
        if self.expires_at is not None and self.expires_at <= now:
            raise Unauthenticated("API key has expired")


def check_key_count(active: int, most: int) -> None:
    """Raises Conflict if an organization with `active` keys may have no further one."""
    if active >= most:
        raise Conflict(
            f"The organization has {active} API keys that are neither revoked nor expired, and the "
            f"most is {most}: revoke one that isn't needed"
        )


UNKNOWN_KEY: Final = "Invalid API key"


def format_key(random: bytes) -> str:
    """The text of a key: `pp_`, RANDOM_BYTES random bytes and a checksum, in 64 hex digits.

    The checksum is the CRC-32 of the text before it: scanners of repositories find keys that leaked
    without asking this server, and without mistaking other hex digits for a key. Keys from before
    have random digits in its place, so the server doesn't check it.
    """
    text = f"{KEY_PREFIX}{random[:RANDOM_BYTES].hex()}"
    return f"{text}{zlib.crc32(text.encode()):08x}"


def key_digest(secret: str) -> bytes:
    """SHA-256 of the whole text. Raises Unauthenticated if it isn't the format of a key.

    A plain digest is sufficient: 224 random bits can't be guessed, with or without a slow hash.
    """
    if _FORM.fullmatch(secret) is None:
        raise Unauthenticated(UNKNOWN_KEY)
    return hashlib.sha256(secret.encode()).digest()
