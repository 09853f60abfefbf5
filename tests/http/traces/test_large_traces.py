"""Traces as they are shown: written by hand for speed, they are what the schemas make."""

import uuid

import msgspec
from hypothesis import given

from domain.ids import ProjectId
from domain.tracing.payloads.payload_detail import WHOLE_PAYLOADS
from domain.tracing.trace import Trace
from domain.tracing.trace_detail import TraceDetail
from entrypoints.http.controllers.traces.schemas import TraceResponse
from tests.support.builders import strategies
from tests.support.builders.values import prices

PROJECT = ProjectId(uuid.UUID(int=1))


@given(sent=strategies.traces())
def test_shown_trace_is_as_its_schema_makes_it(sent: Trace) -> None:
    trace = sent.settled(prices().price)
    found = TraceDetail.from_trace(trace, "revision", WHOLE_PAYLOADS)
    text = msgspec.json.encode(TraceResponse.from_detail(PROJECT, found))
    assert text == msgspec.json.encode(TraceResponse.from_trace(PROJECT, trace))
