"""The use cases of privacy, and the ports that they need: a part of `application.use_cases`."""

from dataclasses import dataclass

from application.ports import Clock, NewId, RandomBytes
from application.privacy import erasures, retention
from application.privacy.ports import Erasures, ExpiredTraces


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyPorts:
    """Every port of privacy, filled."""

    expired: ExpiredTraces
    erasures: Erasures


class PrivacyUseCases:
    """Retention and erasure."""

    def __init__(
        self, ports: PrivacyPorts, clock: Clock, new_id: NewId, random: RandomBytes
    ) -> None:
        self.erasures = ports.erasures
        self.delete_expired_traces = retention.DeleteExpiredTraces(ports.expired)
        self.delete_orphaned_scores = retention.DeleteOrphanedSessionScores(ports.expired)
        self.erase_data_subject = erasures.EraseDataSubject(ports.erasures, clock, new_id, random)
        self.finish_erasures = erasures.FinishErasures(ports.erasures, clock, new_id)
        self.check_erasure = erasures.CheckErasure(ports.erasures)
