"""Requests of real instrumentations make the same rows in any order, in every adapter.

Part of the contract of OtlpTraces.
"""

from itertools import groupby

import pytest

from adapters.otlp.decoding.requests import Codec
from domain.tracing.otel.fragments import Fragment
from tests.support.builders.otlp_corpus import CAPTURES
from tests.support.fixtures.data_plane import (
    DataPlane,
    assert_summaries_match,
    project,
    stored_traces,
)
from tests.support.hypothesis_scale import some_of

FOLDERS = {
    name: list(captures)
    for name, captures in groupby(CAPTURES, key=lambda one: one.name.partition("/")[0])
}


@pytest.mark.parametrize("folder", some_of(FOLDERS, 3))  # tests/http/otlp sends all of them
async def test_order_of_requests_and_fragments_changes_nothing(plane: DataPlane, folder: str):
    requests = [
        Codec().decode(one.signal, one.encoding, one.body, 10_000).fragments
        for one in FOLDERS[folder]
    ]
    ours, theirs = project(), project()
    for request in [*requests, *requests]:
        by_trace: dict[object, list[Fragment]] = {}
        for fragment in request:
            by_trace.setdefault(fragment.trace_id, []).append(fragment)
        for some in by_trace.values():
            await plane.otlp.put(ours, some[0].trace_id, some)
    for request in reversed(requests):
        for one in reversed(request):
            await plane.otlp.put(theirs, one.trace_id, [one])
    found = await assert_summaries_match(plane, ours)
    assert found == await stored_traces(plane, theirs)
    assert all(one.spans for one in found)
