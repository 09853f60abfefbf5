"""The audit log, and the contents of a new organization."""

import uuid

import pytest

from domain.identity.audit import OPERATOR, UNKNOWN_ORIGIN, Actor, AuditAction, AuditEntry, Origin
from domain.identity.caller import Claims, Person, User
from domain.identity.organization import Membership, NewOrganization, Organization, Project, Role
from domain.ids import UserId
from tests.support.builders.values import NOON, at
from tests.support.problems import for_each

ACTIONS = {
    "organization": {"created", "renamed", "deleted", "limits_changed", "sharing_changed"},
    "member": {"role_changed", "removed", "left"},
    "invitation": {"created", "revoked", "accepted", "declined"},
    "project": {"created", "changed", "deleted", "retention_changed", "budget_changed"},
    "api_key": {"created", "rotated", "revoked", "deleted", "used"},
    "login_code": {"issued"},
    "browser_session": {"started", "ended"},
    "erasure": {"requested", "finished"},
    "trace": {"deleted", "batch_deleted", "imported"},
    "trace_link": {"created", "deleted"},
    "session": {"deleted"},
    "export": {"streamed", "requested", "link_created", "downloaded", "deleted"},
    "model_price": {"created", "deleted"},
    "repricing": {"started"},
    "monitor": {"created", "changed", "paused", "resumed", "deleted"},
    "alert": {"created", "changed", "deleted"},
    "webhook": {"created", "deleted"},
    "run": {"deleted"},
    "score": {"changed", "deleted"},
    "dataset": {"created", "changed", "deleted", "item_deleted", "exported"},
    "experiment": {"created", "closed", "deleted"},
}


def test_audit_actions():
    assert {str(one) for one in AuditAction} == {
        f"{resource}.{verb}" for resource, verbs in ACTIONS.items() for verb in verbs
    }


@for_each([*AuditAction])
def test_action_names_its_resource(action):
    assert action.resource in ACTIONS
    assert action.removeprefix(f"{action.resource}.") in ACTIONS[action.resource]


def test_actor_name_is_the_current_email():
    claims = Claims(issuer="i", subject="s", email="ada@example.com", display_name="Ada")
    user = User.from_claims(claims, UserId(uuid.uuid4()), NOON)
    origin = Origin("192.0.2.1", "Firefox")
    assert Person(user, origin=origin).actor == Actor(
        user_id=user.id, key_id=None, name="ada@example.com", origin=origin
    )
    assert Person(user).actor.origin == UNKNOWN_ORIGIN == Origin(None, None)


def test_operator_has_no_id():
    assert (OPERATOR.user_id, OPERATOR.key_id, OPERATOR.origin) == (None, None, UNKNOWN_ORIGIN)


def test_new_organization_has_owner_project_and_audit_entry():
    ids = [uuid.UUID(int=n) for n in range(10)]
    owner, taken = UserId(uuid.uuid4()), iter(ids)
    creation = NewOrganization.create("Ours", owner, OPERATOR, lambda: next(taken), at(5))
    organization = creation.organization.id
    assert creation.organization == Organization(id=organization, name="Ours", created_at=at(5))
    assert creation.owner == Membership(
        id=creation.owner.id,
        organization_id=organization,
        user_id=owner,
        role=Role.OWNER,
        created_at=at(5),
    )
    assert creation.project == Project(
        id=creation.project.id,
        organization_id=organization,
        name="onboarding",
        description="",
        created_at=at(5),
    )
    assert creation.entry == AuditEntry(
        id=creation.entry.id,
        organization_id=organization,
        at=at(5),
        actor=OPERATOR,
        action=AuditAction.ORGANIZATION_CREATED,
        resource_id=str(organization),
        detail={"name": "Ours"},
    )
    drawn = {organization, creation.owner.id, creation.project.id, creation.entry.id}
    assert len(drawn) == 4
    assert drawn <= set(ids)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("testclient", "testclient"),
        (None, ""),
    ],
)
def test_network_of_an_origin(address, network):
    assert Origin(address, "any").network == network
