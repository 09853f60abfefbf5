"""Spans and log records from JSON, each decoded by msgspec into structs.

Protobuf's own parser isn't used: it reads ids as base64, where OTLP has hex.
"""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from adapters.otlp.decoding.fragments import (
    Context,
    Rejected,
    checked_record,
    checked_span,
    dropped_counts,
    half_mark,
    parent_id_from,
    parent_is_remote,
    span_id_from,
    too_deep,
    trace_id_from,
    undecodable,
)
from adapters.otlp.decoding.json_limits import may_exceed, within_limits
from adapters.otlp.decoding.json_outline import json_outline
from adapters.otlp.decoding.json_text import MalformedJson, TooManyJsonValues
from adapters.otlp.decoding.limits import (
    ATTRIBUTES_MAX,
    EVENTS_MAX,
    LEVELS_MAX,
    LINKS_MAX,
    MEASURED_BYTES,
    TooDeep,
)
from adapters.otlp.decoding.outline import Encoded, Group
from adapters.otlp.decoding.records import record_ids, record_name
from adapters.otlp.decoding.values import text_from_bytes
from domain.ids import TraceId
from domain.tracing.otel.fragments import (
    Attributes,
    AttributeValue,
    Scope,
    SentEvent,
    SentLink,
    SentRecord,
    SentSpan,
)
from domain.tracing.otel.requests import RejectionReason, Signal

type _Integer = int | str | float | None
"""A number, or a number in a string, as JSON has integers of 64 bits."""

_UINT64_MAX: Final = (1 << 64) - 1
_UINT32_MAX: Final = (1 << 32) - 1
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
_INT32_MIN, _INT32_MAX = -(1 << 31), (1 << 31) - 1

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?")
_NOT_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_KINDS: Final = {
    f"SPAN_KIND_{name}": number
    for number, name in enumerate(
        ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
    )
}
_STATUS_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_IDS_IN_TEXT: Final = (
    re.compile(rb'"traceId"\s*+:\s*+"([0-9a-fA-F]{1,32}+)"'),
    re.compile(rb'"spanId"\s*+:\s*+"([0-9a-fA-F]{1,32}+)"'),
)
_IDS_DECODED_BYTES: Final = 1 << 20
_IDS_SEARCHED_BYTES: Final = 64 << 10
_SHOWN_ID: Final = re.compile("[0-9a-fA-F]{1,32}")
# Replacing texts in larger spans would take too much memory.
_REPLACED_BYTES: Final = 1 << 20
# Either half of a surrogate pair without the other, which JSON can say and no text can contain.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


# How the decoder describes a value of a wrong type, and its place in malformed JSON.
_WANTED: Final = re.compile("Expected `([^`]+)`")
_PLACE: Final = re.compile(r"\(byte ([0-9]+)\)")
_JSON_TYPES: Final = {
    "array": "an array",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "a string",
}

_NULL: Final = memoryview(b"null")
_EMPTY_OBJECT: Final = memoryview(b"{}")
_HALF_OF_PAIR: Final = "a text with half of a surrogate pair"
_URL_SAFE: Final = str.maketrans("-_", "+/")


class _Struct(msgspec.Struct, rename="camel"):
    pass


class _AnyValue(_Struct):
    string_value: str | None = None
    int_value: _Integer = None
    bool_value: bool | None = None
    double_value: float | str | None = None
    array_value: "_ArrayValue | None" = None
    kvlist_value: "_KeyValueList | None" = None
    bytes_value: str | None = None


class _KeyValue(_Struct):
    key: str = ""
    value: _AnyValue | None = None


class _ArrayValue(_Struct):
    values: list[_AnyValue] | None = None


class _KeyValueList(_Struct):
    values: list[_KeyValue] | None = None


class _Resource(_Struct):
    attributes: list[_KeyValue] | None = None


class _Scope(_Struct):
    name: str | None = None
    version: str | None = None


class _Status(_Struct):
    code: _Integer = None
    message: str | None = None


class _Event(_Struct):
    time_unix_nano: _Integer = None
    name: str | None = None
    attributes: list[_KeyValue] | None = None


class _Link(_Struct):
    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    attributes: list[_KeyValue] | None = None


