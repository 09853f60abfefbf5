"""Callers of the control plane, as endpoints of one organization see them."""

from dataclasses import dataclass

from domain.identity.caller import Person
from domain.identity.organization import Membership
from domain.ids import OrganizationId


@dataclass(frozen=True, slots=True)
class OrganizationCaller:
    """A person, as a member of the organization in the path."""

    person: Person
    membership: Membership

    @property
    def organization(self) -> OrganizationId:
        return self.membership.organization_id
