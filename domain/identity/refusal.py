"""Refused requests: how many, by hour, address and credential."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

from domain.ids import OrganizationId

# A client can send any address and any number of requests: beyond this, the refusals of an hour are
# counted together, so that no client fills the table.
REFUSALS_PER_HOUR_MAX: Final = 100  # addresses and credentials of one organization
REFUSALS_RETENTION: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Refused requests of one hour that are counted together.

    `organization_id` is None if the credential led to none. `credential` is the id of the key, also
    of a revoked or expired one, or of the user. An unknown credential or address is ''; both are ''
    for those beyond REFUSALS_PER_HOUR_MAX.
    """

    organization_id: OrganizationId | None
    hour: datetime
    status: int
    address: str = ""
    credential: str = ""

    @classmethod
    def at(
        cls,
        instant: datetime,
        status: int,
        organization: OrganizationId | None,
        address: str | None,
        credential: object | None,
    ) -> Self:
        return cls(
            organization_id=organization,
            hour=instant.replace(minute=0, second=0, microsecond=0),
            status=status,
            address=address or "",
            credential="" if credential is None else str(credential),
        )

    @property
    def with_others(self) -> "Refusal":
        """The one in which those beyond the limit are counted."""
        return replace(self, address="", credential="")


@dataclass(frozen=True, slots=True)
class CountedRefusal:
    """How often such a request was refused."""

    refusal: Refusal
    count: int
