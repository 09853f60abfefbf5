"""The use cases of retention and erasure: a part of `application.use_cases`."""

from dataclasses import dataclass
from typing import Self

from application.identity.ports import Directory
from application.ports import Clock, NewId, RandomBytes
from application.privacy.erasures import (
    CheckErasure,
    EraseDataSubject,
    FinishErasures,
    ListErasures,
    ReadErasure,
)
from application.privacy.ports import Erasures, ExpiredTraces
from application.privacy.retention import DeleteExpiredTraces


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyPorts:
    """Every port of privacy, filled."""

    expired: ExpiredTraces
    erasures: Erasures


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyUseCases:
    """The use cases of privacy."""

    delete_expired_traces: DeleteExpiredTraces
    erase_data_subject: EraseDataSubject
    finish_erasures: FinishErasures
    read_erasure: ReadErasure
    list_erasures: ListErasures
    check_erasure: CheckErasure

    @classmethod
    def over(
        cls,
        ports: PrivacyPorts,
        directory: Directory,
        clock: Clock,
        new_id: NewId,
        random: RandomBytes,
    ) -> Self:
        erasures = ports.erasures
        return cls(
            delete_expired_traces=DeleteExpiredTraces(ports.expired, clock),
            erase_data_subject=EraseDataSubject(erasures, directory, clock, new_id, random),
            finish_erasures=FinishErasures(erasures, clock, new_id),
            read_erasure=ReadErasure(erasures),
            list_erasures=ListErasures(erasures),
            check_erasure=CheckErasure(erasures),
        )
