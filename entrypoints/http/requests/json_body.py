"""Parses JSON bodies: one fast pass over the bytes, and a walk that finds every error.

The fast pass decodes straight into the wire type. If it fails, the walk runs: it accepts every
spelling of the contract, and reports all errors at once. Every value that the fast pass accepts,
the walk accepts with the same result. The walk goes over raw JSON one level at a time, so that
payloads keep every digit.

Nothing interrupts a decoder, which would hold up the event loop also from a thread. Bodies of more
than STEPWISE_BYTES are therefore walked, in steps that don't take longer with their size: a list is
decoded up to its limit, an object member by member, and the fast pass runs over parts.
"""

import re
import secrets
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec
import msgspec.inspect as mi
from msgspec import UNSET, Raw, UnsetType

from application.concurrency import compute
from domain.errors import Invalid
from domain.tracing.payloads.json_scan import WINDOW_BYTES, has_more_arrays
from entrypoints.http.config import HttpConfig
from entrypoints.http.requests.body_io import JSON, is_json
from entrypoints.http.requests.errors import (
    ANY_KEY,
    KEY_SHOWN_CHARS,
    FieldErrors,
    HttpProblem,
    IgnoredFields,
    PostponedError,
)
from entrypoints.http.requests.json_depth import without_deep_values
from entrypoints.http.requests.json_members import members_one_by_one
from entrypoints.http.requests.scalar_types import (
    DIGITS_MAX,
    NUL_MESSAGE,
    InvalidValue,
    Scalar,
    check_count,
    convert_scalar,
)
from entrypoints.http.requests.unknown_names import (
    UNKNOWN_KEY,
    UnknownKeys,
    describe_unknown,
    is_unknown_key,
    loose_structs,
    shown_key,
    without_unknown_keys,
)
from entrypoints.http.requests.wire_types import NULL, check_object_size

STEPWISE_BYTES: Final = 256 << 10  # decoding a smaller text takes 10 ms at most

# Skipping an array takes a decoder twice as long as anything else of its length: 4 ms a mebibyte.
ARRAYS_COUNTED_BYTES: Final = 11 << 20  # of a body
ARRAYS_MAX: Final = 1_500_000
TOO_MANY_ARRAYS: Final = f"must not contain more than {ARRAYS_MAX:,} arrays"

# Stored data has 6,000 levels at most, without those of the body. The decoder stops later: at
# 10,000 in Python 3.13, where the stack ends in 3.14; 3.12.1 stops at 1,498 already.
LEVELS_MAX: Final = 6_100
NESTED_TOO_DEEPLY: Final = "is nested too deeply"
LONE_MESSAGE: Final = "must not contain a lone surrogate"

# Replaces a lone surrogate, an escape that JSON allows and that no text can contain. It begins with
# U+0000, which readers look for anyway; the rest can't be guessed. A body may have millions of it.
LONE: Final = f"\0{secrets.token_urlsafe(4)}"
LONE_ESCAPED: Final = LONE.replace("\0", "\\u0000").encode()

# Replaces what is nested too deeply, in the same way.
_DEEP_ESCAPED: Final = rb"\u0000" + secrets.token_urlsafe(4).encode()

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE: Final = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_PAIR: Final = re.compile(_HIGH + _LOW)
_ESCAPE_BYTES: Final = 6
_WHOLE_ESCAPES: Final = re.compile(rb"(?:[^\\]|\\u[0-9a-fA-F]{4}|\\[^u])++")
_REPLACEMENT: Final = LONE_ESCAPED.replace(b"\\", rb"\\")
_BACKSLASH: Final = rb"\\"
_PLACEHOLDER: Final = b"\0\0"  # can't occur in JSON, which escapes control characters

_NUL_ESCAPED: Final = b"\\u0000"
_ANY: Final = msgspec.json.Decoder(Raw)
_MEMBERS: Final = msgspec.json.Decoder(dict[str, Raw])
_ITEMS: Final = msgspec.json.Decoder(list[Raw])
_STRING: Final = msgspec.json.Decoder(str)
_LITERALS: Final[dict[bytes, Scalar]] = {b"null": None, b"true": True, b"false": False}
_INVALID: Final[Any] = object()