class _Span(_Struct):
    trace_id: str | None = None
    span_id: str | None = None
    trace_state: str | None = None
    parent_span_id: str | None = None
    flags: _Integer = None
    name: str | None = None
    kind: _Integer = None
    start_time_unix_nano: _Integer = None
    end_time_unix_nano: _Integer = None
    attributes: list[_KeyValue] | None = None
    dropped_attributes_count: _Integer = None
    events: list[_Event] | None = None
    dropped_events_count: _Integer = None
    links: list[_Link] | None = None
    dropped_links_count: _Integer = None
    status: _Status | None = None


class _Record(_Struct):
    time_unix_nano: _Integer = None
    observed_time_unix_nano: _Integer = None
    body: _AnyValue | None = None
    attributes: list[_KeyValue] | None = None
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None


class _Ids(_Struct):
    trace_id: str | None = None
    span_id: str | None = None


class _Type[S: _Struct]:
    """How a message is decoded, and which of its members may contain many values."""

    def __init__(self, name: str, struct: type[S], measured: Mapping[str, int | None]) -> None:
        self.name = name
        self.decode = msgspec.json.Decoder(struct).decode
        self.measured = measured
        fields = msgspec.structs.fields(struct)
        self.others = {each.encode_name for each in fields} - measured.keys()


_SPAN: Final = _Type(
    "span", _Span, {"attributes": ATTRIBUTES_MAX, "events": EVENTS_MAX, "links": LINKS_MAX}
)
_RECORD: Final = _Type("record", _Record, {"attributes": ATTRIBUTES_MAX, "body": None})
_RESOURCE: Final = _Type("resource", _Resource, {"attributes": ATTRIBUTES_MAX})
_SCOPE: Final = _Type("scope", _Scope, {})
_IDS: Final = msgspec.json.Decoder(_Ids)
_TEXT: Final = msgspec.json.Decoder(str | None)


class _UnpairedSurrogate(Exception):  # noqa: N818 - an error of the client, not of ours
    """A text has half of a surrogate pair, in place of which `marked` has U+0000 and its mark."""

    def __init__(self, marked: bytes) -> None:
        super().__init__()
        self.marked = memoryview(marked)


