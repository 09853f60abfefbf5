"""Callers of the management plane, as endpoints see them."""

from dataclasses import dataclass

from domain.identity.audit import Origin
from domain.identity.browser_session import SignedIn
from domain.identity.caller import Person
from domain.identity.organization import Membership
from domain.ids import OrganizationId


@dataclass(frozen=True, slots=True)
class BrowserCaller:
    """A browser, and its session if it is signed in."""

    origin: Origin
    signed_in: SignedIn | None


@dataclass(frozen=True, slots=True)
class OrganizationCaller:
    """A person, as a member of the organization in the path."""

    person: Person
    membership: Membership

    @property
    def organization(self) -> OrganizationId:
        return self.membership.organization_id
