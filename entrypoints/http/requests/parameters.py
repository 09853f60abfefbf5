"""Strings of a path or a query as a Struct."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import msgspec.inspect as mi

from entrypoints.http.problems import KEY_SHOWN, Mistakes
from entrypoints.http.requests.scalar_types import Refused, check_count, converted

FIELDS_MAX: Final = 1000  # of a query; more than that is no question


class Words[T: msgspec.Struct]:
    """How strings become a `T`; `place` is `path` or `query` and begins the path of a mistake.

    A field that is a dict takes every word whose name begins with its own and a dot. `check` among
    the extras of a type is called with a value, and raises Refused.
    """

    def __init__(self, wire: type[T], place: str) -> None:
        self.wire = wire
        self.place = place
        self._fields = [(field, *_stripped(field.type)) for field in _fields_of(mi.type_info(wire))]

    def read(self, given: Mapping[str, Sequence[str]], mistakes: Mistakes) -> T | None:
        """Of a word given more than once the last counts, but for lists. None after mistakes."""
        values: dict[str, Any] = {}
        is_whole = True
        for field, kind, extra in self._fields:
            if isinstance(kind, mi.DictType):
                found = self._keyed(given, f"{field.encode_name}.", kind, mistakes)
                is_whole = is_whole and found is not None
                values[field.name] = found
                continue
            words = given.get(field.encode_name)
            path = f"{self.place}.{field.encode_name}"
            if not words:
                if field.required:
                    mistakes.add(path, "is required")
                    is_whole = False
                continue
            try:
                values[field.name] = _value(kind, extra, words)
            except Refused as refused:
                mistakes.add(path, str(refused))
                is_whole = False
        return self.wire(**values) if is_whole else None

    def _keyed(
        self,
        given: Mapping[str, Sequence[str]],
        prefix: str,
        kind: mi.DictType,
        mistakes: Mistakes,
    ) -> dict[str, Any] | None:
        """The words whose names begin with `prefix`, by the rest of their names."""
        found: dict[str, Any] = {}
        before = len(mistakes.found)
        whole = f"{self.place}.{prefix[:-1]}"
        key_kind, value_kind = _stripped(kind.key_type), _stripped(kind.value_type)
        for name, words in given.items():
            if not name.startswith(prefix):
                continue
            key = name[len(prefix) :]
            try:
                _word(*key_kind, key)
            except Refused as refused:
                mistakes.add(whole, f"a key {refused}")
                continue
            try:
                found[key] = _value(*value_kind, words)
            except Refused as refused:
                mistakes.add(f"{whole}.{key[:KEY_SHOWN]}", str(refused))
        try:
            check_count(kind, None, len(found))
        except Refused as refused:
            mistakes.add(whole, str(refused))
        return found if len(mistakes.found) == before else None


def _fields_of(kind: mi.Type) -> Sequence[mi.Field]:
    if not isinstance(kind, mi.StructType):
        raise TypeError(f"{kind} is no Struct")
    return kind.fields


def _stripped(kind: mi.Type) -> tuple[mi.Type, dict[str, Any]]:
    """The type itself, never null: a word can't be."""
    extra: dict[str, Any] = {}
    while True:
        if isinstance(kind, mi.Metadata):
            extra |= kind.extra or {}
            kind = kind.type
        elif isinstance(kind, mi.UnionType) and "scalar" not in extra:
            [kind] = [one for one in kind.types if not isinstance(one, mi.NoneType)]
        else:
            return kind, extra


def _value(kind: mi.Type, extra: Mapping[str, Any], words: Sequence[str]) -> object:
    if isinstance(kind, mi.ListType | mi.VarTupleType):
        check_count(kind, None, len(words))
        item, item_extra = _stripped(kind.item_type)
        found = [_word(item, item_extra, word) for word in words]
        return tuple(found) if isinstance(kind, mi.VarTupleType) else found
    return _word(kind, extra, words[-1])


def _word(kind: mi.Type, extra: Mapping[str, Any], word: str) -> object:
    if not word.isascii():
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise Refused("must be UTF-8") from error
    found = converted(kind, extra, word, is_word=True)
    if (check := extra.get("check")) is not None:
        check(found)
    return found


def query_words(query: bytes, mistakes: Mistakes) -> dict[str, list[str]]:
    """Each name of a query string with its values; what isn't UTF-8 is kept as lone surrogates."""
    found: dict[str, list[str]] = {}
    if not query:
        return found
    try:
        pairs = parse_qsl(
            query.decode("latin-1"),
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        mistakes.add("query", f"must hold at most {FIELDS_MAX} parameters")
        return found
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
