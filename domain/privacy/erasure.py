"""Erasure of all data of a user or a session, and the receipt for it.

The receipt states what was removed, but not whose data it was: it contains a salted hash of the id.
A party that knows the id can prove that the receipt concerns it, and that no data of it is stored.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from domain.identity.audit import Actor
from domain.ids import ErasureId, OrganizationId, ProjectId
from domain.tracing.trace import Trace

SALT_BYTES: Final = 16
# Ids may be as guessable as an e-mail address, so the hash is slow: each guess takes 4 MiB and
# about 15 ms, and so does each erasure or check.
_COST: Final[Mapping[str, int]] = {"n": 2**12, "r": 8, "p": 1, "dklen": 32}


class DataSubjectKind(StrEnum):
    USER = "user"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class DataSubject:
    """The user or the session whose traces are meant."""

    kind: DataSubjectKind
    id: str

    def digest(self, salt: bytes) -> bytes:
        """32 bytes, by scrypt (RFC 7914). Deliberately slow."""
        text = f"{self.kind}:{self.id}".encode()
        return hashlib.scrypt(text, salt=salt, **_COST)


def data_subjects_of(trace: Trace) -> set[DataSubject]:
    """The user and the session of a trace."""
    named = {DataSubjectKind.USER: trace.user_id, DataSubjectKind.SESSION: trace.session_id}
    return {DataSubject(kind, id_) for kind, id_ in named.items() if id_ is not None}


class ErasureState(StrEnum):
    REMOVING = "REMOVING"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """Removes all data of a data subject.

        REMOVING ──▶ REMOVED, once nothing is left; final

    `rows` counts the removed rows by table.
    """

    id: ErasureId
    organization_id: OrganizationId
    project_id: ProjectId
    kind: DataSubjectKind
    salt: bytes
    digest: bytes
    state: ErasureState = ErasureState.REMOVING
    requested_at: datetime
    requested_by: Actor
    removed_at: datetime | None = None
    rows: Mapping[str, int] = field(default_factory=dict)

    def is_of(self, kind: DataSubjectKind, digest: bytes) -> bool:
        """Whether it concerns the data subject of this kind with this digest."""
        return kind is self.kind and hmac.compare_digest(digest, self.digest)

    def with_rows(self, more: Mapping[str, int]) -> Self:
        sums = {one: self.rows.get(one, 0) + more.get(one, 0) for one in {*self.rows, *more}}
        return replace(self, rows={one: count for one, count in sorted(sums.items()) if count})

    def finished(self, at: datetime) -> Self:
        return replace(self, state=ErasureState.REMOVED, removed_at=at)

    def receipt(self) -> dict[str, Any]:
        """The receipt as JSON values: instants in ISO 8601, bytes in lower-case hex."""
        actor, removed_at = self.requested_by, self.removed_at
        return {
            "id": str(self.id),
            "project_id": str(self.project_id),
            "kind": str(self.kind),
            "salt": self.salt.hex(),
            "owner_hash": self.digest.hex(),
            "state": str(self.state),
            "requested_at": self.requested_at.isoformat(),
            "requested_by": {
                "user_id": None if actor.user_id is None else str(actor.user_id),
                "api_key_id": None if actor.key_id is None else str(actor.key_id),
                "name": actor.name,
            },
            "removed_at": None if removed_at is None else removed_at.isoformat(),
            "rows": dict(self.rows),
        }

    @property
    def sha256(self) -> str | None:
        """The hash of the receipt as JSON: keys sorted, no spaces, UTF-8; None while REMOVING."""
        if self.state is not ErasureState.REMOVED:
            return None
        text = json.dumps(self.receipt(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RemainingData:
    """The rows still stored for a data subject, and its traces that arrived after the erasure."""

    rows: Mapping[str, int]
    traces_since: int

    @property
    def is_nothing(self) -> bool:
        return not any(self.rows.values())
