"""The ports of keeping and erasing, and their use cases over them: a part of `use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.ports import Clock
from application.tracing.keeping import Expired, RemoveExpired


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingPorts:
    """Every port of keeping, filled."""

    expired: Expired


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingUseCases:
    """Every use case of keeping, ready to call."""

    remove_expired: RemoveExpired

    @classmethod
    def over(cls, ports: KeepingPorts, clock: Clock) -> Self:
        return cls(remove_expired=RemoveExpired(ports.expired, clock))
