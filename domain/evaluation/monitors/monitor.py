"""Monitors: scheduled evaluation runs over new traces or sessions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.evaluation.monitors.schedule import parse_schedule
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import (
    SAMPLING_RATE_DEFAULT,
    Eligibility,
    Sample,
    SessionSelection,
    TraceSelection,
)
from domain.ids import MonitorId, ProjectId, RunId
from domain.tracing.change import UNCHANGED, Unchanged, given_fields

NAME_MAX: Final = 255
RUN_PREFIX: Final = "[Monitor] "
SETTLE_DELAY: Final = timedelta(seconds=5)  # transactions that began earlier may commit later
TARGETS_MIN: Final = 1  # of a run, whatever the sampling rate

type Selection = TraceSelection | SessionSelection


class MonitorStatus(StrEnum):
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True, order=True)
class Watermark:
    """How far a monitor has read: the write time of the last trace, then its id."""

    written_at: datetime
    trace: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorChange:
    """The changes of a PATCH; UNCHANGED leaves a field as it is, None clears it where possible.

    `signal_weights` is the full new mapping, {} for none. `cadence` has been validated.
    """

    name: str | Unchanged = UNCHANGED
    metrics: tuple[str, ...] | Unchanged = UNCHANGED
    selection: Selection | Unchanged = UNCHANGED
    sampling_rate: float | Unchanged = UNCHANGED
    model: str | Unchanged | None = UNCHANGED
    cadence: str | Unchanged = UNCHANGED
    only_if_changed: bool | Unchanged = UNCHANGED
    settled_only: bool | Unchanged = UNCHANGED
    signal_weights: Mapping[str, float] | Unchanged = UNCHANGED
    votes: int | Unchanged = UNCHANGED
    max_cost_usd: Decimal | Unchanged | None = UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """Runs `metrics` on its schedule over what `selection` matches.

        ACTIVE ──paused──▶ PAUSED ──resumed──▶ ACTIVE

    `next_run_at` is None while it is PAUSED, unless it was triggered. `model` is as it was given;
    each run resolves it. `votes` and `max_cost_usd` apply to each run. `empty_slots` is the number
    of slots in a row that had no targets: without a run, nothing else shows it.
    `watermark` is how far it has read, None before its first run.
    """

    id: MonitorId
    project_id: ProjectId
    name: str
    target_type: TargetType
    metrics: tuple[str, ...]
    selection: Selection
    signal_weights: Mapping[str, float] = field(default_factory=dict)
    sampling_rate: float = SAMPLING_RATE_DEFAULT
    model: str | None = None
    votes: int = 1
    max_cost_usd: Decimal | None = None
    cadence: str
    only_if_changed: bool = True
    settled_only: bool = True
    status: MonitorStatus = MonitorStatus.ACTIVE
    last_run_at: datetime | None = None
    last_run_id: RunId | None = None
    next_run_at: datetime | None
    empty_slots: int = 0
    watermark: Watermark | None = None
    created_at: datetime
    updated_at: datetime

    def __post_init__(self) -> None:
        selects_traces = isinstance(self.selection, TraceSelection)
        if selects_traces is not (self.target_type is TargetType.TRACE):
            raise ValueError(f"a monitor of {self.target_type} with {type(self.selection)}")
        if self.status is MonitorStatus.ACTIVE and self.next_run_at is None:
            raise ValueError("an active monitor that is never due")

    @property
    def eligibility(self) -> Eligibility:
        """Traces that only create agents have nothing to be judged, and would be in every run."""
        return Eligibility(settled_only=self.settled_only, includes_setup=False)

    @property
    def sample(self) -> Sample:
        """How a run samples the targets that match."""
        return Sample(self.sampling_rate, str(self.id), least=TARGETS_MIN)

    @property
    def run_name(self) -> str:
        return f"{RUN_PREFIX}{self.name}"[:NAME_MAX]

    def is_due(self, now: datetime) -> bool:
        return (
            self.status is MonitorStatus.ACTIVE
            and self.next_run_at is not None
            and self.next_run_at <= now
        )

    def skipped_slot(self, slot: datetime, now: datetime) -> bool:
        """Whether the monitor used a slot without a run, for lack of targets.

        False also if it was edited since: then the slot may have been replaced before it was used.
        """
        is_used = self.next_run_at is not None and slot < self.next_run_at and slot <= now
        has_run = self.last_run_at is not None and self.last_run_at >= slot
        is_edited = self.updated_at > slot
        return self.status is MonitorStatus.ACTIVE and is_used and not (has_run or is_edited)

    def changed(self, change: MonitorChange, now: datetime) -> Self:
        """Unchanged if the change is empty. A new schedule counts from now, paused or not."""
        given = given_fields(change)
        if not given:
            return self
        if "cadence" in given:
            given["next_run_at"] = parse_schedule(given["cadence"]).next_after(now)
        if "selection" in given:
            given["empty_slots"] = 0
        return replace(self, **given, updated_at=now)

    def paused(self, now: datetime) -> Self:
        if self.status is MonitorStatus.PAUSED:
            return self
        return replace(self, status=MonitorStatus.PAUSED, next_run_at=None, updated_at=now)

    def resumed(self, now: datetime) -> Self:
        if self.status is MonitorStatus.ACTIVE:
            return self
        due = parse_schedule(self.cadence).next_after(now)
        return replace(self, status=MonitorStatus.ACTIVE, next_run_at=due, updated_at=now)

    def fired(self, now: datetime, run: RunId | None, watermark: Watermark | None) -> Self:
        """The monitor after a due slot, with the run created, or None for lack of targets.

        `watermark` is how far it read; None keeps the old one.
        """
        assert self.next_run_at is not None
        slot = parse_schedule(self.cadence).next_in_series(self.next_run_at, now)
        return self._ran(now, run, watermark, slot)

    def triggered(self, now: datetime, run: RunId, watermark: Watermark | None) -> Self:
        """The monitor after a manual run. The next slot counts from now, paused or not."""
        return self._ran(now, run, watermark, parse_schedule(self.cadence).next_after(now))

    def _ran(
        self, now: datetime, run: RunId | None, watermark: Watermark | None, slot: datetime
    ) -> Self:
        known = self.watermark
        further = watermark if known is None or (watermark and watermark > known) else known
        return replace(
            self,
            last_run_at=now if run else self.last_run_at,
            last_run_id=run or self.last_run_id,
            next_run_at=slot,
            empty_slots=0 if run else self.empty_slots + 1,
            watermark=further,
        )
