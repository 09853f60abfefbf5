"""The schedule of a monitor: a fixed interval, or five cron fields in UTC.

The fields are minute, hour, day of month, month and day of week. Each is `*`, a number, a range
`a-b`, a step `*/n` or `a-b/n`, or a list of these. Months and days of the week also have English
names, and 7 is Sunday like 0. As in Debian's cron, a day field that begins with `*` doesn't
restrict; if both day fields restrict, a day matches if either does.
"""

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final

from domain.errors import Invalid

CADENCE_MAX: Final = 50  # characters
RUN_GAP_MIN: Final = timedelta(minutes=5)  # between two runs, since a run takes some time

_DAY: Final = timedelta(days=1)
_LEAP_YEAR: Final = 2000
_MINUTES_OF_DAY: Final = 24 * 60
_CRON: Final = "cron:"
# These include every kind of year and every kind of transition between years.
_CHECKED_YEARS: Final = range(1972, 2001)
_ITEM: Final = re.compile(
    r"(\*|[0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?(?:/([1-9][0-9]{0,2}))?"
)
_MONTHS: Final = ("jan feb mar apr may jun jul aug sep oct nov dec").split()  # noqa: SIM905 - a list of words reads better as one text
_WEEKDAYS: Final = ("sun mon tue wed thu fri sat").split()  # noqa: SIM905 - as above


@dataclass(frozen=True, slots=True)
class IntervalSchedule:
    """A fixed interval after a given instant; not aligned to the clock."""

    length: timedelta

    def next_after(self, instant: datetime) -> datetime:
        """The first slot strictly after an instant, both in UTC."""
        return instant + self.length

    def next_in_series(self, due: datetime, now: datetime) -> datetime:
        """The first slot after `now` in the series that contains the slot `due`.

        So a late run doesn't shift later slots, and missed slots count as one.
        """
        missed = max((now - due) // self.length, 0)
        return due + (missed + 1) * self.length


INTERVALS: Final[Mapping[str, IntervalSchedule]] = {
    "every_6h": IntervalSchedule(timedelta(hours=6)),
    "daily": IntervalSchedule(timedelta(days=1)),
    "weekly": IntervalSchedule(timedelta(days=7)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CronSchedule:
    """Minutes of the day, ascending, on each matching day. Sunday is 0.

    With `is_either`, a matching day of the month or of the week suffices; otherwise both must
    match.
    """

    minutes: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either: bool

    def matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        day_matches, weekday_matches = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (
            (day_matches or weekday_matches)
            if self.is_either
            else (day_matches and weekday_matches)
        )

    def next_after(self, instant: datetime) -> datetime:
        """As in `IntervalSchedule`. Raises OverflowError beyond the year 9999."""
        here = instant.astimezone(UTC)
        minute = here.hour * 60 + here.minute
        if self.matches(here.date()):
            for later in self.minutes:
                if later > minute:
                    return _at(here.date(), later)
        day = here.date() + _DAY
        while not self.matches(day):
            # Months that don't match are skipped whole, since leap days are years apart.
            day = day + _DAY if day.month in self.months else _first_of_next_month(day)
        return _at(day, self.minutes[0])

    def next_in_series(self, due: datetime, now: datetime) -> datetime:
        return self.next_after(max(due, now))

    @property
    def can_match(self) -> bool:
        """Whether any day matches. Every date falls on every day of the week at some time."""
        if self.is_either:
            return True
        longest = [monthrange(_LEAP_YEAR, month)[1] for month in self.months]
        return min(self.days) <= max(longest)

    @property
    def shortest_gap(self) -> timedelta:
        """The least time between two slots."""
        gaps = [later - earlier for earlier, later in pairwise(self.minutes)]
        overnight = self.minutes[0] + _MINUTES_OF_DAY - self.minutes[-1]
        # Adjacent days are only checked if their slots would be too close.
        if timedelta(minutes=overnight) >= RUN_GAP_MIN or self._has_neighbours():
            gaps.append(overnight)
        return timedelta(minutes=min(gaps, default=_MINUTES_OF_DAY))

    def _has_neighbours(self) -> bool:
        return any(self.matches(one) and self.matches(one + _DAY) for one in _checked_days())


type Schedule = IntervalSchedule | CronSchedule


def parse_schedule(text: str) -> Schedule:
    """Raises Invalid, naming `cadence`, if it is invalid, never comes, or comes too often."""
    if len(text) > CADENCE_MAX:
        raise Invalid.field("cadence", f"must have at most {CADENCE_MAX} characters")
    if (period := INTERVALS.get(text)) is not None:
        return period
    if not text.startswith(_CRON):
        known = ", ".join(INTERVALS)
        raise Invalid.semantic("cadence", f"must be one of {known}, or {_CRON} and five fields")
    cron = _cron(text.removeprefix(_CRON).strip(" ").split(" "))
    if not cron.can_match:
        raise Invalid.semantic("cadence", "names a date that never comes")
    if cron.shortest_gap < RUN_GAP_MIN:
        least = int(RUN_GAP_MIN.total_seconds() // 60)
        raise Invalid.semantic("cadence", f"must leave at least {least} minutes between two runs")
    return cron


def upcoming_slots(schedule: Schedule, now: datetime, count: int) -> list[datetime]:
    """The next `count` slots after `now`, for a monitor that is created now."""
    slots, last = list[datetime](), now
    for _ in range(count):
        last = schedule.next_after(last)
        slots.append(last)
    return slots


def normalize_cadence(text: str) -> str:
    """The text that is stored and shown: as sent, without blanks after `cron:`."""
    if not text.startswith(_CRON):
        return text
    return _CRON + text.removeprefix(_CRON).lstrip(" ")


def _cron(fields: Sequence[str]) -> CronSchedule:
    fields = [one for one in fields if one]
    if len(fields) != len(_NAMES):
        raise Invalid.semantic("cadence", f"must have five fields after {_CRON}, not {len(fields)}")
    minutes, hours, days, months, weekdays = (
        _values(text, *known) for text, known in zip(fields, _NAMES, strict=True)
    )
    return CronSchedule(
        minutes=tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes)),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        is_either=not (fields[2].startswith("*") or fields[4].startswith("*")),
    )


_NAMES: Final[Sequence[tuple[str, int, int, Sequence[str]]]] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("", *_MONTHS)),
    ("day of week", 0, 7, _WEEKDAYS),
)


