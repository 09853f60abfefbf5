"""JSON bodies: one pass over bytes where all is usual; else a walk that finds every mistake.

The walk is the authority: it takes every spelling of the contract, and what the fast pass takes,
it takes to the same value. It goes over raw JSON, a level at a time, so that payloads keep each
digit. Where a request has nothing unusual it is never run.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
import msgspec.inspect as mi
from msgspec import Raw

from entrypoints.http.config import HttpConfig
from entrypoints.http.problems import KEY_SHOWN, Mistakes, Problem
from entrypoints.http.requests.json_depth import deepest, is_deeper
from entrypoints.http.requests.scalar_types import (
    DIGITS_MAX,
    NUL,
    Refused,
    Scalar,
    check_count,
    converted,
)
from entrypoints.http.requests.surrogates import LONE, LONE_ESCAPED, LONE_MESSAGE, marked
from entrypoints.http.requests.wire_types import NESTING_MAX, NULL, TOO_DEEP

DEEP: Final = "is nested too deeply"
UNKNOWN: Final = "is not known here"

_NUL_ESCAPED: Final = b"\\u0000"
_ANY: Final = msgspec.json.Decoder(Raw)
_MEMBERS: Final = msgspec.json.Decoder(dict[str, Raw])
_ITEMS: Final = msgspec.json.Decoder(list[Raw])
_STRING: Final = msgspec.json.Decoder(str)
_WORDS: Final[dict[bytes, Scalar]] = {b"null": None, b"true": True, b"false": False}
_REFUSED: Final[Any] = object()


class Body[B]:
    """How the body of a request becomes a `B`: JSON to the type `wire`, and that through `use`.

    `use` raises ValueError for what `wire` alone can't refuse; the walk has to refuse the same.
    `check` among the extras of a type, called with a value of it, raises Refused in the walk; a
    `__post_init__` has to call it for the fast pass. So it has to do with `across`, a class method
    that is given the fields of a struct but for those that were refused (NODEFAULT where one is
    missing), and gives name and message of each mistake that only shows when all are seen. Keys
    that a struct doesn't know are ignored, unless it forbids them.
    """

    def __init__(self, wire: Any, use: Callable[[Any, HttpConfig], B]) -> None:
        self.wire = wire
        self._use = use
        self._decoder = msgspec.json.Decoder(wire)
        self._kind = mi.type_info(wire)

    def read(self, data: bytes, config: HttpConfig, mistakes: Mistakes) -> B | None:
        """None where `mistakes` were found. Raises Problem where it isn't JSON in UTF-8."""
        if not data:
            mistakes.add("", "a body is required")
            return None
        if not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError as error:
                raise Problem(HTTPStatus.BAD_REQUEST, "The body is not UTF-8") from error
        return self.part(data, config, mistakes)

    def part(self, data: bytes, config: HttpConfig, mistakes: Mistakes) -> B | None:
        """As `read`, for a part of a body that was read."""
        try:
            return self.at_once(data, config)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return self.walked(data, config, mistakes)

    def at_once(self, data: bytes, config: HttpConfig) -> B:
        """The fast pass. Raises whatever is unusual, which need not be a mistake."""
        if _NUL_ESCAPED in data:
            raise ValueError(NUL)  # in some places it may be
        return self._use(self._decoder.decode(data), config)

    def walked(self, data: bytes, config: HttpConfig, mistakes: Mistakes) -> B | None:
        """The walk. None where `mistakes` were found. Raises Problem for what isn't JSON."""
        try:
            found = _parsed(data)
        except RecursionError:
            mistakes.add(_place(self._kind, data), DEEP)
            return None
        wire = _Walk(config, mistakes).value(memoryview(found), self._kind, "")
        if wire is _REFUSED:
            return None
        try:
            return self._use(wire, config)
        except ValueError as error:
            mistakes.add("", str(error))
            return None


def _parsed(data: bytes) -> Raw:
    """The one value of `data`, its lone surrogates marked. Raises Problem, RecursionError."""
    try:
        return _ANY.decode(data)
    except msgspec.DecodeError as error:
        try:
            return _ANY.decode(marked(data))
        except msgspec.DecodeError:
            raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}") from error


def _place(kind: mi.Type, data: bytes) -> str:
    """Where `data` is deepest, as far as `kind` knows the way."""
    path: list[str] = []
    for step in deepest(data):
        kind, _ = _stripped(kind)
        match kind, step:
            case mi.StructType(), str():
                known = next((one for one in kind.fields if one.encode_name == step), None)
                if known is None:
                    break
                kind = known.type
            case mi.ListType(), int():
                kind = kind.item_type
            case _:
                break
        path.append(str(step))
    return ".".join(path)


def _stripped(kind: mi.Type) -> tuple[mi.Type, dict[str, Any]]:
    """The type itself, and what its annotations say beside."""
    extra: dict[str, Any] = {}
    while isinstance(kind, mi.Metadata):
        extra |= kind.extra or {}
        kind = kind.type
    return kind, extra


