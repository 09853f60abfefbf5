"""Deletes old verdicts and ledger entries."""

from dataclasses import dataclass

from application.evaluation.ports.judging import JudgingPorts
from application.ports import Clock


@dataclass(frozen=True, slots=True)
class PruneJudgeRecords:
    """Deletes verdicts and ledger entries that have been kept for long enough."""

    ports: JudgingPorts
    clock: Clock

    async def __call__(self) -> int:
        """How many rows; what is left goes with the next calls. Raises Unavailable."""
        now, ports = self.clock(), self.ports
        verdicts = await ports.verdicts.delete_older(now - ports.verdict_retention)
        return verdicts + await ports.ledger.delete_older(now - ports.ledger_retention)
