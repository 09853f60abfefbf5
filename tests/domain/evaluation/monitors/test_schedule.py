"""Schedules, compared with an implementation that follows Debian's cron."""

from datetime import UTC, datetime, timedelta

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.monitors.schedule import (
    CADENCE_MAX,
    RUN_GAP_MIN,
    CronSchedule,
    Schedule,
    normalize_cadence,
    parse_schedule,
)

INSTANTS = st.datetimes(
    min_value=datetime(1999, 1, 1), max_value=datetime(2110, 1, 1), timezones=st.just(UTC)
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@st.composite
def ranges(draw, least: int, most: int, names: tuple[str, ...] = ()) -> str:
    low = draw(st.integers(least, most))
    high = draw(st.integers(low, most))

    def shown(number: int) -> str:
        name = names[number - least] if names else str(number)
        return draw(st.sampled_from([str(number), name, name.upper()]))

    one = draw(st.sampled_from([shown(low), f"{shown(low)}-{shown(high)}", "*"]))
    # The other implementation treats a range of one number as an open range.
    if ("-" in one and low < high) or one == "*":
        one += draw(st.sampled_from(["", "", f"/{draw(st.integers(1, most + 3))}"]))
    return one


def field(least: int, most: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    return st.lists(ranges(least, most, names), min_size=1, max_size=2).map(",".join)


MONTHS = tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())
WEEKDAYS = tuple("sun mon tue wed thu fri sat".split())
FIELDS = st.tuples(
    st.integers(0, 59).map(str),
    st.one_of(st.just("*"), field(0, 23)),
    st.one_of(st.just("*"), field(1, 31)),
    st.one_of(st.just("*"), field(1, 12, MONTHS)),
    st.one_of(st.just("*"), field(0, 6, WEEKDAYS)),
).map(" ".join)


def accepted(fields: str) -> Schedule | None:
    try:
        return parse_schedule(f"cron:{fields}")
    except Invalid:
        return None


@given(FIELDS.filter(lambda text: len(text) <= CADENCE_MAX - len("cron:")), INSTANTS)
def test_slots_match_debian_cron(text, start):
    cadence = accepted(text)
    if cadence is None:
        # It refuses some of the days that never come, and looks for the others in vain.
        with pytest.raises((CronSimError, StopIteration)):
            next(CronSim(text, start))
        return
    slots = CronSim(text, start)
    for _ in range(3):
        due = cadence.next_after(start)
        assert due == next(slots)
        assert due > start
        start = due


@given(field(0, 59), field(0, 23), field(1, 31), INSTANTS)
def test_accepted_schedules_keep_the_minimum_gap(minute, hour, day, start):
    cadence = accepted(f"{minute} {hour} {day} * *")
    if cadence is None:
        return
    due = cadence.next_after(start)
    for _ in range(30):
        later = cadence.next_after(due)
        assert later - due >= RUN_GAP_MIN
        due = later


@pytest.mark.parametrize(
    ("cadence", "after", "due"),
    [
        ("every_6h", "2026-03-01T10:00:07", "2026-03-01T16:00:07"),
        ("daily", "2026-02-28T10:00:00", "2026-03-01T10:00:00"),
        ("weekly", "2024-02-26T10:00:00", "2024-03-04T10:00:00"),
        ("cron:0 6 * * 1", "2026-03-01T10:00:00", "2026-03-02T06:00:00"),
        ("cron:0 6 * * 1", "2026-03-02T06:00:00", "2026-03-09T06:00:00"),
        ("cron:0 6 * * 1", "2026-03-02T05:59:59.999999", "2026-03-02T06:00:00"),
        ("cron:0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("cron:0 0 29 feb *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        (
            "cron:30 2 * * *",
            "2026-03-29T01:00:00",
            "2026-03-29T02:30:00",
        ),  # UTC has no daylight saving time
        ("cron:0 12 13 * fri", "2026-01-01T00:00:00", "2026-01-02T12:00:00"),
        ("cron:0 12 13 * fri", "2026-01-09T12:00:00", "2026-01-13T12:00:00"),
        ("cron:59 23 31 12 *", "2026-12-31T23:59:00", "2027-12-31T23:59:00"),
        ("cron:*/5 * * * *", "2026-01-01T23:55:00", "2026-01-02T00:00:00"),
        ("cron:0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("cron:0 0 * * 5-7", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("cron:   0 9 * * MON-FRI ", "2026-01-02T09:00:00", "2026-01-05T09:00:00"),
    ],
)
def test_next_slot(cadence, after, due):
    assert parse_schedule(cadence).next_after(utc(after)) == utc(due)


@pytest.mark.parametrize(
    "text",
    [
        *("", "hourly", "Daily", "@daily", "cron:", "cron:@daily", "0 6 * * 1", "cron:0 6 * *"),
        *("cron:0 0 6 * * 1", "cron:0 6 L * *", "cron:0 6 * * 1L", "cron:0 6 * * 1#2"),
        *("cron:R 6 * * *", "cron:60 6 * * *", "cron:0 24 * * *", "cron:0 6 0 * *"),
        *("cron:0 6 32 * *", "cron:0 6 * 13 *", "cron:0 6 * 0 *", "cron:0 6 * * 8"),
        *("cron:0 6 * foo *", "cron:0 6 * * mond", "cron:jan 6 * * *", "cron:0 5-1 * * *"),
        *("cron:*/0 6 * * *", "cron:0 6/2 * * *", "cron:0 *-3 * * *", "cron:-1 6 * * *"),
        *("cron:0 6 * * sun-", "cron:0,,5 6 * * *", "cron:0 6 1, * *", "cron:\u0660 6 * * *"),
        *("cron:0 0 30 2 *", "cron:0 0 31 2,4,6,9,11 *", "cron:0 0 30-31 feb *"),
        *("cron:* * * * *", "cron:*/4 * * * *", "cron:0,3 6 * * *", "cron:58,2 * * * *"),
        *("cron:58,2 0,23 * * *", "cron:0-1 6 1 1 *", "cron:\t0 6 * * 1", "cron:0 6 * * 1\n"),
        "cron:" + ",".join(["0"] * 40) + " 6 * * 1",
    ],
)
def test_invalid_schedule_names_the_field(text):
    with pytest.raises(Invalid) as refused:
        parse_schedule(text)
    [error] = refused.value.errors
    assert error.field == "cadence"


@pytest.mark.parametrize(
    "text",
    [
        "cron:58 23 28 2 *",  # late on February 28, which is never adjacent to itself
        "cron:2 0,23 */2 * *",
        "cron:59,1 0-23/23 1 * *",
    ],
)
def test_gap_over_midnight_counts_only_for_adjacent_days(text):
    assert parse_schedule(text)


def test_adjacent_days_are_found_at_month_ends_in_leap_years():
    pair = CronSchedule(
        minutes=(0, 1_438),
        days=frozenset({29, 1}),
        months=frozenset({2, 3}),
        weekdays=frozenset(range(7)),
        is_either=False,
    )
    assert pair.shortest_gap == timedelta(minutes=2)


def test_cadence_is_shown_as_sent():
    assert normalize_cadence("cron:   0 9 *  * MON ") == "cron:0 9 *  * MON "
    assert normalize_cadence("daily") == "daily"


@given(st.sampled_from(["every_6h", "daily", "weekly", "cron:7 */6 * * *"]), INSTANTS, st.data())
def test_late_run_does_not_shift_later_slots(text, start, data):
    cadence = parse_schedule(text)
    due = cadence.next_after(start)
    late = data.draw(st.timedeltas(timedelta(0), timedelta(days=30)))
    found = cadence.next_in_series(due, due + late)
    slot = due
    while slot <= due + late:
        slot = cadence.next_after(slot)
    assert found == slot
