"""What breaks while nobody waits for an answer, told to the log."""

import logging
from typing import Final

from domain.errors import Failure
from domain.evaluation.monitor import Monitor
from domain.ids import ScoreId

_log: Final = logging.getLogger(__name__)


def tell_fault(score: ScoreId, fault: Exception) -> None:
    _log.error("a score failed, by a fault of ours", exc_info=fault, extra={"score_id": str(score)})


def tell_monitor_fault(monitor: Monitor, fault: Exception) -> None:
    named = {"project_id": str(monitor.project_id), "monitor_id": str(monitor.id)}
    if isinstance(fault, Failure):
        _log.warning("a monitor fires later: %s", fault.message, extra=named)
    else:
        _log.error("a monitor fires later, by a fault of ours", exc_info=fault, extra=named)
