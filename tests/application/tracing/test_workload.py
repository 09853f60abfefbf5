"""Which work on traces is left to a thread."""

import pytest

from application.tracing.workload import (
    ERROR_CHARS_ON_LOOP_MAX,
    METADATA_BYTES_ON_LOOP_MAX,
    SPANS_ON_LOOP_MAX,
    errors_take_long,
    traces_take_long,
)
from domain.tracing.span import SpanStatus
from domain.tracing.spans.error_groups import READ_CHARS_MAX
from tests.support.builders.values import span, trace

SHORT = ERROR_CHARS_ON_LOOP_MAX // SPANS_ON_LOOP_MAX


@pytest.mark.parametrize(
    ("spans", "chars", "is_long"),
    [
        (1, 100 * READ_CHARS_MAX, False),  # no more than READ_CHARS_MAX of it are read
        (SPANS_ON_LOOP_MAX, SHORT, False),
        (SPANS_ON_LOOP_MAX // 10, READ_CHARS_MAX, True),
        (SPANS_ON_LOOP_MAX + 1, 0, True),
    ],
)
def test_errors_count_as_far_as_their_groups_depend_on_them(
    spans: int, chars: int, is_long: bool
) -> None:
    failed = [span(status=SpanStatus.ERROR, error="x" * chars) for _ in range(spans)]
    half = len(failed) // 2
    assert traces_take_long([trace(*failed[:half]), trace(*failed[half:])]) is is_long


def test_patterns_of_many_long_errors_take_long() -> None:
    assert errors_take_long(["x" * READ_CHARS_MAX, None] * 100)
    assert not errors_take_long([None, "", "x" * 100 * READ_CHARS_MAX])


def test_metadata_counts() -> None:
    text = b'{"a":"%b"}' % (b"x" * METADATA_BYTES_ON_LOOP_MAX)
    assert traces_take_long([trace(metadata=text)])
