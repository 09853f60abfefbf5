"""Names in a request that the service doesn't know: refused, or ignored and counted."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum, auto
from typing import Final

import msgspec
import msgspec.inspect as mi
from msgspec import Raw

from entrypoints.http.requests.errors import KEY_SHOWN_CHARS, FieldErrors, IgnoredFields

UNKNOWN_KEY: Final = "is not a known key"
UNKNOWN_PARAMETER: Final = "is not a known parameter"
SUGGESTED_CHARS_MAX: Final = 40  # comparing longer names takes too long, and no known one is longer
SUGGESTIONS_MAX: Final = 10  # of one request: each takes up to 0.7 ms of the event loop
SIMILARITY_MIN: Final = 0.5  # `max_cost` and `max_cost_usd` have 0.8

_MEMBERS: Final = msgspec.json.Decoder(dict[str, Raw])
_ITEMS: Final = msgspec.json.Decoder(list[Raw])


class UnknownKeys(Enum):
    """The treatment of keys of a body that its type doesn't have."""

    REFUSED = auto()
    REPORTED = auto()  # ignored and counted, in bodies that newer clients may send
    IGNORED = auto()  # of exported lines, which also contain computed values


def describe_unknown(message: str, name: str, known: Iterable[str], errors: FieldErrors) -> str:
    """`message`, and the known name that is most similar to `name`, if one is similar.

    The case of letters makes no difference between names. Without a suggestion after
    SUGGESTIONS_MAX `errors` of the request.
    """
    if len(name) > SUGGESTED_CHARS_MAX or len(errors.found) >= SUGGESTIONS_MAX:
        return message
    by_folded = {one.casefold(): one for one in known}
    nearest = get_close_matches(name.casefold(), by_folded, 1, SIMILARITY_MIN)
    return f"{message}; did you mean {by_folded[nearest[0]]}?" if nearest else message


def shown_key(key: str) -> str:
    """A key that the caller chose, as the path of an error contains it."""
    return key[:KEY_SHOWN_CHARS].encode(errors="replace").decode()


def is_unknown_key(error: Exception) -> bool:
    """Whether the decoder stopped at a key that the type doesn't have."""
    return isinstance(error, msgspec.ValidationError) and "unknown field" in str(error)


def without_unknown_keys(
    text: bytes | Raw, wire_type: mi.Type, ignored: IgnoredFields, path: str = ""
) -> bytes | Raw:
    """The JSON without the keys that `wire_type` doesn't have, whose paths `ignored` gets.

    Raises DecodeError if the text doesn't have the form of the type.
    """
    match _unwrapped(wire_type):
        case mi.StructType(fields=fields):
            members = _MEMBERS.decode(text)
            for key in sorted(members.keys() - {one.encode_name for one in fields}):
                ignored.add(_joined(path, shown_key(key)))
                del members[key]
            for one in fields:
                member = members.get(one.encode_name)
                if member is not None and _has_structs(one.type) and bytes(member) != b"null":
                    at = _joined(path, one.encode_name)
                    members[one.encode_name] = Raw(
                        without_unknown_keys(member, one.type, ignored, at)
                    )
            return msgspec.json.encode(members)
        case mi.ListType(item_type=item_type) if _has_structs(item_type):
            items = enumerate(_ITEMS.decode(text))
            return msgspec.json.encode(
                [
                    Raw(without_unknown_keys(item, item_type, ignored, _joined(path, str(index))))
                    for index, item in items
                ]
            )
        case _:
            return text


def loose_structs(wire_type: mi.Type) -> set[str]:
    """The names of the structs inside a type that ignore unknown keys."""
    match _unwrapped(wire_type):
        case mi.StructType(cls=cls, fields=fields, forbid_unknown_fields=forbids):
            inner = (loose_structs(one.type) for one in fields)
            return set[str]().union(set() if forbids else {cls.__name__}, *inner)
        case mi.ListType(item_type=item_type) | mi.VarTupleType(item_type=item_type):
            return loose_structs(item_type)
        case mi.DictType(value_type=value_type):
            return loose_structs(value_type)
        case _:
            return set()


def _has_structs(wire_type: mi.Type) -> bool:
    bare = _unwrapped(wire_type)
    if isinstance(bare, mi.ListType):
        return _has_structs(bare.item_type)
    return isinstance(bare, mi.StructType)


def _unwrapped(wire_type: mi.Type) -> mi.Type:
    """The type without annotations, and without null if that leaves one type."""
    while True:
        if isinstance(wire_type, mi.Metadata):
            wire_type = wire_type.type
            continue
        if isinstance(wire_type, mi.UnionType):
            others = [one for one in wire_type.types if not isinstance(one, mi.NoneType)]
            if len(others) == 1:
                [wire_type] = others
                continue
        return wire_type


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
