"""The rights of each role: the table of the contract, repeated independently."""

from itertools import product

import pytest

from domain.errors import Forbidden
from domain.identity.organization import RIGHTS, TO_INVITE, TO_REMOVE, Action, Role, check_right
from tests.support.problems import for_each

OWNER, ADMIN, MEMBER = Role.OWNER, Role.ADMIN, Role.MEMBER
TABLE = {
    # read organization, members, invitations, projects, keys, usage; create an API key; issue a
    # CLI code; leave
    Action.READ: {OWNER, ADMIN, MEMBER},
    Action.CREATE_KEY: {OWNER, ADMIN, MEMBER},
    Action.ISSUE_LOGIN_CODE: {OWNER, ADMIN, MEMBER},
    Action.LEAVE: {OWNER, ADMIN, MEMBER},
    # rename organization; create, update project; rotate, revoke, delete key; revoke invitation;
    # invite as MEMBER; remove another MEMBER
    Action.RENAME: {OWNER, ADMIN},
    Action.CREATE_PROJECT: {OWNER, ADMIN},
    Action.CHANGE_PROJECT: {OWNER, ADMIN},
    Action.CHANGE_KEY: {OWNER, ADMIN},
    Action.REVOKE_INVITATION: {OWNER, ADMIN},
    Action.INVITE_MEMBER: {OWNER, ADMIN},
    Action.REMOVE_MEMBER: {OWNER, ADMIN},
    # invite as ADMIN; change another member's role; remove an ADMIN or another OWNER; delete
    # project; delete organization
    Action.INVITE_ADMIN: {OWNER},
    Action.CHANGE_ROLE: {OWNER},
    Action.REMOVE_ADMIN: {OWNER},
    Action.REMOVE_OWNER: {OWNER},
    Action.DELETE_PROJECT: {OWNER},
    Action.DELETE: {OWNER},
    # invite as OWNER
    Action.INVITE_OWNER: set(),
    # additional actions of this service
    Action.CHANGE_BUDGET: {OWNER, ADMIN},
    Action.READ_AUDIT_LOG: {OWNER, ADMIN},
    Action.CHANGE_RETENTION: {OWNER, ADMIN},
    Action.CHANGE_PRICES: {OWNER, ADMIN},
    Action.CHANGE_SHARING: {OWNER, ADMIN},
    Action.SHARE_TRACE: {OWNER, ADMIN, MEMBER},
}


def test_table_of_rights_is_complete():
    assert set(TABLE) == set(Action)
    assert set(RIGHTS) == set(Role)


@for_each(product(Role, Action))
def test_role_has_exactly_the_rights_of_the_table(role, action):
    if role in TABLE[action]:
        assert check_right(role, action) is None
        return
    with pytest.raises(Forbidden) as refused:
        check_right(role, action)
    assert action in refused.value.message
    for one in Role:
        assert (one in refused.value.message.removesuffix(action)) == (one in TABLE[action])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (Action.RENAME, "Only OWNER or ADMIN may rename this organization"),
        (Action.DELETE, "Only OWNER may delete this organization"),
        (Action.INVITE_OWNER, "No role may invite an OWNER"),
    ],
)
def test_error_names_the_permitted_roles(action, message):
    with pytest.raises(Forbidden) as refused:
        check_right(Role.MEMBER, action)
    assert refused.value.message == message


def test_invite_and_remove_actions_depend_on_the_role():
    invite = {MEMBER: Action.INVITE_MEMBER, ADMIN: Action.INVITE_ADMIN, OWNER: Action.INVITE_OWNER}
    remove = {MEMBER: Action.REMOVE_MEMBER, ADMIN: Action.REMOVE_ADMIN, OWNER: Action.REMOVE_OWNER}
    assert invite == TO_INVITE
    assert remove == TO_REMOVE


def test_higher_roles_include_the_rights_of_lower_ones():
    assert RIGHTS[MEMBER] < RIGHTS[ADMIN] < RIGHTS[OWNER]