class _Walk:
    def __init__(self, config: HttpConfig, mistakes: Mistakes) -> None:
        self.config = config
        self.mistakes = mistakes

    def refuse(self, path: str, message: str) -> Any:
        self.mistakes.add(path, message)
        return _REFUSED

    def value(self, text: memoryview, kind: mi.Type, path: str) -> Any:
        """`text`, one JSON value without blanks around it, as `kind`; _REFUSED after a mistake."""
        kind, extra = _stripped(kind)
        if isinstance(kind, mi.UnionType) and "scalar" not in extra:
            others = [one for one in kind.types if not isinstance(one, mi.NoneType)]
            if len(others) < len(kind.types) and _is_null(text):
                return None
            [only] = others  # a union of more than one type and null needs a reader of its own
            return self.value(text, only, path)
        try:
            return self._of_kind(text, kind, extra, path)
        except Refused as refused:
            return self.refuse(path, str(refused))
        except RecursionError:
            return self.refuse(path, DEEP)

    def _of_kind(self, text: memoryview, kind: mi.Type, extra: dict[str, Any], path: str) -> Any:
        match kind:
            case mi.StructType():
                return self._struct(text, kind, path)
            case mi.ListType() | mi.VarTupleType():
                return self._list(text, kind, extra, path)
            case mi.DictType():
                return self._dict(text, kind, path)
            case mi.RawType():
                return self._raw(text, extra, path)
            case _:
                found = converted(kind, extra, _scalar(text), is_word=False)
                if (check := extra.get("check")) is not None:
                    check(found)
                return found

    def _struct(self, text: memoryview, kind: mi.StructType, path: str) -> Any:
        members = _MEMBERS.decode(_opened(text, "{"))
        before = len(self.mistakes.found)
        values: dict[str, Any] = {}
        if kind.forbid_unknown_fields:
            self._refuse_others(members, kind, path)
        for field in kind.fields:
            at = f"{path}.{field.encode_name}" if path else field.encode_name
            member = members.get(field.encode_name)
            if member is not None:
                values[field.name] = self.value(memoryview(member), field.type, at)
            elif field.required:
                self.mistakes.add(at, "is required")
        if (across := getattr(kind.cls, "across", None)) is not None:
            read = {one.name: values.get(one.name, one.default) for one in kind.fields}
            for name, message in across({k: v for k, v in read.items() if v is not _REFUSED}):
                self.mistakes.add(f"{path}.{name}" if path else name, message)
        if len(self.mistakes.found) > before:
            return _REFUSED
        try:
            return kind.cls(**values)
        except ValueError as rule:  # a rule across fields, in `__post_init__`
            return self.refuse(path, str(rule))

    def _refuse_others(self, members: dict[str, Raw], kind: mi.StructType, path: str) -> None:
        for key in sorted(members.keys() - {field.encode_name for field in kind.fields}):
            shown = key.partition(LONE)[0][:KEY_SHOWN]
            self.mistakes.add(f"{path}.{shown}" if path else shown, UNKNOWN)

    def _list(
        self,
        text: memoryview,
        kind: mi.ListType | mi.VarTupleType,
        extra: dict[str, Any],
        path: str,
    ) -> Any:
        items = _ITEMS.decode(_opened(text, "["))
        setting = extra.get("max_items")
        most = None if setting is None else getattr(self.config, setting)
        check_count(kind, most, len(items))
        prefix = f"{path}." if path else ""
        found = [
            self.value(memoryview(item), kind.item_type, f"{prefix}{index}")
            for index, item in enumerate(items)
        ]
        if any(item is _REFUSED for item in found):
            return _REFUSED
        return tuple(found) if isinstance(kind, mi.VarTupleType) else found

    def _dict(self, text: memoryview, kind: mi.DictType, path: str) -> Any:
        """Keys may hold U+0000: what has free keys is kept as text."""
        members = _MEMBERS.decode(_opened(text, "{"))
        check_count(kind, None, len(members))
        found: dict[str, Any] = {}
        for key, member in members.items():
            if LONE in key:
                found[key] = self.refuse(path, LONE_MESSAGE)
                continue
            at = f"{path}.{key[:KEY_SHOWN]}" if path else key[:KEY_SHOWN]
            found[key] = self.value(memoryview(member), kind.value_type, at)
        return _REFUSED if any(one is _REFUSED for one in found.values()) else found

    def _raw(self, text: memoryview, extra: dict[str, Any], path: str) -> Any:
        sent = bytes(text)
        allowed = extra.get("payload", "any")
        if allowed == "deferred":
            return Raw(sent)
        if LONE_ESCAPED in sent:
            return self.refuse(path, LONE_MESSAGE)
        if allowed == "object" and not (extra.get("nullable") and sent == NULL):
            _opened(text, "{")
            if is_deeper(sent, NESTING_MAX):
                return self.refuse(path, TOO_DEEP)
        if not extra.get("nul", True) and _NUL_ESCAPED in sent.replace(b"\\\\", b""):
            return self.refuse(path, NUL)
        return Raw(sent)


def _opened(text: memoryview, bracket: str) -> memoryview:
    """`text`, which begins with `bracket`. Raises Refused."""
    if text[0] != ord(bracket):
        due = "an object" if bracket == "{" else "an array"
        raise Refused("must not be null" if _is_null(text) else f"must be {due}")
    return text


def _is_null(text: memoryview) -> bool:
    return bytes(text[:5]) == NULL


def _scalar(text: memoryview) -> Scalar:
    """Raises Refused for an object or array, and for lone surrogates."""
    first = text[0]
    if first == ord('"'):
        found = _STRING.decode(text)
        if LONE in found:
            raise Refused(LONE_MESSAGE)
        return found
    if first in b"[{":
        raise Refused("must be a single value, not an object or array")
    sent = bytes(text)
    if sent in _WORDS:
        return _WORDS[sent]
    is_whole = sent.lstrip(b"-").isdigit()
    # A number of more digits than any double has reads as infinite, and is refused for that.
    return int(sent) if is_whole and len(sent) <= DIGITS_MAX else float(sent)
