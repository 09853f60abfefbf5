"""Part of the contract of Traces: filters of lists."""

from itertools import combinations
from typing import Final

import pytest
from hypothesis import settings

from adapters.postgres.tracing.rollups.facets import SPAN_TERMS_MAX
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.span import SpanChange, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceStatus
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import (
    DataPlane,
    fill,
    names,
    project,
    read_all_pages,
    traces_page,
)
from tests.support.hypothesis_scale import crossed

MANY_KEYS = b"{" + b",".join(b'"k%d":"v"' % n for n in range(300)) + b"}"


def one_of_each() -> list[Trace]:
    """Returns traces named by one letter each, in order of start."""
    steps = [
        [
            span(model="gpt-4o", cost={"total": 0.1}),
            span(model="gpt-4o", token_usage=b'{"prompt_tokens": 3, "completion_tokens": 4}'),
            span(status=SpanStatus.ERROR, kind=SpanKind.TOOL, name="find"),
        ],
        [span(model="", kind=SpanKind.TOOL, name="Find"), span(model="tiny", status=SpanStatus.OK)],
        [span()],
        [span(token_usage=b'{"prompt_tokens": 8}', name="find")],
        [span(model="GPT-4o")],
    ]
    fields: list[dict[str, object]] = [
        {
            "session_id": "s", "user_id": "u", "environment": "prod", "release": "1",
            "status": TraceStatus.RUNNING, "tags": ("x", "x"), "metadata": b'{"n": 1, "s": "1"}',
        },
        {
            "session_id": "s", "environment": "prod", "status": TraceStatus.ERROR,
            "tags": ("x", "y"), "ended_at": at(1.0011), "metadata": b'{"n": 1.0, "b": true}',
        },
        {
            "session_id": "", "user_id": "", "environment": "", "release": "", "tags": ("",),
            "ended_at": at(2), "metadata": b'{"n": null, "o": {"a": 1}, "a.b": "c"}',
        },
        {"user_id": "u", "release": "1", "tags": ("Y", "ab"), "ended_at": at(0)},
        {"tags": ("y",), "ended_at": at(4.0011), "metadata": MANY_KEYS},
    ]  # fmt: skip
    return [
        trace(*spans, name=name, started_at=at(n), **more)
        for n, (name, spans, more) in enumerate(zip("abcde", steps, fields, strict=True))
    ]


