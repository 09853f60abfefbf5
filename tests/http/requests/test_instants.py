"""Instants of responses."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from entrypoints.http.requests.wire_types import format_instant, microsecond_formatter

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANTS = st.datetimes(timezones=st.just(UTC))
WHOLE_SECONDS = INSTANTS.map(lambda at: at.replace(microsecond=0))


@given(st.lists(INSTANTS | WHOLE_SECONDS, min_size=1, max_size=4))
def test_microseconds_are_written_as_their_instants(instants: list[datetime]) -> None:
    format_microseconds = microsecond_formatter()
    for at in instants:
        since_epoch = (at - EPOCH) // timedelta(microseconds=1)
        assert format_microseconds(since_epoch) == format_instant(at)
