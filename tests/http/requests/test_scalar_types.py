"""Scalar values in every accepted spelling."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec.inspect as mi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.http.requests.scalar_types import (
    InvalidValue,
    convert_scalar,
    parse_any_instant,
    parse_instant,
    parse_uuid,
)
from entrypoints.http.requests.wire_types import format_instant

NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2026-03-01T09:00:00Z", NINE),
        ("2026-03-01t09:00:00z", NINE),
        ("2026-03-01 10:30:00+01:30", NINE),
        ("2026-03-01T09:00:00-00:00", NINE),
        ("2026-03-01T09:00:00", NINE),
        ("2026-03-01", NINE.replace(hour=0)),
        ("2026-03-01T09:00:00.9999999Z", NINE.replace(microsecond=999_999)),
        ("2026-03-01T09:00:00.1Z", NINE.replace(microsecond=100_000)),
        (1772355600, NINE),
        (1772355600.5, NINE.replace(microsecond=500_000)),
        (1772355600.1234567, NINE.replace(microsecond=123_456)),
        ("1772355600.12345699999999999999999999999999", NINE.replace(microsecond=123_456)),
        (1772355600_000, NINE),
        ("1772355600000.9999", NINE.replace(microsecond=999)),
        ("1.7723556e9", NINE),
        (20_000_000_000, datetime(2603, 10, 11, 11, 33, 20, tzinfo=UTC)),
        (20_000_000_001, datetime(1970, 8, 20, 11, 33, 20, 1000, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (-0.0000009, datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026", datetime(1970, 1, 1, 0, 33, 46, tzinfo=UTC)),
    ],
)
def test_valid_instants_are_parsed(value: str | float, found: datetime) -> None:
    assert parse_instant(value) == found
    assert parse_instant(value).tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "now", "2026-03", "2026-3-1", "2026-W09-1", "2026-060", "2026-02-30"),
        *("2026-03-01T", "2026-03-01T09", "2026-03-01T09:00", "2026-03-01T0900Z"),
        *("2026-03-01T09:00:00,5Z", "2026-03-01T09:00:00.Z", "2026-03-01T09:00:60Z"),
        *("2026-03-01T24:00:00Z", "2026-03-01T09:00:00+0200", "2026-03-01T09:00:00+02"),
        *("2026-03-01T09:00:00+24:00", "2026-03-01Z", "2026-03-01T09:00:00 02:00", "٢٠٢٦-٠٣-٠١"),
        *("2026-03-01T09:00:00Z\n", " 2026-03-01", "1_000", "nan", "inf", "0x10", "1e999", "１"),
        *("0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "0000-01-01"),
        *(1e400, float("nan"), 10**18, -(10**15), 2**70, 10**4000, "9" * 5000),
    ],
)
def test_invalid_instants_are_refused(value: str | float) -> None:
    with pytest.raises(InvalidValue):
        parse_instant(value)


@pytest.mark.parametrize("value", [10**309, -(10**399), "9" * 400, "1e309", 1e400], ids=range(5))
def test_numbers_beyond_any_double_are_refused(value: str | float) -> None:
    with pytest.raises(InvalidValue, match="out of range"):
        convert_scalar(mi.FloatType(), {}, value, from_text=isinstance(value, str))


@pytest.mark.parametrize(
    ("wire_type", "value", "said"),
    [
        (mi.IntType(ge=90, le=90), 30, "must be 90"),
        (mi.IntType(ge=1, le=200), 10**500, "must be between 1 and 200"),
        (mi.StrType(min_length=1), "", "must not be empty"),
        (mi.StrType(min_length=2), "", "must contain at least 2 characters"),
    ],
)
def test_bound_is_said_in_words(wire_type: mi.Type, value: str | int, said: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{said}$"):
        convert_scalar(wire_type, {}, value, from_text=False)


def outcome(parse: Callable[[str], datetime], text: str) -> object:
    try:
        return parse(text)
    except InvalidValue as error:
        return str(error)


@given(
    st.datetimes(),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
    st.sampled_from(["Z", "+00:00"]),
    st.integers(0, 31),
    st.sampled_from([*"0123456789-:.+TtZz W"]) | st.none(),
)
def test_quick_path_reads_common_spellings_like_any_other(
    at: datetime, precision: str, end: str, place: int, replaced: str | None
) -> None:
    """Also if one character is another one."""
    text = at.isoformat(timespec=precision) + end
    if replaced is not None:
        text = text[:place] + replaced + text[place + 1 :]
    assert outcome(parse_instant, text) == outcome(parse_any_instant, text)


@given(st.datetimes(), st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
def test_formatted_instants_round_trip(at: datetime, offset: timedelta) -> None:
    moment = at.replace(tzinfo=UTC)
    assert parse_instant(format_instant(moment)) == moment
    assert parse_instant(at.isoformat(sep=" ")) == moment
    minutes = timedelta(minutes=offset // timedelta(minutes=1))
    try:
        local = (moment + minutes).replace(tzinfo=None)
    except OverflowError:
        return
    sign, size = ("-", -minutes) if minutes < timedelta(0) else ("+", minutes)
    zone = f"{sign}{size // timedelta(hours=1):02}:{size // timedelta(minutes=1) % 60:02}"
    assert parse_instant(local.isoformat() + zone) == moment


@given(st.floats(-1e10, 1e10))
def test_epoch_is_truncated_to_microseconds(seconds: float) -> None:
    found = (parse_instant(seconds) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert abs(found) <= abs(seconds) + 1e-6
    assert abs(found - seconds) < 2e-6


@given(st.uuids())
def test_uuid_is_parsed_in_every_spelling(one: object) -> None:
    text = str(one)
    bare = text.replace("-", "")
    for form in (text, bare, f"{{{text}}}", f"{{{bare}}}", f"urn:uuid:{text}"):
        assert parse_uuid(form) == one
        assert parse_uuid(form.upper()) == one


@pytest.mark.parametrize(
    "text", ["", "x", "{}", "0" * 31, "0" * 33, "0" * 32 + "}", "{" + "0" * 32, "uuid:" + "0" * 32]
)
def test_invalid_uuids_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_uuid(text)