CONDITIONS = [
    ({"session_id": "s"}, "ab"),
    ({"session_id": ""}, "c"),
    ({"session_id": "S"}, ""),
    ({"user_id": "u"}, "ad"),
    ({"user_id": ""}, "c"),
    ({"environment": "prod"}, "ab"),
    ({"environment": ""}, "c"),
    ({"environment": "pro"}, ""),
    ({"release": "1"}, "ad"),
    ({"release": ""}, "c"),
    ({"status": TraceStatus.RUNNING}, "a"),
    ({"status": TraceStatus.ERROR}, "b"),
    ({"status": TraceStatus.COMPLETED}, "cde"),
    ({"status": TraceStatus.PENDING}, ""),
    ({"tags": ("x",)}, "ab"),
    ({"tags": ("x", "y", "x")}, "abe"),
    ({"tags": ("Y",)}, "d"),
    ({"tags": ("",)}, "c"),
    ({"tags": ("a", "b")}, ""),
    ({"name": "A"}, "a"),
    ({"name": "%"}, ""),
    ({"started_after": at(1)}, "bcde"),
    ({"started_before": at(1)}, "a"),
    ({"started_after": at(1), "started_before": at(3)}, "bc"),
    ({"started_after": at(3), "started_before": at(1)}, ""),
    ({"model": "gpt-4o"}, "a"),
    ({"model": ""}, "b"),
    ({"model": "tiny"}, "b"),
    ({"model": "gpt"}, ""),
    ({"min_latency_ms": 1.1}, "be"),
    ({"max_latency_ms": 1.1}, "bce"),
    ({"min_latency_ms": 1.1, "max_latency_ms": 1.1}, "be"),
    ({"min_latency_ms": 1.1001}, ""),
    ({"max_latency_ms": 1.0999}, "c"),
    ({"max_latency_ms": -3000}, ""),
    ({"min_latency_ms": -1e300, "max_latency_ms": 1e300}, "bce"),
    ({"has_error": True}, "ab"),
    ({"has_error": False}, "cde"),
    ({"metadata": (("n", ("1",)),)}, "a"),
    ({"metadata": (("n", ("1.0", "1")),)}, "ab"),
    ({"metadata": (("n", ("null",)),)}, "c"),
    ({"metadata": (("s", ("1",)), ("n", ("1", "2")))}, "a"),
    ({"metadata": (("s", ("1",)), ("n", ("2",)))}, ""),
    ({"metadata": (("b", ("true",)),)}, "b"),
    ({"metadata": (("o", ('{"a": 1}', "1")),)}, ""),
    ({"metadata": (("a.b", ("c",)),)}, "c"),
    ({"metadata": (("k299", ("v",)),)}, "e"),
    ({"metadata": (("k299", ("w",)),)}, ""),
    ({"metadata": (("", ("",)),)}, ""),
    ({"environments": ("prod", "", "dev")}, "abc"),
    ({"environments": ("dev",)}, ""),
    ({"statuses": (TraceStatus.RUNNING, TraceStatus.ERROR)}, "ab"),
    ({"statuses": (TraceStatus.PENDING, TraceStatus.PENDING)}, ""),
    ({"names": ("a", "c", "c", "zz")}, "ac"),
    ({"names": ("A", "")}, ""),
    ({"names": ("a", "b"), "name": "B"}, "b"),
    ({"tags_all": ("x", "y")}, "b"),
    ({"tags_all": ("x", "x")}, "ab"),
    ({"tags_all": ("x", "gone")}, ""),
    ({"min_tokens": 8}, "d"),
    ({"min_tokens": 7}, "ad"),
    ({"min_tokens": 0}, "abcde"),
    ({"min_span_count": 2}, "ab"),
    ({"min_span_count": 3}, "a"),
    ({"min_span_count": 4}, ""),
    ({"span_kind": SpanKind.TOOL}, "ab"),
    ({"span_kind": SpanKind.RETRIEVER}, ""),
    ({"span_name": "find"}, "ad"),
    ({"span_name": "step"}, "abce"),
    ({"span_name": "fin"}, ""),
    ({"span_kind": SpanKind.TOOL, "span_name": "find"}, "a"),
    ({"span_kind": SpanKind.TOOL, "span_name": "step"}, ""),
    ({"min_cost": 0.1}, "a"),
    ({"min_cost": 0.2}, ""),
    ({"min_cost": 0.0}, "abcde"),
    ({"not_session_id": ("s",)}, "cde"),
    ({"not_session_id": ("s", "")}, "de"),
    ({"not_user_id": ("u", "v", "u")}, "bce"),
    ({"not_environment": ("prod", "dev")}, "cde"),
    ({"not_release": ("1",)}, "bce"),
    ({"not_release": ("2",)}, "abcde"),
    ({"not_status": (TraceStatus.COMPLETED, TraceStatus.ERROR)}, "a"),
    ({"not_tags": ("x",)}, "cde"),
    ({"not_tags": ("y", "", "x")}, "d"),
    ({"not_name": ("A", "c", "A")}, "bde"),
    ({"not_name": ("", "%")}, "abcde"),
    ({"not_model": ("gpt-4o",)}, "bcde"),
    ({"not_model": ("tiny", "GPT-4o")}, "acd"),
    ({"not_span_kind": (SpanKind.TOOL,)}, "cde"),
    ({"not_span_kind": (SpanKind.TOOL, SpanKind.RETRIEVER)}, "cde"),
    ({"not_span_name": ("find",)}, "bce"),
    ({"not_span_name": ("find", "step", "fin")}, ""),
    ({"not_span_name": ("find",), "not_span_kind": (SpanKind.TOOL,)}, "ce"),
    ({"span_name": "step", "not_span_name": ("find",)}, "bce"),
    ({"not_metadata": (("n", ("1",)),)}, "bcde"),
    ({"not_metadata": (("n", ("1.0", "1", "null")),)}, "de"),
    ({"not_metadata": (("n", ("1",)), ("b", ("true",)))}, "cde"),
    ({"not_metadata": (("o", ('{"a": 1}',)), ("n", ()))}, "abcde"),
    ({"not_metadata": (("k299", ("v",)),)}, "abcd"),
    ({"not_metadata": (("k299", ("w",)),)}, "abcde"),
]


async def create_filled_project(plane: DataPlane):
    ours = project()
    await fill(plane, ours, *one_of_each())
    return ours