class Body[B]:
    """How the body of a request becomes a `B`: JSON to the type `wire`, and that by `convert`.

    `convert` raises ValueError for values that `wire` alone can't refuse; the walk has to refuse
    the same values.

    Two hooks of wire types are called by both passes. `check` in the `extra` of a type is called
    with a value of that type and raises InvalidValue. `field_errors`, a class method of a struct,
    is called with the fields that have no error (NODEFAULT for a missing one) and yields the
    errors that depend on several fields. Both may postpone an error, see `FieldErrors`; the fast
    pass leaves such a body to the walk. `check_payload` in the `extra` of a
    payload is called by the walk alone: `convert` checks the payload in the fast pass.

    Keys that no struct has are refused, or ignored as `unknown_keys` says. The structs forbid them
    nevertheless, so that bodies without such keys cost nothing more.
    """

    media_types: ClassVar = (JSON,)

    def __init__(
        self,
        wire: Any,
        convert: Callable[[Any, HttpConfig], B],
        stepwise_bytes: int = STEPWISE_BYTES,
        unknown_keys: UnknownKeys = UnknownKeys.REFUSED,
    ) -> None:
        """Raises TypeError for a type that would ignore keys without a report."""
        self.wire = wire
        self.unknown_keys = unknown_keys
        self._stepwise_bytes = stepwise_bytes
        self._convert = convert
        self._decoder = msgspec.json.Decoder(wire)
        self._type = mi.type_info(wire)
        self._call_hooks = _hooks_of(self._type)
        if unknown_keys is not UnknownKeys.IGNORED and (loose := loose_structs(self._type)):
            raise TypeError(f"{', '.join(sorted(loose))} must have forbid_unknown_fields")

    @staticmethod
    def accepts(content_type: str | None) -> bool:
        return is_json(content_type)

    def parse(self, data: bytes, config: HttpConfig, errors: FieldErrors) -> B | None:
        """None after `errors` were added. Raises HttpProblem if it isn't JSON in UTF-8.

        `errors` also gets the ignored keys.
        """
        if not data:
            errors.add("", "a body is required")
            return None
        if not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError as error:
                raise HttpProblem(HTTPStatus.BAD_REQUEST, "The body is not UTF-8") from error
        return self.parse_part(data, config, errors)

    def parse_part(self, data: bytes, config: HttpConfig, errors: FieldErrors) -> B | None:
        """As `parse`, for a part of a body that was checked to be UTF-8."""
        if len(data) > self._stepwise_bytes:
            return self.walk(data, config, errors)
        try:
            return self.parse_fast(data, config)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            if self.unknown_keys is UnknownKeys.REPORTED and is_unknown_key(error):
                return self._parse_without_unknown(data, config, errors)
            return self.walk(data, config, errors)

    def _parse_without_unknown(
        self, data: bytes, config: HttpConfig, errors: FieldErrors
    ) -> B | None:
        """As `parse_part`. Removing the keys first is faster than the walk."""
        ignored = IgnoredFields()
        try:
            parsed = self.parse_fast(bytes(without_unknown_keys(data, self._type, ignored)), config)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return self.walk(data, config, errors)
        errors.ignored.extend(ignored)
        return parsed

    def parse_item(
        self, data: bytes, config: HttpConfig, ignored: IgnoredFields | None = None, path: str = ""
    ) -> B | Invalid:
        """As `parse_part`, for an item of a batch that is accepted or rejected by itself.

        `ignored` gets the ignored keys; `path` is that of the item.
        """
        errors = FieldErrors()
        try:
            item = self.parse_part(data, config, errors)
            errors.check()
        except Invalid as invalid:
            return invalid
        assert item is not None
        if ignored is not None:
            ignored.extend(errors.ignored, f"{path}.")
        return item

    async def parse_items(self, items: Sequence[bytes], config: HttpConfig) -> list[B | Invalid]:
        """As `parse_item`, for all items; in a thread if they are large together."""
        is_long = sum(map(len, items)) > STEPWISE_BYTES
        return await compute(
            lambda: [self.parse_item(item, config) for item in items], is_long=is_long
        )

    def parse_fast(self, data: bytes, config: HttpConfig) -> B:
        """The fast pass. It raises for everything unusual, which need not be an error."""
        if _NUL_ESCAPED in data:
            raise ValueError(NUL_MESSAGE)  # some payloads may contain it
        value = self._decoder.decode(data)
        if self._call_hooks is not None:
            self._call_hooks(value)
        return self._convert(value, config)

    def walk(self, data: bytes, config: HttpConfig, errors: FieldErrors) -> B | None:
        """The walk. None after `errors` were added. Raises HttpProblem if it isn't JSON."""
        if len(data) > ARRAYS_COUNTED_BYTES and has_more_arrays(data, ARRAYS_MAX):
            errors.add("", TOO_MANY_ARRAYS)
            return None
        try:
            value = _parse_value(data)
        except RecursionError:
            errors.add("", NESTED_TOO_DEEPLY)
            return None
        found = FieldErrors()
        read = _Walk(config, found, self._stepwise_bytes, self.unknown_keys)
        wire = read.value(memoryview(value), self._type, "")
        message = ""
        if wire is not _INVALID:
            try:
                parsed = self._convert(wire, config)
            except ValueError as error:
                message = str(error)
            else:
                errors.ignored.extend(found.ignored)
                errors.postponed.extend(found.postponed)
                return parsed
        # The fast pass over a part doesn't name all errors, but the walk does.
        walk = _Walk(config, errors, self._stepwise_bytes, self.unknown_keys, decodes_parts=False)
        if walk.value(memoryview(value), self._type, "") is not _INVALID:
            errors.add("", message)
        return None


