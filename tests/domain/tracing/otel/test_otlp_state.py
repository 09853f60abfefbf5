"""The state of an OpenTelemetry trace: since when it is settled."""

from datetime import timedelta

import pytest

from domain.tracing.otel.otlp_state import OtlpPhase, OtlpState
from tests.support.builders.values import at, trace

QUIET = timedelta(seconds=30)


@pytest.mark.parametrize(
    ("phase", "stored_s", "written_s", "settled_s"),
    [
        (OtlpPhase.OPEN, 0, 0, None),
        (OtlpPhase.ENDED, 0, 0, 30),
        (OtlpPhase.ENDED, 0, 20, 30),  # an edit after the last fragment
        (OtlpPhase.ENDED, 0, 40, 40),
        (OtlpPhase.ENDED, 9_000, 0, 30),  # the clock that stamped the fragment is ahead
        (OtlpPhase.ENDED, -9_000, 0, 0),  # or behind
        (OtlpPhase.SETTLED, 0, 0, 0),
        (OtlpPhase.SETTLED, 0, 900, 900),
    ],
)
def test_trace_is_settled_after_quiet_time(phase, stored_s, written_s, settled_s):
    state = OtlpState(stored_at=at(stored_s), phase=phase)
    expected = None if settled_s is None else at(settled_s)
    assert state.settled_from(at(written_s), QUIET) == expected


def test_mapping_again_settles_only_what_a_worker_settled():
    settled = OtlpState(stored_at=at(1), phase=OtlpPhase.SETTLED)
    native = OtlpState.from_native(trace(), (), at(1))
    assert [one.recomputed_at for one in (settled, native)] == [None, at(1)]