async def test_each_filter_selects_its_traces(plane):
    ours = await create_filled_project(plane)
    assert await names(plane, ours) == list("abcde")
    found = {
        str(conditions): "".join(await names(plane, ours, **conditions))
        for conditions, _ in CONDITIONS
    }
    assert found == {str(conditions): expected for conditions, expected in CONDITIONS}


async def test_names_of_spans_are_those_of_now(plane):
    ours, one = project(), span(name="find", kind=SpanKind.TOOL)
    whole = trace(one, span(name="answer"), name="a")
    await fill(plane, ours, whole)
    await plane.traces.change_span(ours, whole.id, one.id, SpanChange(name="look up"))
    assert await names(plane, ours, span_name="find") == []
    assert await names(plane, ours, span_name="look up", span_kind=SpanKind.TOOL) == ["a"]
    await plane.traces.change_span(ours, whole.id, one.id, SpanChange(kind=SpanKind.OTHER))
    assert await names(plane, ours, span_kind=SpanKind.TOOL) == []
    await plane.traces.add_spans(ours, whole.id, [span(name="find")])
    assert await names(plane, ours, span_name="find") == ["a"]
    await plane.traces.delete(ours, [whole.id])
    assert await names(plane, ours, span_name="find") == []


async def test_spans_with_many_names_are_found(plane):
    """More than the index has terms for, in one write and in several."""
    ours = project()
    many = [span(name=f"step {n}") for n in range(SPAN_TERMS_MAX + 50)]
    at_once, in_parts = trace(*many, name="a"), trace(*many[:3], name="b", started_at=at(1))
    await fill(plane, ours, at_once, in_parts, trace(span(), name="c", started_at=at(2)))
    for cut in range(3, len(many), 90):
        await plane.traces.add_spans(ours, in_parts.id, many[cut : cut + 90])
    tool = span(name="find", kind=SpanKind.TOOL)
    await plane.traces.add_spans(ours, in_parts.id, [tool])
    for name in ("step 0", "step 100", many[-1].name):
        assert await names(plane, ours, span_name=name) == ["a", "b"]
    assert await names(plane, ours, span_name="step") == ["c"]
    assert await names(plane, ours, span_name="find", span_kind=SpanKind.TOOL) == ["b"]
    assert await names(plane, ours, span_kind=SpanKind.TOOL) == ["b"]


def pairs():
    """Each filter with all others in `make test-all`, else with some that aren't next to it."""
    if settings.get_current_profile_name() == "full":
        return combinations(CONDITIONS, 2)
    turned = [*CONDITIONS, *CONDITIONS]
    # The first pair: each has an index in the order of starts, of which a list walks only one.
    return [(CONDITIONS[0], CONDITIONS[3])] + [
        (one, turned[n + by]) for n, one in enumerate(CONDITIONS) for by in (5, 13)
    ]


OF_ONE_SPAN: Final = {"span_name", "span_kind"}  # of one span, if both are given


async def test_any_two_filters_select_the_intersection(plane):
    ours = await create_filled_project(plane)
    wrong = []
    for (one, first), (other, second) in pairs():
        are_joined = one.keys() & OF_ONE_SPAN and other.keys() & OF_ONE_SPAN
        if not are_joined and not one.keys() & other.keys():
            both = "".join(await names(plane, ours, **one, **other))
            if both != "".join(letter for letter in first if letter in second):
                wrong.append((one | other, both))
    assert wrong == []


async def test_all_filters_together_select_the_intersection(plane):
    ours = await create_filled_project(plane)
    whole = {
        "session_id": "s", "user_id": "u", "environment": "prod", "release": "1", "name": "A",
        "status": TraceStatus.RUNNING, "tags": ("z", "x"), "started_after": at(0),
        "started_before": at(1), "model": "gpt-4o", "has_error": True,
        "metadata": (("n", ("1",)), ("s", ("1",))),
    }  # fmt: skip
    assert await names(plane, ours, **whole) == ["a"]
    assert await names(plane, ours, **whole, max_latency_ms=1e9) == []
    for field in whole:
        other = {"has_error": False, "status": TraceStatus.ERROR, "tags": ("z",)}
        other |= {"started_after": at(1), "started_before": at(0), "metadata": (("n", ("2",)),)}
        assert await names(plane, ours, **whole | {field: other.get(field, "other")}) == []


async def test_every_sort_of_every_filter_pages_over_the_same(plane):
    ours = await create_filled_project(plane)
    for (conditions, expected), sort in crossed(CONDITIONS, list(TraceSort)):
        by_position, by_offset = await read_all_pages(
            lambda window, conditions=conditions, sort=sort: traces_page(
                plane, ours, sort=sort, order=SortOrder.DESC, window=window, **conditions
            ),
            3,
        )
        assert [one.id for one in by_position] == [one.id for one in by_offset]
        assert sorted(one.name for one in by_position) == list(expected), (conditions, sort)


