"""Monitors: when they are due, and their changes."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.evaluation.monitors.monitor import Monitor, MonitorChange, MonitorStatus, Watermark
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import SessionSelection, TraceSelection
from domain.ids import MonitorId, ProjectId, RunId
from domain.tracing.change import UNCHANGED, given_fields

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = RunId(UUID(int=7))


def monitor(**more: object) -> Monitor:
    values = {
        "id": MonitorId(UUID(int=1)),
        "project_id": ProjectId(UUID(int=2)),
        "name": "nightly",
        "target_type": TargetType.TRACE,
        "metrics": ("task_completion",),
        "selection": TraceSelection(),
        "cadence": "every_6h",
        "next_run_at": NOON,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Monitor(**(values | more))


def hours(count: float) -> datetime:
    return NOON + timedelta(hours=count)


def test_late_run_keeps_the_series_and_missed_slots_count_as_one():
    assert monitor().fired(hours(0.5), RUN, None).next_run_at == hours(6)
    assert monitor().fired(hours(19), RUN, None).next_run_at == hours(24)


def test_fired_sets_the_last_run_only_with_targets():
    fired = monitor().fired(hours(0), RUN, None)
    assert (fired.last_run_at, fired.last_run_id, fired.updated_at) == (NOON, RUN, NOON)
    again = fired.fired(hours(6), None, None)
    assert (again.last_run_at, again.last_run_id) == (NOON, RUN)
    assert again.next_run_at == hours(12)


def test_slots_without_targets_are_counted_until_a_run_or_other_filters():
    empty = monitor().fired(hours(0), None, None).fired(hours(6), None, None)
    assert empty.empty_slots == 2
    assert empty.paused(hours(7)).resumed(hours(8)).empty_slots == 2
    assert empty.changed(MonitorChange(name="renamed"), hours(7)).empty_slots == 2
    other = MonitorChange(selection=TraceSelection(session_id="s"))
    assert empty.changed(other, hours(7)).empty_slots == 0
    assert empty.fired(hours(12), RUN, None).empty_slots == 0
    assert empty.triggered(hours(7), RUN, None).empty_slots == 0


def test_watermark_never_moves_back():
    early, late = Watermark(hours(1), UUID(int=5)), Watermark(hours(1), UUID(int=6))
    looked = monitor().fired(hours(2), RUN, late)
    assert looked.fired(hours(7), RUN, early).watermark == late
    assert looked.triggered(hours(7), RUN, None).watermark == late
    assert monitor().fired(hours(2), RUN, early).watermark == early


def test_triggered_monitor_counts_from_now_even_if_paused():
    paused = monitor().paused(hours(1))
    found = paused.triggered(hours(2), RUN, None)
    assert (found.status, found.next_run_at) == (MonitorStatus.PAUSED, hours(8))
    assert not found.is_due(hours(9))


def test_pausing_and_resuming_are_idempotent():
    paused = monitor().paused(hours(1))
    assert (paused.next_run_at, paused.updated_at) == (None, hours(1))
    assert paused.paused(hours(2)) is paused
    resumed = paused.resumed(hours(3))
    assert (resumed.next_run_at, resumed.status) == (hours(9), MonitorStatus.ACTIVE)
    assert resumed.resumed(hours(4)) is resumed


def test_monitor_is_due_from_its_slot_on():
    assert not monitor().is_due(hours(-0.01))
    assert monitor().is_due(NOON)
    assert not monitor().paused(NOON).is_due(hours(99))


def test_change_affects_only_given_fields():
    known = monitor(model="openai/gpt-5-mini", signal_weights={"confidence": 2.0})
    assert known.changed(MonitorChange(), hours(1)) is known
    found = known.changed(MonitorChange(model=None, name="weekly"), hours(1))
    assert (found.model, found.name, found.metrics) == (None, "weekly", known.metrics)
    assert (found.next_run_at, found.updated_at) == (NOON, hours(1))
    assert found.signal_weights == {"confidence": 2.0}
    assert given_fields(MonitorChange(model=None)) == {"model": None}
    assert MonitorChange().metrics is UNCHANGED


@pytest.mark.parametrize("is_paused", [False, True])
def test_new_cadence_counts_from_now(is_paused):
    known = monitor().paused(NOON) if is_paused else monitor()
    found = known.changed(MonitorChange(cadence="cron:0 6 * * 1"), hours(1))
    assert found.next_run_at == datetime(2026, 3, 2, 6, tzinfo=UTC)


def test_impossible_monitor_cannot_be_built():
    with pytest.raises(ValueError, match="never due"):
        monitor(next_run_at=None)
    with pytest.raises(ValueError, match="TRACE"):
        monitor(selection=SessionSelection())


def test_run_name_is_truncated():
    assert monitor().run_name == "[Monitor] nightly"
    assert len(monitor(name="x" * 255).run_name) == 255


# --- slots without a run ---------------------------------------------------------------------


def test_slot_is_skipped_once_it_is_used_without_a_run():
    used = monitor().fired(hours(1), None, None)
    assert used.skipped_slot(NOON, hours(1))
    assert not monitor().skipped_slot(NOON, hours(1)), "it is still due"
    assert not monitor().fired(hours(1), RUN, None).skipped_slot(NOON, hours(1))


@pytest.mark.parametrize(
    "edit",
    [
        lambda one: one.changed(MonitorChange(cadence="daily"), hours(1)),
        lambda one: one.paused(hours(1)).resumed(hours(1)),
    ],
    ids=["another cadence", "paused and resumed"],
)
def test_slot_that_an_edit_replaced_before_it_was_used_is_not_skipped(edit):
    assert not edit(monitor()).skipped_slot(NOON, hours(2))
