"""Erasures and their receipts."""

import hashlib
import json
import uuid
from dataclasses import replace

from domain.identity.audit import Actor
from domain.ids import ApiKeyId, ErasureId, OrganizationId, ProjectId
from domain.privacy.erasure import (
    DataSubject,
    DataSubjectKind,
    Erasure,
    ErasureState,
    RemainingData,
)
from tests.support.builders.values import at

GRACE = DataSubject(DataSubjectKind.USER, "grace@example.com")
SALT = bytes(range(16))


def an_erasure(**overrides) -> Erasure:
    fields = {
        "id": ErasureId(uuid.UUID(int=1)),
        "organization_id": OrganizationId(uuid.UUID(int=2)),
        "project_id": ProjectId(uuid.UUID(int=3)),
        "kind": GRACE.kind,
        "salt": SALT,
        "digest": GRACE.digest(SALT),
        "requested_at": at(0),
        "requested_by": Actor(key_id=ApiKeyId(uuid.UUID(int=4)), name="pp_9a1b04e"),
    }
    return Erasure(**fields | overrides)


def test_digest_is_scrypt_of_kind_and_id():
    expected = hashlib.scrypt(b"user:grace@example.com", salt=SALT, n=4_096, r=8, p=1, dklen=32)
    assert GRACE.digest(SALT) == expected


def test_erasure_matches_only_its_data_subject():
    erasure = an_erasure()
    assert erasure.is_of(GRACE.kind, GRACE.digest(SALT))
    for other in (
        DataSubject(DataSubjectKind.SESSION, GRACE.id),
        DataSubject(DataSubjectKind.USER, "grace@example.org"),
    ):
        assert not erasure.is_of(other.kind, other.digest(SALT))
    assert not erasure.is_of(DataSubjectKind.SESSION, GRACE.digest(SALT))
    assert not erasure.is_of(GRACE.kind, GRACE.digest(b"another salt"))


def test_rows_are_summed_and_empty_tables_omitted():
    erasure = an_erasure().with_rows({"traces": 2, "spans": 5, "trace_scores": 0})
    erasure = erasure.with_rows({"spans": 1, "session_scores": 3})
    assert erasure.rows == {"session_scores": 3, "spans": 6, "traces": 2}
    assert list(erasure.rows) == sorted(erasure.rows)


def test_receipt_has_a_hash_once_final():
    erasure = an_erasure().with_rows({"traces": 2})
    assert erasure.sha256 is None
    over = erasure.finished(at(1.5))
    assert (over.state, over.removed_at) == (ErasureState.REMOVED, at(1.5))
    text = json.dumps(over.receipt(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert over.sha256 == hashlib.sha256(text.encode()).hexdigest()
    for other in (
        replace(over, removed_at=at(2)),
        replace(over, rows={"traces": 3}),
        replace(over, salt=b"x"),
        replace(over, requested_by=Actor(name="pp_9a1b04e")),
    ):
        assert other.sha256 != over.sha256


def test_receipt_does_not_contain_the_id():
    receipt = json.dumps(an_erasure().finished(at(1)).receipt())
    assert GRACE.id not in receipt


def test_remaining_data_ignores_later_traces():
    assert RemainingData({}, 3).is_nothing
    assert RemainingData({"traces": 0}, 0).is_nothing
    assert not RemainingData({"spans": 1}, 0).is_nothing
