"""Which traces may be evaluated, by their state as OpenTelemetry traces."""

from datetime import datetime, timedelta

from adapters.memory.store import MemoryStore
from domain.evaluation.runs.selection import Eligibility
from domain.ids import ProjectId
from domain.tracing.trace import Trace


def traces_with_content(
    store: MemoryStore, project: ProjectId, eligibility: Eligibility
) -> list[Trace]:
    """The visible traces; those that only create agents if they are included."""
    found = store.visible_traces(project)
    if eligibility.includes_setup:
        return found
    setup = {key[1] for key, one in store.otlp.live() if key[0] == project and one.state.is_setup}
    return [one for one in found if one.id not in setup]


def settled_from(
    store: MemoryStore, project: ProjectId, trace: Trace, quiet: timedelta
) -> datetime | None:
    """Since when a trace is over; None for one that is open."""
    written_at = store.traces.written_at[project, trace.id]
    otlp = store.otlp.find(project, trace.id)
    return written_at if otlp is None else otlp.state.settled_from(written_at, quiet)


def unsettled_traces(
    store: MemoryStore, project: ProjectId, at: datetime, quiet: timedelta
) -> list[Trace]:
    """The visible traces that aren't over at an instant."""
    return [
        one
        for one in store.visible_traces(project)
        if (since := settled_from(store, project, one, quiet)) is None or since > at
    ]