@pytest.mark.parametrize(
    ("needle", "found"),
    [
        ("", {"100% sure", "100x sure", "a_b", "Größe", "back\\slash", "🐼s and 'quotes'"}),
        ("0%", {"100% sure"}),
        ("%", {"100% sure"}),
        ("_", {"a_b"}),
        ("A_B", {"a_b"}),
        ("GRÖSSE", {"Größe"}),
        ("ß", {"Größe"}),
        ("SS", {"Größe"}),
        ("\\", {"back\\slash"}),
        ("K\\S", {"back\\slash"}),
        ("\\\\", set()),
        ("sure", {"100% sure", "100x sure"}),
        (" ", {"100% sure", "100x sure", "🐼s and 'quotes'"}),
        ("🐼", {"🐼s and 'quotes'"}),
        ("'", {"🐼s and 'quotes'"}),
        ("nothing", set()),
    ],
)
async def test_name_matches_any_part_ignoring_case(plane, needle, found):
    ours = project()
    known = ("100% sure", "100x sure", "a_b", "Größe", "back\\slash", "🐼s and 'quotes'")
    await fill(plane, ours, *(trace(name=name) for name in known))
    assert set(await names(plane, ours, name=needle)) == found


UNUSUAL_METADATA = rb"""{
  "big": 12345678901234567890, "power": 1E+2, "minus": -0.0, "no": false, "word": "null",
  "quoted": "a\"\u00e9\n", "twice": "first", "twice": "last", "gone": 1, "gone": [], "": "",
  "%": "_", "long": "LONG"
}""".replace(b"LONG", b"x" * 5_000)


@pytest.mark.parametrize(
    ("key", "value", "is_there"),
    [
        *(("big", "12345678901234567890", True), ("big", "12345678901234567000", False)),
        *(("power", "1E+2", True), ("power", "100", False), ("minus", "-0.0", True)),
        *(("minus", "0", False), ("no", "false", True), ("no", "False", False)),
        *(("word", "null", True), ("quoted", 'a"é\n', True), ("quoted", '"a"', False)),
        *(("twice", "last", True), ("twice", "first", False), ("gone", "1", False)),
        *(("", "", True), ("absent", "", False), ("absent", "null", False)),
        *(("%", "_", True), ("%", "x", False)),
        *(("long", "x" * 5_000, True), ("long", "x" * 4_999, False)),
    ],
)
async def test_metadata_matches_values_as_sent(plane, key, value, is_there):
    ours = project()
    await fill(
        plane, ours, trace(metadata=UNUSUAL_METADATA), trace(metadata=b'{"x": "long"}'), trace()
    )
    expected = TraceFilter(metadata=((key, (value,)),)).matches(trace(metadata=UNUSUAL_METADATA))
    assert expected is is_there
    assert len(await names(plane, ours, metadata=((key, (value,)),))) == is_there


async def test_filters_match_merged_trace_by_new_values(plane):
    ours = project()
    step = span(model="old", status=SpanStatus.ERROR)
    sent = trace(step, session_id="s", tags=("t",), metadata=b'{"k": "v", "kept": 1}')
    await plane.traces.put(ours, sent)
    await plane.traces.put(
        ours,
        trace(
            span(id=step.id, model="new", status=SpanStatus.OK), id=sent.id, session_id="z",
            name="renamed", tags=("u",), metadata=b'{"k": 2}', ended_at=at(1),
        ),
    )  # fmt: skip
    await plane.traces.add_spans(ours, sent.id, [span(model="more")])
    for there in (
        {"session_id": "z"}, {"tags": ("t",)}, {"tags": ("u",)}, {"model": "new"}, {"name": "REN"},
        {"model": "more"}, {"metadata": (("k", ("2",)), ("kept", ("1",)))}, {"has_error": False},
        {"min_latency_ms": 1000, "max_latency_ms": 1000},
    ):  # fmt: skip
        assert await names(plane, ours, **there) == ["renamed"], there
    for gone in (
        {"session_id": "s"}, {"model": "old"}, {"metadata": (("k", ("v",)),)}, {"name": "run"},
        {"has_error": True},
    ):  # fmt: skip
        assert await names(plane, ours, **gone) == [], gone
