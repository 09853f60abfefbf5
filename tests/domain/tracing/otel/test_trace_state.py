"""The row of a trace, computed from its OpenTelemetry spans: in any order, at any time."""

import json
import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.trace_state import (
    ComputedTrace,
    LastMessageOf,
    PayloadOf,
    SpanNode,
    StatedPayload,
    compute_trace,
    settled_trace,
)
from domain.tracing.payloads.payload import MERGED_BYTES_MAX, OBJECT_VALUES_MAX, check_merged
from domain.tracing.span import SpanStatus
from domain.tracing.trace import FINAL_STATUSES, TraceStatus
from tests.support.builders.otel_nodes import TRACE, forests, id_of, instant, node, seconds

RUNNING, COMPLETED, ERROR = TraceStatus.RUNNING, TraceStatus.COMPLETED, TraceStatus.ERROR


def computed(*nodes: SpanNode) -> ComputedTrace:
    """The trace of these spans, which is the same in any order."""
    found = {compute_trace(TRACE, order) for order in permutations(nodes)}
    assert len(found) == 1
    return found.pop()


def settled(*nodes: SpanNode) -> ComputedTrace:
    """What a worker makes of it, in any order."""
    found = {settled_trace(compute_trace(TRACE, order), order) for order in permutations(nodes)}
    assert len(found) == 1
    return found.pop()