class JsonDecoder:
    """Implements ItemDecoder."""

    def outline(self, body: bytes, signal: Signal, items_max: int) -> list[Group]:
        return json_outline(body, signal, items_max)

    def context(self, group: Group) -> Context:
        try:
            return self._context(group)
        except _UnpairedSurrogate:
            raise Rejected(
                RejectionReason.INVALID_TEXT, f"the scope or resource has {_HALF_OF_PAIR}"
            ) from None

    def _context(self, group: Group) -> Context:
        resource, _ = _parsed(_RESOURCE, _object(group.resource))
        scope, _ = _parsed(_SCOPE, _object(group.scope))
        try:
            schema_url = _TEXT.decode(group.schema_url[0]) if group.schema_url else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise undecodable("the schema URL of the scope isn't a text") from None
        sent = Scope(scope.name or "", scope.version or "", schema_url or "")
        return Context.from_sent(sent, _attributes(resource.attributes))

    def span(self, item: Encoded, context: Context) -> tuple[TraceId, SentSpan]:
        try:
            return self._span(item, context)
        except _UnpairedSurrogate as error:
            self._span(error.marked, context)  # raises Rejected if it is in a name, an id or a tag
            raise undecodable(f"the span has {_HALF_OF_PAIR}") from None

    def _span(self, item: Encoded, context: Context) -> tuple[TraceId, SentSpan]:
        span, was_cut = _parsed(_SPAN, item)
        trace_id = trace_id_from(_id(span.trace_id))
        status = span.status or _Status()
        attributes, events, links = span.attributes or (), span.events or (), span.links or ()
        sent = SentSpan(
            span_id=span_id_from(_id(span.span_id)),
            start_ns=_integer(span.start_time_unix_nano, 0, _UINT64_MAX),
            name=span.name or "",
            parent_span_id=parent_id_from(_id(span.parent_span_id)),
            parent_is_remote=parent_is_remote(_integer(span.flags, 0, _UINT32_MAX)),
            kind=_enum(span.kind, _KINDS),
            end_ns=_integer(span.end_time_unix_nano, 0, _UINT64_MAX),
            status_code=_enum(status.code, _STATUS_CODES),
            status_message=status.message or "",
            attributes=_attributes(attributes),
            events=tuple(map(_event, islice(events, EVENTS_MAX))),
            links=tuple(map(_link, islice(links, LINKS_MAX))),
            trace_state=span.trace_state or "",
            dropped=dropped_counts(
                _integer(span.dropped_attributes_count, 0, _UINT32_MAX),
                _integer(span.dropped_events_count, 0, _UINT32_MAX),
                _integer(span.dropped_links_count, 0, _UINT32_MAX),
            ),
            is_truncated=was_cut
            or len(attributes) > ATTRIBUTES_MAX
            or len(events) > EVENTS_MAX
            or len(links) > LINKS_MAX,
            scope=context.scope,
            resource=context.resource,
        )
        return trace_id, checked_span(sent)

    def record(self, item: Encoded, context: Context) -> tuple[TraceId | None, SentRecord] | None:
        try:
            return self._record(item, context)
        except _UnpairedSurrogate as error:
            if self._record(error.marked, context) is None:
                return None
            raise undecodable(f"the record has {_HALF_OF_PAIR}") from None

    def _record(self, item: Encoded, context: Context) -> tuple[TraceId | None, SentRecord] | None:
        record, was_cut = _parsed(_RECORD, item)
        attributes = _attributes(record.attributes)
        body = _value(record.body, 0)
        name = record_name(record.event_name or "", attributes, body)
        if name is None:
            return None
        ids = _id(record.trace_id), _id(record.span_id)
        trace_id, span_id = record_ids(name, attributes, *ids)
        sent = SentRecord(
            name=name,
            time_ns=_integer(record.time_unix_nano, 0, _UINT64_MAX)
            or _integer(record.observed_time_unix_nano, 0, _UINT64_MAX),
            span_id=span_id,
            body=body,
            attributes=attributes,
            is_truncated=was_cut or len(record.attributes or ()) > ATTRIBUTES_MAX,
            scope=context.scope,
            resource=context.resource,
        )
        return trace_id, checked_record(sent)

    def ids(self, item: Encoded, _: Signal) -> tuple[str | None, str | None]:
        if len(item) > _IDS_DECODED_BYTES:
            item = item[:_IDS_SEARCHED_BYTES]  # not JSON, so it is searched
        try:
            ids = _IDS.decode(item)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # The first texts that look like ids, which may be those of a link.
            found = (pattern.search(item) for pattern in _IDS_IN_TEXT)
            ids = _Ids(*(match and match[1].decode() for match in found))
        return _shown_id(ids.trace_id), _shown_id(ids.span_id)


def _object(given: Sequence[Encoded]) -> Encoded:
    """An empty object if none was given, or `null`."""
    return given[0] if given and given[0] != _NULL else _EMPTY_OBJECT