def _values(text: str, field: str, least: int, most: int, names: Sequence[str]) -> frozenset[int]:
    return frozenset(
        value
        for item in text.lower().split(",")
        for value in _items(item, field, least, most, names)
    )


def _items(item: str, field: str, least: int, most: int, names: Sequence[str]) -> range:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise _wrong(field, item)
    first, last, step = found.groups()
    if first == "*":
        if last is not None:
            raise _wrong(field, item)
        # 7 is another name of Sunday, which `*` includes as 0.
        low, high = least, 6 if names is _WEEKDAYS else most
    else:
        low = _number(first, field, names)
        if step is not None and last is None:
            raise _wrong(field, item)  # implementations disagree on a step of one number
        high = low if last is None else _number(last, field, names)
    if not least <= low <= high <= most:
        raise _wrong(field, item)
    return range(low, high + 1, int(step or 1))


def _number(text: str, field: str, names: Sequence[str]) -> int:
    if text.isdigit():
        return int(text)
    if text not in names:
        raise _wrong(field, text)
    return names.index(text)


def _wrong(field: str, item: str) -> Invalid:
    return Invalid.semantic("cadence", f"{item[:20]!r} is not a valid {field}")


def _at(day: date, minute: int) -> datetime:
    return datetime.combine(day, time(minute // 60, minute % 60), UTC)


def _first_of_next_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _checked_days() -> Iterator[date]:
    day = date(_CHECKED_YEARS.start, 1, 1)
    while day.year < _CHECKED_YEARS.stop:
        yield day
        day += _DAY
