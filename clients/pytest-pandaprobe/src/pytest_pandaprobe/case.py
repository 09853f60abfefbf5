"""What a marked test gets: one item of the dataset, once for each repetition."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(slots=True)
class Case:
    """An item and a repetition, from 1. `experiment` is its id, or None offline."""

    item: str
    input: Any
    expected: Any
    repetition: int
    experiment: str | None
    trace_id: str | None = field(default=None, init=False)

    def result(self, trace_id: str | UUID) -> None:
        """Names the trace of the answer. Of several calls the last counts.

        Raises ValueError unless it is a UUID or the 32 hexadecimal digits of OpenTelemetry.
        """
        self.trace_id = str(UUID(str(trace_id)))

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata by which a trace names this case itself. Offline it is empty."""
        if self.experiment is None:
            return {}
        return {
            "experiment.id": self.experiment,
            "experiment.item": self.item,
            "experiment.repetition": self.repetition,
        }