def _parsed[S: _Struct](kind: _Type[S], item: Encoded) -> tuple[S, bool]:
    """The struct within the limits, and whether something was cut. Raises Rejected."""
    was_cut = False
    data: bytes | Encoded = item
    try:
        if len(item) > MEASURED_BYTES and may_exceed(bytes(item)):
            data, was_cut = within_limits(bytes(item), kind.measured, kind.others)
        return kind.decode(data), was_cut
    except (RecursionError, TooDeep):
        raise too_deep() from None
    except (MalformedJson, TooManyJsonValues) as error:
        raise undecodable(f"the {kind.name} isn't valid JSON: {error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _failure(kind, data, error) from error


def _failure(kind: _Type[Any], data: Encoded | bytes, error: Exception) -> Exception:
    if isinstance(error, UnicodeDecodeError):
        return undecodable(f"a text of the {kind.name} isn't UTF-8")
    if len(data) <= _REPLACED_BYTES:
        marked = _ESCAPE.sub(_marked, data)
        if marked != data:
            return _UnpairedSurrogate(marked)
    return undecodable(_mistake(kind.name, str(error)))


def _marked(escape: re.Match[bytes]) -> bytes:
    lone = escape["lone"]
    return rb"\u0000" + half_mark(int(lone[1:], 16)).encode() if lone else escape[0]


def _mistake(name: str, said: str) -> str:
    """What the sender has to change. `said` is the message of the decoder, in its own words.

    For a value of a wrong type it has the path, for malformed JSON the place in the span or record.
    """
    text, _, path = said.removesuffix("`").partition(" - at `$")
    place = f"{path.removeprefix('.')} of the {name}" if path else f"the {name}"
    if (wanted := _WANTED.match(text)) is not None:
        options = [_JSON_TYPES.get(one, one) for one in wanted[1].split(" | ")]
        return f"{place} must be {' or '.join(options)}"
    if path:
        return f"{place} isn't valid"
    if "UTF-8" in text:
        return f"a text of the {name} isn't UTF-8"
    at = _PLACE.search(text)
    return f"the {name} isn't valid JSON" + (f" at its byte {at[1]}" if at else "")


def _shown_id(text: str | None) -> str | None:
    return text.lower() if text and _SHOWN_ID.fullmatch(text) else None


def _id(text: str | None) -> bytes:
    """Raises Rejected."""
    try:
        data = bytes.fromhex(text or "")
    except ValueError:
        data = None
    if data is None or 2 * len(data) != len(text or ""):  # fromhex ignores blanks
        raise Rejected(RejectionReason.INVALID_ID, "an id must be in hexadecimal, not in base64")
    return data


def _integer(value: _Integer, least: int, most: int) -> int:
    """Raises Rejected."""
    number: int | None
    if isinstance(value, str):
        number = int(value) if _INTEGER.fullmatch(value) else None
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    else:
        number = value or 0
    if number is None or not least <= number <= most:
        raise undecodable(f"a time, integer or flag must be a whole number from {least} to {most}")
    return number


def _enum(value: _Integer, names: Mapping[str, int]) -> int:
    """0 for a name that isn't known, as for a missing value."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        return names.get(value, 0)
    return _integer(value, _INT32_MIN, _INT32_MAX)


def _attributes(pairs: Sequence[_KeyValue] | None) -> Attributes:
    """The first ATTRIBUTES_MAX. If a key occurs twice, the last value counts."""
    return {pair.key: _value(pair.value, 0) for pair in islice(pairs or (), ATTRIBUTES_MAX)}


def _value(value: _AnyValue | None, levels: int) -> AttributeValue:  # noqa: PLR0911 - one for each kind
    if value is None:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return _integer(value.int_value, _INT64_MIN, _INT64_MAX)
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return _double(value.double_value)
    if value.array_value is not None:
        _check_levels(levels + 1)
        return [_value(each, levels + 1) for each in value.array_value.values or ()]
    if value.kvlist_value is not None:
        _check_levels(levels + 1)
        members = value.kvlist_value.values or ()
        return {pair.key: _value(pair.value, levels + 1) for pair in members}
    return None if value.bytes_value is None else _text_from_base64(value.bytes_value)


def _check_levels(levels: int) -> None:
    if levels > LEVELS_MAX:
        raise too_deep()


def _double(value: float | str) -> float | str:
    if not isinstance(value, str):
        return value
    if value in _NOT_FINITE:
        return value
    if not _NUMBER.fullmatch(value) or not math.isfinite(number := float(value)):
        raise undecodable("a doubleValue in a string must be a finite number in digits")
    return number


def _text_from_base64(text: str) -> str:
    """Both alphabets are accepted, with and without padding."""
    try:
        padded = text.rstrip("=").translate(_URL_SAFE)
        data = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except ValueError:
        raise undecodable("bytes aren't valid base64") from None
    return text_from_bytes(data)


def _event(event: _Event) -> SentEvent:
    return SentEvent(
        _integer(event.time_unix_nano, 0, _UINT64_MAX),
        event.name or "",
        {pair.key: _value(pair.value, 0) for pair in event.attributes or ()},
    )


def _link(link: _Link) -> SentLink:
    return SentLink(
        _id(link.trace_id).hex(),
        _id(link.span_id).hex(),
        link.trace_state or "",
        {pair.key: _value(pair.value, 0) for pair in link.attributes or ()},
    )
