"""Parses the strings of a path or a query into a Struct."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import msgspec
import msgspec.inspect as mi

from domain.errors import FieldError
from entrypoints.http.requests.errors import ANY_KEY, KEY_SHOWN_CHARS, FieldErrors
from entrypoints.http.requests.scalar_types import InvalidValue, check_count, convert_scalar
from entrypoints.http.requests.unknown_names import (
    UNKNOWN_PARAMETER,
    describe_unknown,
    shown_key,
)

QUERY_FIELDS_MAX: Final = 1000


class Parameters[T: msgspec.Struct]:
    """How strings become a `T`. `location` is `path` or `query`, the first step of an error's path.

    A field that is a dict takes every parameter whose name begins with its own name and a dot.
    Parameters that no field takes are errors.
    `check` in the `extra` of a type is called with a value, and raises InvalidValue.
    `field_errors`, a class method, is called with the fields that have no error, and yields the
    errors that depend on several fields.
    """

    def __init__(self, wire: type[T], location: str) -> None:
        self.wire = wire
        self.location = location
        fields = cast("mi.StructType", mi.type_info(wire)).fields
        self._fields = [(field, *_unwrap(field.type)) for field in fields]
        keyed = [one.encode_name for one, kind, _ in self._fields if isinstance(kind, mi.DictType)]
        self._prefixes = tuple(f"{name}." for name in keyed)
        self._names = {field.encode_name for field in fields} - set(keyed)
        self._suggested = sorted(self._names | {f"{name}.<key>" for name in keyed})
        self._defaults = {field.name: field.default for field in fields if not field.required}
        self._field_errors: Callable[[Mapping[str, Any]], Iterable[FieldError]] | None = getattr(
            wire, "field_errors", None
        )

    def parse(self, given: Mapping[str, Sequence[str]], errors: FieldErrors) -> T | None:
        """None after `errors` were added.

        If a parameter is given more than once, the last value counts, except for lists.
        """
        values: dict[str, Any] = {}
        wrong: set[str] = set()
        errors_before = len(errors.found)
        for field, wire_type, extra in self._fields:
            if isinstance(wire_type, mi.DictType):
                keyed = self._parse_dict(given, f"{field.encode_name}.", wire_type, errors)
                if keyed is None:
                    wrong.add(field.name)
                else:
                    values[field.name] = keyed
                continue
            texts = given.get(field.encode_name)
            path = f"{self.location}.{field.encode_name}"
            if not texts:
                if field.required:
                    errors.add(path, "is required")
                continue
            try:
                values[field.name] = _parse_texts(wire_type, extra, texts)
            except InvalidValue as error:
                errors.add(path, str(error), is_semantic=error.is_semantic)
                wrong.add(field.name)
        self._refuse_unknown(given, errors)
        if self._field_errors is not None:
            valid = self._defaults | values
            for name in wrong:
                valid.pop(name, None)
            for one in self._field_errors(valid):
                errors.add(f"{self.location}.{one.field}", one.message, is_semantic=one.is_semantic)
        return self.wire(**values) if len(errors.found) == errors_before else None

    def _refuse_unknown(self, given: Mapping[str, Sequence[str]], errors: FieldErrors) -> None:
        """Adds an error for each unknown parameter. Routes know those of paths."""
        if self.location != "query":
            return
        unknown = sorted(
            name for name in given.keys() - self._names if not name.startswith(self._prefixes)
        )
        for name in unknown:
            shown = shown_key(name)
            message = describe_unknown(UNKNOWN_PARAMETER, shown, self._suggested, errors)
            kept = f"{self.location}.{ANY_KEY}"
            errors.add(f"{self.location}.{shown}", message, is_semantic=True, kept_field=kept)

    def _parse_dict(
        self,
        given: Mapping[str, Sequence[str]],
        prefix: str,
        wire_type: mi.DictType,
        errors: FieldErrors,
    ) -> dict[str, Any] | None:
        """The parameters whose names begin with `prefix`, by the rest of their names."""
        values: dict[str, Any] = {}
        errors_before = len(errors.found)
        path = f"{self.location}.{prefix[:-1]}"
        key_type, value_type = _unwrap(wire_type.key_type), _unwrap(wire_type.value_type)
        for name, texts in given.items():
            if not name.startswith(prefix):
                continue
            key = name[len(prefix) :]
            try:
                _parse_text(*key_type, key)
            except InvalidValue as error:
                errors.add(path, f"a key {error}")
                continue
            try:
                values[key] = _parse_texts(*value_type, texts)
            except InvalidValue as error:
                shown = key[:KEY_SHOWN_CHARS]
                errors.add(f"{path}.{shown}", str(error), kept_field=f"{path}.{ANY_KEY}")
        try:
            check_count(wire_type, None, len(values))
        except InvalidValue as error:
            errors.add(path, str(error))
        return values if len(errors.found) == errors_before else None


def _unwrap(wire_type: mi.Type) -> tuple[mi.Type, dict[str, Any]]:
    """The type without annotations and null, which text can't express, and their `extra`."""
    extra: dict[str, Any] = {}
    while True:
        if isinstance(wire_type, mi.Metadata):
            extra |= wire_type.extra or {}
            wire_type = wire_type.type
        elif isinstance(wire_type, mi.UnionType) and "scalar" not in extra:
            [wire_type] = [one for one in wire_type.types if not isinstance(one, mi.NoneType)]
        else:
            return wire_type, extra


def _parse_texts(wire_type: mi.Type, extra: Mapping[str, Any], texts: Sequence[str]) -> object:
    if isinstance(wire_type, mi.ListType | mi.VarTupleType):
        check_count(wire_type, None, len(texts))
        item_type, item_extra = _unwrap(wire_type.item_type)
        items = [_parse_text(item_type, item_extra, text) for text in texts]
        return tuple(items) if isinstance(wire_type, mi.VarTupleType) else items
    return _parse_text(wire_type, extra, texts[-1])


def _parse_text(wire_type: mi.Type, extra: Mapping[str, Any], text: str) -> object:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidValue("must be UTF-8") from error
    value = convert_scalar(wire_type, extra, text, from_text=True)
    if (check := extra.get("check")) is not None:
        check(value)
    return value


def parse_query(query: bytes, errors: FieldErrors) -> dict[str, list[str]]:
    """The values of each name of a query string. Bytes that aren't UTF-8 become lone surrogates."""
    values: dict[str, list[str]] = {}
    if not query:
        return values
    try:
        pairs = parse_qsl(
            query.decode("latin-1"),
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:
        errors.add("query", f"must contain at most {QUERY_FIELDS_MAX} parameters")
        return values
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values
