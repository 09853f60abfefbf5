"""JSON bodies: the parser and the error collector agree, and the latter finds every error."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import msgspec.inspect as mi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from domain.errors import FieldError, Invalid
from domain.ids import SpanId, TraceId
from domain.tracing.payloads.json_scan import WINDOW_BYTES
from domain.tracing.trace import Trace
from entrypoints.http.controllers.traces import schemas
from entrypoints.http.controllers.traces.traces import SPANS_BODY, TRACE_BODY
from entrypoints.http.requests.errors import FieldErrors, HttpProblem, IgnoredFields
from entrypoints.http.requests.json_body import (
    ARRAYS_COUNTED_BYTES,
    LONE_ESCAPED,
    TOO_MANY_ARRAYS,
    Body,
    mark_lone_surrogates,
)
from entrypoints.http.requests.scalar_types import InvalidValue
from entrypoints.http.requests.unknown_names import UnknownKeys, without_unknown_keys
from entrypoints.http.requests.wire_types import Instant
from tests.http.conftest import CONFIG, a_span, a_trace
from tests.support.hypothesis_scale import scaled

TRACE_TYPE = mi.type_info(schemas.TraceCreate)

# --- generated bodies, as JSON text ---------------------------------------------------------------

uuids = st.uuids().flatmap(
    lambda one: st.sampled_from([str(one), str(one).upper(), one.hex, f"{{{one}}}", one.urn])
)
plain_moments = st.one_of(
    st.datetimes().map(lambda at: at.isoformat()),
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones()).map(
        lambda at: at.astimezone(UTC).isoformat()
    ),
    st.sampled_from(
        ["2026-03-01", "2026-03-01 09:00:00Z", "2026-03-01t09:00:00.123456789z", "1e3"]
    ),
    st.integers(-(10**10), 10**12),
    st.floats(-1e9, 1e9),
)
odd_moments = st.one_of(
    st.sampled_from(
        [
            *("2026-W09-1", "20260301", "-1.5", "2026-03-01T09:00", "2026-03-01T09:00:00,5Z", ""),
            *("2026-03-01T09:00:00+0200", "٢٠٢٦-03-01", "2026-03-01T24:00:00Z", "NaN", "１", "x"),
            *("0001-01-01T00:00:00+01:00", "2026-03-01T09:00:00+02:00:30"),
        ]
    ),
    st.integers(),
    st.floats(),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.just("é" * 255)
odd_texts = st.text(max_size=6) | st.sampled_from(["a" * 256, "\0", "\ud800"])
json_values = st.sampled_from([None, True, 0, 1.5, "", "text", [], {}, [None], {"a": None}])


def values(of: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | of,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(of, inner, max_size=3),
        max_leaves=6,
    )


def bodies(*, may_be_invalid: bool) -> st.SearchStrategy[bytes]:
    """A trace as JSON: valid, or possibly with invalid parts (`may_be_invalid`)."""

    def some(
        valid: st.SearchStrategy[Any], invalid: st.SearchStrategy[Any] = json_values
    ) -> st.SearchStrategy[Any]:
        return (
            st.integers(0, 13).flatmap(lambda n: {12: invalid, 13: json_values}.get(n, valid))
            if may_be_invalid
            else valid
        )

    word = some(texts, odd_texts)
    name = some(texts.filter(bool), odd_texts)
    moment = some(plain_moments, odd_moments)
    held = some(values(texts), values(odd_texts))
    objects = some(st.dictionaries(texts, values(texts), max_size=3))
    amounts = some(st.floats(0, 1e6) | st.integers(0, 10**6), st.floats() | st.integers())
    costs = st.dictionaries(texts, amounts, max_size=3)
    common: dict[str, Any] = {
        "ended_at": moment | st.none(),
        "input": held,
        "output": held,
        "metadata": objects,
        "unknown": held,
    }
    span = st.fixed_dictionaries(
        {"name": name, "started_at": moment, "span_id": some(uuids)},
        optional=common
        | {
            "parent_span_id": some(uuids | st.none()),
            "kind": some(st.sampled_from(["LLM", "TOOL"]), st.just("llm")),
            "status": some(st.sampled_from(["OK", "ERROR"]), st.just("ok")),
            "model": word | st.none(),
            "error": word | st.none(),
            "completion_start_time": moment | st.none(),
            "token_usage": objects | st.none(),
            "model_parameters": objects | st.none(),
            "cost": some(costs | st.none()),
        },
    )
    trace = st.fixed_dictionaries(
        {
            "name": name,
            "started_at": moment,
            "trace_id": some(uuids),
            "spans": some(st.lists(span, max_size=3)),
        },
        optional=common
        | {
            "status": some(st.sampled_from(["RUNNING", "ERROR"]), st.just("done")),
            "session_id": word | st.none(),
            "tags": some(st.lists(word, max_size=4)),
        },
    )
    return st.builds(
        lambda value, plain: json.dumps(value, ensure_ascii=plain).encode(errors="replace"),
        trace,
        st.booleans(),
    )


def walk(data: bytes) -> Trace | list[str] | None:
    """Return a trace, the fields with errors, or None if the body is not JSON."""
    errors = FieldErrors()
    try:
        found = TRACE_BODY.walk(data, CONFIG, errors)
    except HttpProblem:
        return None
    if found is None:
        return [one.field for one in errors.found]
    assert errors.found == []
    return found


def parse_fast(data: bytes) -> Trace | None:
    try:
        if b'"unknown"' in data:
            data = bytes(without_unknown_keys(data, TRACE_TYPE, IgnoredFields()))
        return TRACE_BODY.parse_fast(data, CONFIG)
    except (msgspec.DecodeError, ValueError):
        return None


@settings(deadline=None)
@given(bodies(may_be_invalid=False))
def test_valid_bodies_are_parsed_equally_by_both_passes(data: bytes) -> None:
    found = walk(data)
    if b"\\u0000" in data:  # allowed in some fields only
        assert isinstance(found, Trace | list)
        return
    assert isinstance(found, Trace)
    fast = parse_fast(data)
    assert fast in (found, None)
    if not re.search(rb"[{]........-|urn:", data):
        assert fast == found


@settings(deadline=None)
@given(bodies(may_be_invalid=True))
def test_walk_accepts_what_the_fast_pass_accepts(data: bytes) -> None:
    fast = parse_fast(data)
    if fast is not None:
        assert walk(data) == fast


@settings(deadline=None)
@given(bodies(may_be_invalid=True), st.data())
def test_any_input_is_a_trace_or_errors_or_not_json(data: bytes, draw: st.DataObject) -> None:
    if draw.draw(st.booleans()):
        at = draw.draw(st.integers(0, len(data)))
        data = (
            data[:at] + draw.draw(st.binary(max_size=2)) + data[at + draw.draw(st.integers(0, 3)) :]
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # refused before parsing
    found = walk(data)
    try:
        json.loads(text, parse_constant=_refuse)
        is_json = True
    except ValueError:
        is_json = False
    assert (found is None) is not is_json
    assert found != []
    if found is None or isinstance(found, list):
        assert parse_fast(data) is None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


PLANTED = [
    ("name", ""),
    ("started_at", "soon"),
    ("ended_at", False),
    ("metadata", 7),
    ("spans.0.name", None),
    ("spans.0.kind", "llm"),
    ("spans.1.span_id", "x"),
    ("spans.1.cost", {"a": None}),
    ("spans.2.model", "m" * 256),
    ("spans.2.token_usage", "no"),
    ("tags.1", 5),
]


@given(st.sets(st.sampled_from(range(len(PLANTED)))))
def test_exactly_the_planted_errors_are_found(chosen: set[int]) -> None:
    body: Any = a_trace(tags=["a", "b"], spans=[a_span() for _ in range(3)])
    for index in chosen:
        path, value = PLANTED[index]
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        container = body
        for step in steps:
            container = container[step]
        container[last] = value
    found = walk(json.dumps(body).encode())
    fields = {PLANTED[index][0] for index in chosen}
    if chosen:
        assert isinstance(found, list)
        assert {re.sub(r"\.cost\.a$", ".cost", field) for field in found} == fields
    else:
        assert isinstance(found, Trace)


def test_passes_differ_in_generated_ids_only() -> None:
    data = json.dumps(a_trace()).encode()
    one, two = parse_fast(data), walk(data)
    assert isinstance(one, Trace)
    assert isinstance(two, Trace)
    assert one.id != two.id
    assert replace(one, id=two.id) == two


# --- types that no endpoint has -------------------------------------------------------------------


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    n: Annotated[int, Meta(ge=0, le=9)] | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    some_flag: bool = False
    some_id: UUID | None = None
    mode: Literal["a", "b"] = "a"
    code: Annotated[str, Meta(pattern="^[a-z]+$")] = "x"
    rate: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    count: Annotated[int, Meta(ge=1)] = 1
    pair: tuple[Inner, ...] = ()
    by_key: Annotated[dict[str, Inner], Meta(max_length=2)] = {}
    since: Instant | None = None


RULES: Body[Rules] = Body(Rules, lambda rules, _: rules)


def rules(body: Any) -> Rules | dict[str, str]:
    errors = FieldErrors()
    found = RULES.parse(json.dumps(body).encode(), CONFIG, errors)
    return found or {one.field: one.message for one in errors.found}


def test_walk_reads_any_struct() -> None:
    some = UUID(int=5)
    body = {
        "someFlag": True,
        "someId": some.urn,
        "mode": "b",
        "code": "abc",
        "rate": "0.25",
        "count": "7",
        "pair": [{"n": 3}, {"n": None}],
        "byKey": {"k": {"n": "4"}},
        "since": "2026-03-01",
    }
    assert rules(body) == Rules(
        some_flag=True,
        some_id=some,
        mode="b",
        code="abc",
        rate=0.25,
        count=7,
        pair=(Inner(3), Inner()),
        by_key={"k": Inner(4)},
        since="2026-03-01",
    )
    assert rules({"count": 5.0}) == Rules(count=5)


def test_walk_reports_errors_of_any_struct() -> None:
    found = rules(
        {
            "someFlag": "true",
            "someId": 5,
            "mode": "c",
            "code": "A",
            "rate": 1,
            "count": 1.5,
            "pair": [{"n": 10}, {"n": True}],
            "byKey": {"a": {}, "b": {}, "c": {}},
            "since": "no",
        }
    )
    assert found == {
        "someFlag": "must be true or false",
        "someId": "must be a string",
        "mode": "must be one of a, b",
        "code": "must match ^[a-z]+$",
        "rate": "must be above 0 and below 1",
        "count": "must be a whole number",
        "pair.0.n": "must be between 0 and 9",
        "pair.1.n": "must be a whole number",
        "byKey": "must contain at most 2 items",
        "since": "must be a date and time, e.g. 2026-03-01T09:00:00Z",
    }


def test_long_key_is_truncated_in_the_path() -> None:
    found = rules({"byKey": {"k" * 5000: {"n": -1}}})
    assert isinstance(found, dict)
    [field] = found
    assert len(field) < 250


def test_errors_stop_at_the_maximum() -> None:
    errors = FieldErrors()
    with pytest.raises(Invalid) as caught:
        SPANS_BODY.parse(json.dumps([{}] * 5000).encode(), CONFIG, errors)
    assert len(caught.value.errors) == 100


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (r'"\ud800"', 1),
        (r'"\udc00\ud800"', 2),
        (r'"\ud83d\ude00"', 0),
        (r'"\ud800\ud83d\ude00\udc00"', 2),
        (r'"\\ud800"', 0),
        (r'"\\\ud800"', 1),
        (r'"\\ud800\udc00"', 1),
        (r'"\uD800\uDBFF\uDFFF"', 1),
        (r'"\u00d8"', 0),
    ],
)
def test_lone_surrogates_are_marked(text: str, count: int) -> None:
    found = mark_lone_surrogates(text.encode())
    assert found.count(LONE_ESCAPED) == count
    assert msgspec.json.decode(found) is not None
    if count == 0:
        assert found.decode() == text


def refuse_x(text: str) -> None:
    if text == "x":
        raise InvalidValue("must not be x")


type NotX = Annotated[str, Meta(extra={"check": refuse_x})]


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    low: int = 0
    high: int = 9

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        if fields["low"] > fields["high"]:
            yield FieldError("low", "must not be above high")


class Hooked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    plain: NotX = ""
    optional: NotX | UnsetType | None = UNSET
    items: list[NotX] = []
    by_key: dict[str, NotX] = {}
    inner: list[Pair] = []


HOOKED: Body[Hooked] = Body(Hooked, lambda wire, _: wire)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"plain": "x"}, "plain"),
        ({"optional": "x"}, "optional"),
        ({"items": ["a", "x"]}, "items.1"),
        ({"by_key": {"a": "x"}}, "by_key.a"),
        ({"inner": [{}, {"low": 5, "high": 4}]}, "inner.1.low"),
    ],
)
def test_parser_and_error_collector_call_hooks_of_inner_types(
    body: dict[str, Any], field: str
) -> None:
    data = json.dumps(body).encode()
    with pytest.raises(ValueError, match="must not be"):
        HOOKED.parse_fast(data, CONFIG)
    errors = FieldErrors()
    assert HOOKED.walk(data, CONFIG, errors) is None
    assert [one.field for one in errors.found] == [field]


def test_parser_and_error_collector_accept_values_that_hooks_accept() -> None:
    body = {"optional": None, "items": ["a"], "by_key": {"x": "a"}, "inner": [{"low": 9}]}
    data = json.dumps(body).encode()
    assert HOOKED.parse_fast(data, CONFIG) == HOOKED.walk(data, CONFIG, FieldErrors())


def test_lone_surrogates_are_found_across_windows() -> None:
    parts = [r"\ud800", r"\udc00", r"\ud83d\ude00", r"\\", "x", r"\"", r"\u00e9", r"\\ud800"]
    lone = (r"\ud800", r"\udc00")
    for seed in range(scaled(40)):
        random = Random(seed)
        chosen = random.choices(parts, k=3 * WINDOW_BYTES // 5)
        # A high surrogate before a low one forms a valid pair.
        chosen = [part + "." if part == r"\ud800" else part for part in chosen]
        text = f'"{"".join(chosen)}"'
        found = mark_lone_surrogates(text.encode())
        assert found.count(LONE_ESCAPED) == sum(part.rstrip(".") in lone for part in chosen)
        assert found.replace(LONE_ESCAPED, b"").decode() == re.sub(
            "\0", r"\\\\", _without_lone(text)
        )


def _without_lone(text: str) -> str:
    marked = text.replace(r"\\", "\0")
    return re.sub(r"\\ud800(?!\\u[dD][c-fC-F])|(?<!\\ud83d)\\udc00", "", marked)


@settings(deadline=None)
@given(bodies(may_be_invalid=True), st.sampled_from([0, 120, 300]))
def test_stepwise_walk_finds_the_same(data: bytes, stepwise_bytes: int) -> None:
    body = Body(
        schemas.TraceCreate, schemas.TraceCreate.to_domain, stepwise_bytes, UnknownKeys.REPORTED
    )
    errors = FieldErrors()
    expected = walk(data)
    try:
        found = body.parse_part(data, CONFIG, errors)
    except HttpProblem:
        assert expected is None
        return
    if isinstance(expected, Trace):
        assert found is not None
        assert _without_generated_ids(found) == _without_generated_ids(expected)
    else:
        assert [one.field for one in errors.found] == expected


def _without_generated_ids(trace: Trace) -> Trace:
    spans = [replace(span, id=SpanId(UUID(int=0))) for span in trace.spans]
    return replace(trace, id=TraceId(UUID(int=0)), spans=tuple(spans))


def test_stepwise_walk_bounds_lists_and_objects() -> None:
    stepwise = Body(Rules, lambda rules, _: rules, 0)

    def errors_of(text: str) -> dict[str, str]:
        errors = FieldErrors()
        assert stepwise.parse_part(text.encode(), CONFIG, errors) is None
        return {one.field: one.message for one in errors.found}

    assert errors_of('{"unknown":1,"count":0,"count":"x"}') == {
        "count": "must be a whole number",
        "unknown": "is not a known key",
    }
    many = ",".join(f'"{n}":{{}}' for n in range(20_000))
    assert "10,000" in errors_of(f'{{"byKey":{{{many}}}}}')["byKey"]
    tags = Body(Annotated[list[str], Meta(max_length=3)], lambda tags, _: tags, 0)
    assert tags.parse_part(b'["a","b","c"]', CONFIG, FieldErrors()) == ["a", "b", "c"]
    errors = FieldErrors()
    assert tags.parse_part(b'["a","b","c","d","e"]', CONFIG, errors) is None
    assert [one.message for one in errors.found] == ["must contain at most 3 items"]


@pytest.mark.parametrize(("text", "is_allowed"), [('"%s"', True), ("[0%s]", False)])
def test_arrays_of_a_very_large_body_are_bounded(text: str, is_allowed: bool) -> None:
    """Nothing interrupts a decoder, and each array takes it long."""
    arrays = ",[[[[]]]]" * (ARRAYS_COUNTED_BYTES // 9 + 1)
    data = json.dumps(a_trace(input="INPUT")).replace('"INPUT"', text % arrays).encode()
    errors = FieldErrors()
    found = TRACE_BODY.parse(data, CONFIG, errors)
    assert (found is not None) is is_allowed
    assert [one.message for one in errors.found] == ([] if is_allowed else [TOO_MANY_ARRAYS])