def _hooks_of(wire_type: mi.Type) -> Callable[[Any], object] | None:
    """Calls the hooks of a type and of all types inside it; raises ValueError at the first error.

    None if there are no hooks.
    """
    wire_type, extra = _unwrap(wire_type)
    match wire_type:
        case mi.StructType():
            return _hooks_of_struct(wire_type)
        case mi.UnionType() if "scalar" not in extra:
            [only] = [option for option in wire_type.types if not isinstance(option, mi.NoneType)]
            return _hooks_of(only)
        case mi.ListType() | mi.VarTupleType():
            if (each_item := _hooks_of(wire_type.item_type)) is not None:
                return lambda items: [each_item(item) for item in items]
        case mi.DictType():
            if (each_member := _hooks_of(wire_type.value_type)) is not None:
                return lambda members: [each_member(member) for member in members.values()]
    check: Callable[[Any], object] | None = extra.get("check")
    return check


def _hooks_of_struct(wire_type: mi.StructType) -> Callable[[Any], object] | None:
    hooks = {field.name: _hooks_of(field.type) for field in wire_type.fields}
    by_field = [(name, call) for name, call in hooks.items() if call is not None]
    field_errors = getattr(wire_type.cls, "field_errors", None)
    if not by_field and field_errors is None:
        return None

    def call_hooks(struct: msgspec.Struct) -> None:
        for name, call in by_field:
            if (value := getattr(struct, name)) is not None and value is not UNSET:
                call(value)
        if field_errors is not None:
            for error in field_errors(msgspec.structs.asdict(struct)):
                raise ValueError(error.message)

    return call_hooks


def _parse_value(data: bytes) -> Raw:
    """The JSON value, with lone surrogates and deep nesting marked.

    Raises HttpProblem, and RecursionError where the nesting can't be marked.
    """
    try:
        return _parse_shallow(data)
    except RecursionError:
        shallow = without_deep_values(data, LEVELS_MAX, b'"%b"' % _DEEP_ESCAPED)
        if shallow is None:
            raise
        return _parse_shallow(shallow)