def otel(trace: ComputedTrace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(trace.metadata)["otel"]
    return found


def at(after_start: float) -> object:
    return instant(seconds(after_start))


# --- roots ---------------------------------------------------------------------------------


def test_span_without_parent_is_root() -> None:
    trace = computed(node(2, 1, start=1), node(1, None, start=2))
    assert (trace.root_id, trace.started_at, trace.name) == (id_of(1), at(2), "span 1")


def test_first_of_several_roots_is_root() -> None:
    assert computed(node(1, None, start=2), node(2, None, start=1)).root_id == id_of(2)


def test_of_roots_that_start_at_once_the_smaller_id_is_the_root() -> None:
    assert computed(node(2, None, start=1), node(10, None, start=1)).root_id == id_of(2)


def test_starts_are_compared_in_nanoseconds() -> None:
    later, earlier = node(1, None, start=1 + 5e-9), node(2, None, start=1 + 2e-9)
    assert later.span.started_at == earlier.span.started_at
    assert computed(later, earlier).root_id == id_of(2)


def test_entry_span_is_root_if_its_caller_sends_no_spans() -> None:
    trace = computed(node(1, 99, parent_is_remote=True), node(2, 1))
    assert (trace.root_id, trace.status) == (id_of(1), COMPLETED)


def test_entry_span_below_known_span_is_not_root() -> None:
    trace = computed(node(1, 99, parent_is_remote=False), node(2, 1, parent_is_remote=True))
    assert trace.root_id is None


def test_span_without_parent_precedes_earlier_entry_span() -> None:
    trace = computed(node(1, 99, start=1, parent_is_remote=True), node(2, None, start=2))
    assert trace.root_id == id_of(2)


@pytest.mark.parametrize("is_remote", [False, None])
def test_missing_local_parent_leaves_trace_without_root(
    is_remote: bool | None,
) -> None:
    trace = computed(node(1, 99, start=3, parent_is_remote=is_remote), node(2, 1, start=2, end=11))
    assert (trace.root_id, trace.root_ended, trace.status) == (None, False, RUNNING)
    assert (trace.started_at, trace.ended_at) == (at(2), None)
    assert trace.name == "span 1"  # the first whose parent is unknown
    assert otel(trace)["flags"] == []


def test_trace_without_root_is_named_by_first_span_with_unknown_parent() -> None:
    trace = computed(node(1, 2, start=1), node(2, 99, start=2), node(3, 98, start=2))
    assert trace.name == "span 2"


@pytest.mark.parametrize("nodes", [[node(1, 1)], [node(1, 2), node(2, 1)]])
def test_spans_in_a_cycle_have_no_root(nodes: list[SpanNode]) -> None:
    trace = computed(*nodes)
    assert (trace.root_id, trace.name, trace.status) == (None, "span 1", RUNNING)
    assert otel(settled(*nodes))["flags"] == ["root_missing"]


# --- status and end ------------------------------------------------------------------------

STATES = {
    "an ended root": ([node(1, None, end=5)], COMPLETED, 5),
    "a failed root": ([node(1, None, end=5, status="ERROR")], ERROR, 5),
    "an open root": ([node(1, None, end=None)], RUNNING, None),
    "an open root that failed": ([node(1, None, end=None, status="ERROR")], RUNNING, None),
    "a failed child": ([node(1, None, end=5), node(2, 1, status="ERROR")], COMPLETED, 5),
    "an open child": ([node(1, None, end=5), node(2, 1, end=None)], COMPLETED, 5),
    "a later child": ([node(1, None, end=5), node(2, 1, end=50)], COMPLETED, 5),
    "two roots": ([node(1, None, end=5), node(2, None, end=7)], COMPLETED, 7),
    "two roots, one open": ([node(1, None, end=5), node(2, None, end=None)], RUNNING, None),
    "two roots, one failed": (
        [node(1, None, end=5), node(2, None, end=4, status="ERROR")],
        ERROR,
        5,
    ),
    "two roots, one open and one failed": (
        [node(1, None, end=5, status="ERROR"), node(2, None, end=None)],
        ERROR,
        None,
    ),
    "a root, and an open entry span": (
        [node(1, None, end=5), node(2, 99, end=None, parent_is_remote=True)],
        COMPLETED,
        5,
    ),
    "an end before the start": ([node(1, None, start=5, end=3)], COMPLETED, 3),
}


@pytest.mark.parametrize(("nodes", "status", "ended_at"), STATES.values(), ids=STATES.keys())
def test_status_and_end_are_of_the_roots(
    nodes: list[SpanNode], status: TraceStatus, ended_at: float | None
) -> None:
    trace = computed(*nodes)
    assert trace.status == status
    assert trace.ended_at == (None if ended_at is None else at(ended_at))
    assert trace.root_ended == (ended_at is not None)


# --- what a worker settles -----------------------------------------------------------------

LOST = node(1, 99, start=2, end=4, parent_is_remote=None)
OPEN = node(1, None, start=2, end=None)
SETTLED = {
    "a lost root": ([LOST, node(2, 1, end=7)], COMPLETED, 7, ["root_missing"]),
    "a lost root, a failure": (
        [LOST, node(2, 1, end=3, status="ERROR")],
        ERROR,
        4,
        ["root_missing"],
    ),
    "an open root": ([OPEN, node(2, 1, end=7)], COMPLETED, 7, ["root_open"]),
    "nothing but an open root": ([OPEN], COMPLETED, 2, ["root_open"]),
    "an open root, a failure": ([OPEN, node(2, 1, status="ERROR")], ERROR, 10, ["root_open"]),
    "one of two roots open": ([OPEN, node(2, None, end=5)], COMPLETED, 5, ["root_open"]),
    "an open span that failed": (
        [OPEN, node(2, 1, end=None, status="ERROR")],
        ERROR,
        2,
        ["root_open"],
    ),
}


@pytest.mark.parametrize(("nodes", "status", "ended_at", "flags"), SETTLED.values(), ids=SETTLED)
def test_worker_settles_trace_whose_root_does_not_end(
    nodes: list[SpanNode], status: TraceStatus, ended_at: float, flags: list[str]
) -> None:
    trace = settled(*nodes)
    assert (trace.status, trace.ended_at) == (status, at(ended_at))
    assert otel(trace)["flags"] == flags


def test_trace_with_ended_root_needs_no_settling() -> None:
    nodes = [node(1, None, end=5), node(2, 1, end=None, status="ERROR")]
    assert settled(*nodes) == computed(*nodes)


def test_late_root_undoes_settling() -> None:
    late = [LOST, node(99, None, start=1, end=20)]
    assert otel(computed(*late))["flags"] == []
    assert (computed(*late).name, computed(*late).ended_at) == ("span 99", at(20))


# --- name, input, output -------------------------------------------------------------------


def test_name_input_and_output_stated_for_the_trace_come_first() -> None:
    trace = computed(
        node(1, None, has_input=True, has_output=True),
        node(2, 1, is_app_root=True, has_input=True, has_output=True),
        node(3, 1, trace_name="stated", trace_input='"in"', trace_output='"out"'),
        node(4, 1, trace_name="later", trace_input='"later"', trace_output='"later"'),
    )
    assert trace.name == "stated"
    assert (trace.input, trace.output) == (StatedPayload(b'"in"'), StatedPayload(b'"out"'))


def test_application_root_precedes_root() -> None:
    trace = computed(
        node(1, None, has_input=True, has_output=True),
        node(2, 1, is_app_root=True, has_input=True),
        node(3, 1, is_app_root=True, has_output=True),  # only the first is one
    )
    assert trace.name == "span 2"
    assert (trace.input, trace.output) == (PayloadOf(id_of(2)), PayloadOf(id_of(1)))
    assert otel(trace)["flags"] == []


def test_application_root_names_trace_without_root() -> None:
    trace = computed(node(1, 99), node(2, 1, is_app_root=True, has_input=True))
    assert (trace.name, trace.input, trace.root_id) == ("span 2", PayloadOf(id_of(2)), None)


def test_input_of_other_spans_is_not_trace_input() -> None:
    trace = computed(node(1, None), node(2, 1, has_input=True, has_output=True))
    assert (trace.input, trace.output) == (None, None)
    assert otel(trace)["flags"] == []


TALK = [
    node(2, 1, "LLM", start=1, end=9, has_assistant_message=True),
    node(3, 1, "LLM", start=2, end=5, has_user_message=True, has_assistant_message=True),
    node(4, 1, "LLM", start=3, end=10, has_user_message=True),
]


@pytest.mark.parametrize("root", [[node(1, None)], []])
def test_messages_of_the_first_and_last_model_span_stand_in(root: list[SpanNode]) -> None:
    trace = computed(*root, *TALK)
    assert trace.input == LastMessageOf(id_of(3))  # the first that has one
    assert trace.output == LastMessageOf(id_of(2))  # the last to end that has one
    assert otel(trace)["flags"] == ["io_inferred"]


def test_each_of_input_and_output_is_inferred_alone() -> None:
    trace = computed(node(1, None, has_input=True), *TALK)
    assert (trace.input, trace.output) == (PayloadOf(id_of(1)), LastMessageOf(id_of(2)))
    assert otel(trace)["flags"] == ["io_inferred"]


def test_only_model_spans_are_read_for_messages() -> None:
    others = [
        node(at, 1, kind, has_user_message=True, has_assistant_message=True)
        for at, kind in enumerate(["EMBEDDING", "AGENT", "TOOL"], start=2)
    ]
    trace = computed(node(1, None), *others)
    assert (trace.input, trace.output) == (None, None)


def test_of_answers_that_end_at_once_the_later_start_is_the_last() -> None:
    answers = [node(at, 1, "LLM", start=0.5, has_assistant_message=True) for at in (2, 3)]
    earlier = node(9, 1, "LLM", start=0.4, has_assistant_message=True)
    assert computed(node(1, None), earlier, *answers).output == LastMessageOf(id_of(3))


def test_open_answer_is_output_only_if_none_has_ended() -> None:
    still = node(3, 1, "LLM", end=None, has_assistant_message=True)
    ended = node(2, 1, "LLM", end=2, has_assistant_message=True)
    assert computed(node(1, None), still).output == LastMessageOf(id_of(3))
    assert computed(node(1, None), still, ended).output == LastMessageOf(id_of(2))


# --- session, user, environment, release, service, tags ------------------------------------

FIELDS = ["session_id", "user_id", "environment", "release", "service"]


@pytest.mark.parametrize("name", FIELDS)
def test_trace_field_is_taken_from_root_else_from_first_span_with_it(name: str) -> None:
    def found(*nodes: SpanNode) -> object:
        return getattr(computed(*nodes), name)

    root, bare = node(3, None, start=3, **{name: "root"}), node(3, None, start=3)
    first, second = node(1, 3, start=1, **{name: "first"}), node(2, 3, start=2, **{name: "second"})
    assert found(root, first, second) == "root"
    assert found(bare, second, first) == "first"
    assert found(bare, node(1, 3), second) == "second"
    assert found(second, first) == "first"  # no root
    assert found(bare) is None


def test_service_is_in_metadata() -> None:
    assert otel(computed(node(1, None, service="shöp"))) == {"service": "shöp", "flags": []}
    assert otel(computed(node(1, None))) == {"flags": []}


def test_tags_are_the_sorted_union_of_all_spans() -> None:
    nodes = [node(1, None, tags=("b", "a")), node(2, 1, tags=("c", "a")), node(3, 99, tags=("d",))]
    assert computed(*nodes).tags == ("a", "b", "c", "d")


def uuid7(after_start: float, version: int = 7) -> str:
    ms = seconds(after_start) // 1_000_000
    bits = f"{ms:012x}{version}abc8123456789abcdef"
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"


SESSIONS = {
    "made up as the run began": (uuid7(1), None),
    "made up a second before": (uuid7(0), None),
    "made up a second after": (uuid7(2), None),
    "made earlier": (uuid7(-0.001), uuid7(-0.001)),
    "made later": (uuid7(2.001), uuid7(2.001)),
    "of another version": (uuid7(1, version=4), uuid7(1, version=4)),
    "of an unknown variant": (
        uuid7(1)[:19] + "0" + uuid7(1)[20:],
        uuid7(1)[:19] + "0" + uuid7(1)[20:],
    ),
    "no UUID": ("conv-42", "conv-42"),
    "empty": ("", None),
}


@pytest.mark.parametrize(("session_id", "expected"), SESSIONS.values(), ids=SESSIONS.keys())
def test_conversation_id_generated_by_library_is_not_session(
    session_id: str, expected: str | None
) -> None:
    first = node(1, None, start=1, session_id=session_id, made_up_session=True)
    later = node(2, 1, start=60, session_id=session_id, made_up_session=True)
    assert computed(first, later).session_id == expected
    assert computed(node(3, None, start=0), first, later).session_id == expected


def test_same_id_from_another_source_is_session() -> None:
    made_up = node(1, None, start=1, session_id=uuid7(1), made_up_session=True)
    assert computed(made_up, node(2, 1, session_id=uuid7(1))).session_id == uuid7(1)
    assert computed(made_up, node(2, 1, session_id="s")).session_id == "s"


def test_each_run_of_a_trace_has_its_own_beginning() -> None:
    runs = [node(at, 9, start=at, session_id=uuid7(at), made_up_session=True) for at in (1, 5)]
    assert computed(node(9, None, start=0, end=9), *runs).session_id is None


# --- metadata ------------------------------------------------------------------------------


def test_metadata_for_the_trace_is_merged_by_start_then_that_of_the_root() -> None:
    trace = computed(
        node(3, 4, start=3, trace_metadata={"a": "3", "b": "3", "root": "3"}),
        node(1, 4, start=1, trace_metadata={"a": "1", "c": "1.50"}),
        node(2, 4, start=2, trace_metadata={"a": "2"}, sender_metadata={"own": "2"}),
        node(4, None, start=4, sender_metadata={"root": '"r"'}),
    )
    assert trace.sender_metadata == b'{"a":3,"c":1.50,"b":3,"root":"r"}'
    assert trace.metadata == trace.sender_metadata[:-1] + b',"otel":{"flags":[]}}'


def test_without_a_root_the_metadata_of_spans_stays_with_them() -> None:
    trace = computed(node(1, 99, sender_metadata={"a": "1"}, trace_metadata={"b": "2"}))
    assert trace.sender_metadata == b'{"b":2}'


def test_reserved_metadata_key_of_sender_is_ignored() -> None:
    trace = computed(node(1, None, sender_metadata={"otel": '{"flags":["setup"]}'}))
    assert trace.metadata == b'{"otel":{"flags":[]}}'


@pytest.mark.parametrize(
    "large",
    [
        {str(at): "1" for at in range(OBJECT_VALUES_MAX + 1)},
        {"small": "1", "large": f'"{"x" * MERGED_BYTES_MAX}"'},
        {"small": "1", "many": f"[{'0,' * OBJECT_VALUES_MAX}0]"},
    ],
)
def test_metadata_beyond_the_limits_is_cut(large: dict[str, str]) -> None:
    trace = computed(node(1, None, sender_metadata=large), node(2, 1, trace_metadata={"k": "1"}))
    check_merged(trace.metadata)
    kept = json.loads(trace.metadata).keys()
    assert {"small"} & large.keys() <= kept
    assert len(kept) > 1
    assert not {"large", "many"} & kept
    assert otel(trace)["flags"] == ["truncated"]


def test_metadata_at_the_limit_leaves_room_for_flags() -> None:
    root = node(
        1,
        None,
        end=None,
        service="s",
        sender_metadata={str(at): "1" for at in range(OBJECT_VALUES_MAX - 8)},
    )
    check_merged(settled(root).metadata)


# --- setup ---------------------------------------------------------------------------------


def test_trace_of_setup_spans_only_is_setup() -> None:
    trace = computed(node(1, None, is_setup=True, session_id="s"), node(2, 1, is_setup=True))
    assert trace.is_setup
    assert otel(trace)["flags"] == ["setup"]
    assert trace.session_id is None


def test_trace_with_another_span_is_not_setup() -> None:
    trace = computed(node(1, None, is_setup=True, session_id="s"), node(2, 1))
    assert not trace.is_setup
    assert trace.session_id == "s"
    assert otel(trace)["flags"] == []


# --- nodes ---------------------------------------------------------------------------------


def test_node_of_mapped_span_has_its_payloads() -> None:
    one = node(1, None)
    for input_, output in [(None, b"1"), (b"1", None)]:
        mapped = MappedSpan(one.span, one.facts)
        settled_span = node(1, None, input=input_, output=output).span
        made = SpanNode.from_mapped(mapped, settled_span)
        assert (made.has_input, made.has_output) == (input_ is not None, output is not None)
        assert (made.span, made.facts) == (settled_span, one.facts)


# --- any trace -----------------------------------------------------------------------------


@given(forests(), st.randoms(use_true_random=False))
def test_trace_depends_on_set_of_spans_only(nodes: list[SpanNode], shuffle: random.Random) -> None:
    shuffled = list(nodes)
    shuffle.shuffle(shuffled)
    assert compute_trace(TRACE, shuffled) == compute_trace(TRACE, nodes)
    assert settled_trace(compute_trace(TRACE, shuffled), shuffled) == settled_trace(
        compute_trace(TRACE, nodes), nodes
    )


@given(forests())
def test_spans_known_so_far_always_make_a_trace(nodes: list[SpanNode]) -> None:
    for count in range(1, len(nodes) + 1):
        known = nodes[:count]
        trace = compute_trace(TRACE, known)
        assert trace.root_ended == (trace.ended_at is not None)
        assert not (trace.status is COMPLETED and trace.ended_at is None)
        assert not (trace.status is RUNNING and trace.ended_at is not None)
        assert json.loads(trace.metadata)["otel"]["flags"] == sorted(trace.flags)
        over = settled_trace(trace, known)
        assert over.status in FINAL_STATUSES
        assert over.ended_at is not None
        assert settled_trace(over, known).metadata == over.metadata
        failed = any(one.span.status is SpanStatus.ERROR for one in known)
        assert failed or over.status is COMPLETED
