"""The audit log: who did what to which resource, when, and from where."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Final, Self
from uuid import UUID

from domain.ids import ApiKeyId, AuditEntryId, OrganizationId, UserId

ADDRESS_MAX: Final = 64  # characters; an IPv6 address with a zone
AGENT_MAX: Final = 255  # characters of a User-Agent; longer ones are cut
IPV4_NETWORK_BITS: Final = 24  # the smallest network that is routed by itself
IPV6_NETWORK_BITS: Final = 48  # what a site gets; each client in it may use any number of addresses
NETWORKS_CACHED_MAX: Final = 4_096  # addresses: finding a network takes 5 us, for each request


class AuditAction(StrEnum):
    """`<resource>.<action>`."""

    ORGANIZATION_CREATED = "organization.created"
    ORGANIZATION_RENAMED = "organization.renamed"
    ORGANIZATION_LIMITS_CHANGED = "organization.limits_changed"
    ORGANIZATION_SHARING_CHANGED = "organization.sharing_changed"
    ORGANIZATION_DELETED = "organization.deleted"
    MEMBER_ROLE_CHANGED = "member.role_changed"
    MEMBER_REMOVED = "member.removed"
    MEMBER_LEFT = "member.left"
    INVITATION_CREATED = "invitation.created"
    INVITATION_REVOKED = "invitation.revoked"
    INVITATION_ACCEPTED = "invitation.accepted"
    INVITATION_DECLINED = "invitation.declined"
    PROJECT_CREATED = "project.created"
    PROJECT_CHANGED = "project.changed"
    PROJECT_DELETED = "project.deleted"
    PROJECT_RETENTION_CHANGED = "project.retention_changed"
    ERASURE_REQUESTED = "erasure.requested"
    ERASURE_FINISHED = "erasure.finished"
    PROJECT_BUDGET_CHANGED = "project.budget_changed"
    API_KEY_CREATED = "api_key.created"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEY_DELETED = "api_key.deleted"
    API_KEY_USED = "api_key.used"  # first use from a network
    BROWSER_SESSION_STARTED = "browser_session.started"
    BROWSER_SESSION_ENDED = "browser_session.ended"
    LOGIN_CODE_ISSUED = "login_code.issued"
    SCORE_CHANGED = "score.changed"
    SCORE_DELETED = "score.deleted"
    TRACE_DELETED = "trace.deleted"
    TRACES_DELETED = "trace.batch_deleted"
    TRACE_LINK_CREATED = "trace_link.created"
    TRACE_LINK_DELETED = "trace_link.deleted"
    TRACES_IMPORTED = "trace.imported"
    SESSION_DELETED = "session.deleted"
    EXPORT_STREAMED = "export.streamed"
    EXPORT_REQUESTED = "export.requested"
    EXPORT_LINK_CREATED = "export.link_created"
    EXPORT_DOWNLOADED = "export.downloaded"
    EXPORT_DELETED = "export.deleted"
    MODEL_PRICE_CREATED = "model_price.created"
    MODEL_PRICE_DELETED = "model_price.deleted"
    REPRICING_STARTED = "repricing.started"
    MONITOR_CREATED = "monitor.created"
    MONITOR_CHANGED = "monitor.changed"
    MONITOR_PAUSED = "monitor.paused"
    MONITOR_RESUMED = "monitor.resumed"
    MONITOR_DELETED = "monitor.deleted"
    ALERT_CREATED = "alert.created"
    ALERT_CHANGED = "alert.changed"
    ALERT_DELETED = "alert.deleted"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_DELETED = "webhook.deleted"
    RUN_DELETED = "run.deleted"
    DATASET_CREATED = "dataset.created"
    DATASET_CHANGED = "dataset.changed"
    DATASET_DELETED = "dataset.deleted"
    DATASET_ITEM_DELETED = "dataset.item_deleted"
    DATASET_EXPORTED = "dataset.exported"
    EXPERIMENT_CREATED = "experiment.created"
    EXPERIMENT_CLOSED = "experiment.closed"
    EXPERIMENT_DELETED = "experiment.deleted"

    @property
    def resource(self) -> str:
        return self.partition(".")[0]


@lru_cache(maxsize=NETWORKS_CACHED_MAX)
def network_of(address: str) -> str:
    """The network that the address shares with its neighbours, as `192.0.2.0/24`.

    A text that isn't an address is its own network.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    # A server with an IPv6 socket sees an IPv4 client as a mapped address.
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    bits = IPV4_NETWORK_BITS if isinstance(parsed, IPv4Address) else IPV6_NETWORK_BITS
    return str(ip_network((parsed, bits), strict=False))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from: the client's address and User-Agent. None: unknown."""

    address: str | None = None
    agent: str | None = None

    @property
    def network(self) -> str:
        """The network of the address; empty if it is unknown."""
        return "" if self.address is None else network_of(self.address)