def _parse_shallow(data: bytes) -> Raw:
    """The JSON value, with lone surrogates marked. Raises HttpProblem, RecursionError."""
    try:
        return _ANY.decode(data)
    except msgspec.DecodeError as error:
        marked = mark_lone_surrogates(data)
        try:
            return _ANY.decode(marked)
        except msgspec.DecodeError:
            reason = "it begins with a byte order mark" if data.startswith(BOM_UTF8) else error
            raise HttpProblem(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {reason}") from error


def mark_lone_surrogates(text: bytes) -> bytes:
    """JSON with LONE in place of each lone surrogate, so that the rest of it can be parsed."""
    if b"\0" in text:
        return text  # not JSON, and the replacements below must not turn it into JSON
    return b"".join(map(_marked, _windows(text)))


def _marked(window: bytes) -> bytes:
    # Escaped backslashes are replaced first, so that each remaining backslash begins an escape.
    without = window.replace(_BACKSLASH, _PLACEHOLDER)
    return _LONE.sub(_REPLACEMENT, without).replace(_PLACEHOLDER, _BACKSLASH)


def _windows(text: bytes) -> Iterator[bytes]:
    """The text in parts that split no escape, and no pair of surrogates."""
    start = 0
    while start < len(text):
        match = _WHOLE_ESCAPES.match(text, start, start + WINDOW_BYTES)
        end = start + WINDOW_BYTES if match is None else match.end()
        if _PAIR.match(text, end - _ESCAPE_BYTES):
            end += _ESCAPE_BYTES
        yield text[start:end]
        start = end


def _has_nul(text: bytes) -> bool:
    if _NUL_ESCAPED not in text:
        return False
    return any(_NUL_ESCAPED in part.replace(_BACKSLASH, b"") for part in _windows(text))


def _unwrap(wire_type: mi.Type) -> tuple[mi.Type, dict[str, Any]]:
    """The type without its annotations, and their `extra`."""
    extra: dict[str, Any] = {}
    while isinstance(wire_type, mi.Metadata):
        extra |= wire_type.extra or {}
        wire_type = wire_type.type
    return wire_type, extra


@lru_cache
def _part_decoder(wire: type[Any]) -> tuple[msgspec.json.Decoder[Any], Callable[[Any], object]]:
    """The fast pass for a struct within a body: its decoder, and its hooks."""
    return msgspec.json.Decoder(wire), _hooks_of(mi.type_info(wire)) or (lambda _: None)


@lru_cache
def _items_decoder(count: int) -> msgspec.json.Decoder[Any]:
    """Decodes the first raw items of an array, and skips the others."""
    fields: Any = [(f"_{n}", Raw | UnsetType, UNSET) for n in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("Items", fields, array_like=True))


def _first_items(text: memoryview, count: int) -> list[Raw]:
    items = msgspec.structs.astuple(_items_decoder(count).decode(text))
    return [item for item in items if item is not UNSET]


class _Walk:
    def __init__(
        self,
        config: HttpConfig,
        errors: FieldErrors,
        stepwise_bytes: int,
        unknown_keys: UnknownKeys,
        *,
        decodes_parts: bool = True,
    ) -> None:
        self.config = config
        self.errors = errors
        self._stepwise_bytes = stepwise_bytes
        self._unknown_keys = unknown_keys
        self._decodes_parts = decodes_parts

    def refuse(self, path: str, message: str, *, is_semantic: bool = False) -> Any:
        self.errors.add(path, message, is_semantic=is_semantic)
        return _INVALID

    def _item(self, text: memoryview, wire_type: mi.Type, path: str) -> Any:
        """As `value`: by the fast pass if nothing about the item is unusual."""
        bare, _ = _unwrap(wire_type)
        if isinstance(bare, mi.StructType) and len(text) <= self._stepwise_bytes:
            data = bytes(text)
            try:
                if _NUL_ESCAPED not in data:
                    return self._decoded(data, bare, path)
            except (msgspec.DecodeError, ValueError, RecursionError):
                pass  # the walk names the error, or accepts an unusual spelling
        return self.value(text, wire_type, path)

    def _decoded(self, data: bytes, wire_type: mi.StructType, path: str) -> Any:
        """The item by the fast pass, which raises for everything unusual."""
        decoder, call_hooks = _part_decoder(wire_type.cls)
        ignored = IgnoredFields()
        try:
            item = decoder.decode(data)
        except msgspec.ValidationError as error:
            if self._unknown_keys is not UnknownKeys.REPORTED or not is_unknown_key(error):
                raise
            item = decoder.decode(without_unknown_keys(data, wire_type, ignored, path))
        call_hooks(item)
        self.errors.ignored.extend(ignored)
        return item

    def value(self, text: memoryview, wire_type: mi.Type, path: str) -> Any:
        """`text`, one JSON value without blanks around it, as `wire_type`; _INVALID on an error."""
        wire_type, extra = _unwrap(wire_type)
        if isinstance(wire_type, mi.UnionType) and "scalar" not in extra:
            others = [option for option in wire_type.types if not isinstance(option, mi.NoneType)]
            if len(others) < len(wire_type.types) and _is_null(text):
                return None
            [only] = others  # a union of several types and null would need a reader of its own
            return self.value(text, only, path)
        try:
            return self._typed_value(text, wire_type, extra, path)
        except InvalidValue as error:
            return self.refuse(path, str(error), is_semantic=error.is_semantic)
        except RecursionError:
            return self.refuse(path, NESTED_TOO_DEEPLY)

    def _typed_value(
        self, text: memoryview, wire_type: mi.Type, extra: dict[str, Any], path: str
    ) -> Any:
        match wire_type:
            case mi.StructType():
                return self._struct(text, wire_type, path)
            case mi.ListType() | mi.VarTupleType():
                return self._list(text, wire_type, extra, path)
            case mi.DictType():
                return self._dict(text, wire_type, path)
            case mi.RawType():
                return self._raw(text, extra, path)
            case _:
                value = convert_scalar(wire_type, extra, _scalar(text), from_text=False)
                if (check := extra.get("check")) is not None:
                    self._check(check, value, path)
                return value

    def _check(self, check: Callable[[Any], object], value: object, path: str) -> None:
        try:
            check(value)
        except InvalidValue as error:
            if not error.is_postponed:
                raise
            self.errors.postpone(path, str(error), is_semantic=error.is_semantic)

    def _struct(self, text: memoryview, wire_type: mi.StructType, path: str) -> Any:
        errors_before = len(self.errors.found)
        members = self._members(_require_bracket(text, "{"), wire_type, path)
        values: dict[str, Any] = {}
        for field in wire_type.fields:
            at = f"{path}.{field.encode_name}" if path else field.encode_name
            member = members.get(field.encode_name)
            if member is not None:
                values[field.name] = self.value(memoryview(member), field.type, at)
            elif field.required:
                self.errors.add(at, "is required")
        if (field_errors := getattr(wire_type.cls, "field_errors", None)) is not None:
            all_values = {f.name: values.get(f.name, f.default) for f in wire_type.fields}
            valid = {name: value for name, value in all_values.items() if value is not _INVALID}
            for error in field_errors(valid):
                at = f"{path}.{error.field}" if path else error.field
                is_postponed = isinstance(error, PostponedError)
                add = self.errors.postpone if is_postponed else self.errors.add
                add(at, error.message, is_semantic=error.is_semantic)
        if len(self.errors.found) > errors_before:
            return _INVALID
        return wire_type.cls(**values)

    def _members(self, text: memoryview, wire_type: mi.StructType, path: str) -> Mapping[str, Raw]:
        is_large = len(text) > self._stepwise_bytes
        members = members_one_by_one(text) if is_large else _MEMBERS.decode(text)
        if self._unknown_keys is not UnknownKeys.IGNORED:
            self._report_unknown_keys(members, wire_type, path)
        return members

    def _report_unknown_keys(
        self, members: Mapping[str, Raw], wire_type: mi.StructType, path: str
    ) -> None:
        known = [field.encode_name for field in wire_type.fields]
        for key in sorted(members.keys() - set(known)):
            shown = shown_key(key.partition(LONE)[0])
            at = f"{path}.{shown}" if path else shown
            if self._unknown_keys is UnknownKeys.REPORTED:
                self.errors.ignored.add(at)
            else:
                message = describe_unknown(UNKNOWN_KEY, shown, known, self.errors)
                kept = f"{path}.{ANY_KEY}" if path else ANY_KEY
                self.errors.add(at, message, is_semantic=True, kept_field=kept)

    def _list(
        self,
        text: memoryview,
        wire_type: mi.ListType | mi.VarTupleType,
        extra: dict[str, Any],
        path: str,
    ) -> Any:
        _require_bracket(text, "[")
        setting = extra.get("max_items")
        items_max = None if setting is None else getattr(self.config, setting)
        is_large = len(text) > self._stepwise_bytes
        most = items_max or wire_type.max_length
        items = _first_items(text, most + 1) if is_large and most else _ITEMS.decode(text)
        check_count(wire_type, items_max, len(items))
        prefix = f"{path}." if path else ""
        read = self._item if is_large and self._decodes_parts else self.value
        values = [
            read(memoryview(item), wire_type.item_type, f"{prefix}{index}")
            for index, item in enumerate(items)
        ]
        if any(value is _INVALID for value in values):
            return _INVALID
        return tuple(values) if isinstance(wire_type, mi.VarTupleType) else values

    def _dict(self, text: memoryview, wire_type: mi.DictType, path: str) -> Any:
        """Keys may contain U+0000: objects with free keys are stored as text."""
        _require_bracket(text, "{")
        if len(text) > self._stepwise_bytes:
            check_object_size(bytes(text))
        members = _MEMBERS.decode(text)
        check_count(wire_type, None, len(members))
        values: dict[str, Any] = {}
        for key, member in members.items():
            if LONE in key:
                values[key] = self.refuse(path, LONE_MESSAGE)
                continue
            at = f"{path}.{key[:KEY_SHOWN_CHARS]}" if path else key[:KEY_SHOWN_CHARS]
            with self.errors.below_chosen_key(at, f"{path}.{ANY_KEY}" if path else ANY_KEY):
                values[key] = self.value(memoryview(member), wire_type.value_type, at)
        return _INVALID if any(value is _INVALID for value in values.values()) else values

    def _raw(self, text: memoryview, extra: dict[str, Any], path: str) -> Any:
        sent = bytes(text)
        allowed = extra.get("payload", "any")
        if allowed == "deferred":
            return Raw(sent)
        if LONE_ESCAPED in sent:
            return self.refuse(path, LONE_MESSAGE)
        if _DEEP_ESCAPED in sent:
            return self.refuse(path, NESTED_TOO_DEEPLY)
        if allowed == "object" and not (extra.get("nullable") and sent == NULL):
            _require_bracket(text, "{")
            check_object_size(sent)
            if (check := extra.get("check_payload")) is not None:
                check(sent)
        if not extra.get("nul", True) and _has_nul(sent):
            return self.refuse(path, NUL_MESSAGE)
        return Raw(sent)


def _require_bracket(text: memoryview, bracket: str) -> memoryview:
    """`text`, if it begins with `bracket`. Raises InvalidValue."""
    if text[0] != ord(bracket):
        expected = "an object" if bracket == "{" else "an array"
        raise InvalidValue("must not be null" if _is_null(text) else f"must be {expected}")
    return text


def _is_null(text: memoryview) -> bool:
    return bytes(text[:5]) == NULL


def _scalar(text: memoryview) -> Scalar:
    """Raises InvalidValue for an object or array, and for lone surrogates."""
    first = text[0]
    if first == ord('"'):
        string = _STRING.decode(text)
        if LONE in string:
            raise InvalidValue(LONE_MESSAGE)
        return string
    if first in b"[{":
        raise InvalidValue("must be a single value, not an object or array")
    sent = bytes(text)
    if sent in _LITERALS:
        return _LITERALS[sent]
    is_integer = sent.lstrip(b"-").isdigit()
    # A number with more digits than any double is read as infinite, and refused for that.
    return int(sent) if is_integer and len(sent) <= DIGITS_MAX else float(sent)
