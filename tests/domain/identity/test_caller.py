"""The scopes of a caller."""

from itertools import chain, combinations

import pytest

from domain.errors import Forbidden
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import OrganizationId
from tests.support.builders.values import OURS

SETS = [frozenset(some) for some in chain(*(combinations(Scope, n) for n in range(4)))]


def caller(scopes: frozenset[Scope]) -> Caller:
    return Caller(organization_id=OrganizationId(OURS), project_id=OURS, scopes=scopes)


@pytest.mark.parametrize("needed", SETS)
@pytest.mark.parametrize("scopes", SETS)
def test_caller_needs_every_required_scope(scopes, needed):
    lacking = needed - scopes
    if not lacking:
        assert caller(scopes).require(*needed) is None
        return
    with pytest.raises(Forbidden) as refused:
        caller(scopes).require(*needed)
    assert any(f"'{scope}'" in refused.value.message for scope in lacking)