UNKNOWN_ORIGIN: Final = Origin()  # such as the local command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who did it. `name` is the email, or the key's prefix, at that time.

    Without ids it was an operator at the command line.
    """

    user_id: UserId | None = None
    key_id: ApiKeyId | None = None
    name: str
    origin: Origin = UNKNOWN_ORIGIN


OPERATOR: Final = Actor(name="operator")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """`resource_id` is the id of the resource in `action`; `detail` holds further facts.

    A stored entry has a number within its organization, and its hash, see `chain_hash`.
    """

    id: AuditEntryId
    organization_id: OrganizationId
    at: datetime
    actor: Actor
    action: AuditAction
    resource_id: str
    detail: Mapping[str, str] = field(default_factory=dict)
    sequence: int | None = field(default=None, compare=False)
    hash: bytes | None = field(default=None, compare=False)

    def with_detail(self, **facts: object) -> Self:
        """The entry with facts that are known only once the change is done."""
        return replace(
            self, detail={**self.detail, **{key: str(one) for key, one in facts.items()}}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries of an audit log are listed; None: any. `before` is exclusive.

    `actor_id` is the id of a user or of an API key.
    """

    action: AuditAction | None = None
    actor_id: UUID | None = None
    after: datetime | None = None
    before: datetime | None = None

    def matches(self, entry: AuditEntry) -> bool:
        actors = (None, entry.actor.user_id, entry.actor.key_id)
        return (
            self.action in {None, entry.action}
            and self.actor_id in actors
            and (self.after is None or entry.at >= self.after)
            and (self.before is None or entry.at < self.before)
        )


ALL_ENTRIES: Final = AuditFilter()


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The number and the hash of the last entry of an organization."""

    sequence: int = 0
    hash: bytes = bytes(32)


EMPTY_CHAIN: Final = ChainHead()


def chain_hash(previous: bytes, sequence: int, entry: AuditEntry) -> bytes:
    """The hash of an entry: SHA-256 of the hash before it, then of the entry's fields as text.

    So a changed, a removed and an inserted entry each break all hashes after it. A field is its
    length in bytes, a colon, its UTF-8 text and a comma; `-,` if it is missing. The details come
    last, each key with its value, in the order of the keys.
    """
    actor, at = entry.actor, entry.at.astimezone(UTC)
    fields: list[object] = [sequence, entry.id, entry.organization_id]
    fields += [at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), actor.user_id, actor.key_id, actor.name]
    fields += [actor.origin.address, actor.origin.agent, entry.action, entry.resource_id]
    for key in sorted(entry.detail):
        fields += [key, entry.detail[key]]
    return sha256(previous + b"".join(map(_hashed_field, fields))).digest()


def _hashed_field(value: object) -> bytes:
    if value is None:
        return b"-,"
    text = str(value).encode()
    return b"%d:%b," % (len(text), text)


class BrokenChainError(Exception):
    """The audit log isn't what was written: an entry is missing, was changed or was added."""


def follow_chain(before: ChainHead, entries: Iterable[AuditEntry]) -> ChainHead:
    """The head after the entries that follow `before`. Raises BrokenChainError."""
    for entry in entries:
        number = before.sequence + 1
        if entry.sequence != number:
            raise BrokenChainError(f"entry {number} is missing")
        expected = chain_hash(before.hash, number, entry)
        if entry.hash != expected:
            raise BrokenChainError(f"entry {number} was changed: it has the id {entry.id}")
        before = ChainHead(number, expected)
    return before
