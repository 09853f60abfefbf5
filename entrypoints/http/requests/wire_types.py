"""Types and values of the wire that every endpoint shares."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw

from domain.tracing.payload import JsonText
from entrypoints.http.requests.json_depth import is_deeper

NESTING_MAX: Final = 500  # levels of an object that is looked into: json parses about 1,000
TOO_DEEP: Final = f"must not be nested deeper than {NESTING_MAX} levels"

NULL: Final = b"null"

type Instant = Annotated[
    str | int | float,
    Meta(
        extra={"scalar": "instant"},
        extra_json_schema={"type": "string", "format": "date-time"},
    ),
]
"""A moment as clients spell it; `scalars.parse_instant` reads it, since decoders would round it."""

type QueryInstant = Annotated[
    datetime,
    Meta(extra_json_schema={"format": "date-time"}, examples=["2026-03-01T00:00:00Z"]),
]
"""A moment in a query, in the same spellings."""

type QueryEnd = Annotated[
    datetime,
    Meta(extra_json_schema={"format": "date-time"}, examples=["2026-03-02T00:00:00Z"]),
]
"""A moment before which something is; its example comes after that of `QueryInstant`."""

type ShownInstant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A moment as answers have it; `instant` writes it."""

type AnyJson = Annotated[Raw, Meta(extra={"payload": "any"})]
"""JSON that passes through as it was sent."""

type JsonObject = Annotated[
    Raw, Meta(extra={"payload": "object"}, extra_json_schema={"type": "object"})
]
"""A JSON object that passes through as it was sent, U+0000 included."""

type PlainObject = Annotated[
    Raw, Meta(extra={"payload": "object", "nul": False}, extra_json_schema={"type": "object"})
]
"""A JSON object for a store that can't hold U+0000."""

type OptionalObject = Annotated[
    Raw,
    Meta(
        extra={"payload": "object", "nullable": True},
        extra_json_schema={"type": ["object", "null"]},
    ),
]
"""As JsonObject, or null."""

type OptionalPlainObject = Annotated[
    Raw,
    Meta(
        extra={"payload": "object", "nullable": True, "nul": False},
        extra_json_schema={"type": ["object", "null"]},
    ),
]
"""As PlainObject, or null."""

type Deferred = Annotated[Raw, Meta(extra={"payload": "deferred"})]
"""JSON of which another reader makes something, one item at a time."""


def capped(setting: str) -> Meta:
    """A list of at most as many items as the field `setting` of HttpConfig says."""
    return Meta(extra={"max_items": setting}, extra_json_schema={"maxItems": setting})


class PaginatedResponse[T](msgspec.Struct, frozen=True, kw_only=True):
    """Some of the matches, the number of all of them, and where this page lies."""

    items: list[T]
    total: int
    limit: int
    offset: int
    next_cursor: str | None


def null() -> Raw:
    return Raw(NULL)


def empty_object() -> Raw:
    return Raw(b"{}")


def payload(raw: Raw) -> JsonText | None:
    """What was sent; None for null."""
    text = bytes(raw)
    return None if text == NULL else text


def object_of(raw: Raw) -> JsonText:
    """Raises ValueError for what isn't an object, or too deep to look into."""
    text = bytes(raw)
    if text[:1] != b"{":
        raise ValueError("must be an object")
    if is_deeper(text, NESTING_MAX):
        raise ValueError(TOO_DEEP)
    return text


def optional_object_of(raw: Raw) -> JsonText | None:
    """As `object_of`; None for null."""
    return None if bytes(raw) == NULL else object_of(raw)


def raw(text: JsonText | None) -> Raw:
    return Raw(NULL if text is None else text)


def instant(at: datetime) -> str:
    """An instant in UTC as answers have it: `+00:00`, and six digits or none after the second."""
    return at.isoformat()


def optional_instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def said[T](value: T | msgspec.UnsetType) -> T | None:
    """None for what was left out."""
    return None if value is msgspec.UNSET else value
