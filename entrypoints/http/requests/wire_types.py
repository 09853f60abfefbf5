"""Types and values of the wire format that all endpoints share."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from domain.tracing.payloads.json_scan import TooDeep, TooManyValues, check_size
from domain.tracing.payloads.payload import OBJECT_VALUES_MAX, TOO_MANY_VALUES, JsonText
from domain.tracing.usage import MAYBE_HUGE, huge_counter
from entrypoints.http.requests.scalar_types import InvalidValue

NESTING_MAX: Final = 500  # levels of an object that is parsed later: json parses about 1,000
TOO_DEEP: Final = f"must not be nested deeper than {NESTING_MAX} levels"
NULL: Final = b"null"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US: Final = 1_000_000
_MINUTE_US: Final = 60 * _SECOND_US
_SECONDS: Final = [f"{second:02}" for second in range(60)]
_MINUTE_CHARS: Final = len("2026-03-01T09:00:")

type Instant = Annotated[
    str | int | float,
    Meta(extra={"scalar": "instant"}, extra_json_schema={"type": "string", "format": "date-time"}),
]
"""An instant in any accepted spelling. `parse_instant` reads it; decoders would round it."""

type QueryInstant = Annotated[
    datetime, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-03-01T00:00:00Z"])
]
"""An instant in a query, in the same spellings."""

type QueryEnd = Annotated[
    datetime, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-03-02T00:00:00Z"])
]
"""The end of a period, exclusive. Its example is later than that of `QueryInstant`."""

type FilterDate = Annotated[
    str | int | float,
    Meta(
        description="An instant in any accepted spelling, or a date. Responses return it as given",
        extra={"scalar": "instant"},
        extra_json_schema={"type": "string", "examples": ["2026-03-01"]},
    ),
]

type ResponseInstant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""An instant in a response, as `format_instant` writes it."""

type Usd = float
"""An amount in USD in a response. Domain values have exact decimals."""

type AnyJson = Annotated[Raw, Meta(extra={"payload": "any"})]
"""JSON that is stored as it was sent."""


def check_token_usage(text: JsonText) -> None:
    """Raises InvalidValue for a count of tokens that is beyond any number."""
    if (name := huge_counter(text)) is not None:
        raise InvalidValue(f"{name} is out of range")


def _object(*, nullable: bool = False, nul: bool = True, **extra: Any) -> Meta:
    """A JSON object that is stored as it was sent. `nul`: it may contain U+0000."""
    return Meta(
        extra={"payload": "object", "nullable": nullable, "nul": nul} | extra,
        extra_json_schema={
            "type": ["object", "null"] if nullable else "object",
            "maxProperties": OBJECT_VALUES_MAX,
            "description": (
                f"At most {OBJECT_VALUES_MAX:,} members and items, those of inner objects and "
                "arrays included"
            ),
        },
    )


type JsonObject = Annotated[Raw, _object()]
type OptionalObject = Annotated[Raw, _object(nullable=True)]

type TokenUsage = Annotated[Raw, _object(nullable=True, check_payload=check_token_usage)]

# For columns that can't contain U+0000.
type PlainObject = Annotated[Raw, _object(nul=False)]
type OptionalPlainObject = Annotated[Raw, _object(nullable=True, nul=False)]

type Deferred = Annotated[Raw, Meta(extra={"payload": "deferred"})]
"""JSON that another `Body` parses later, one item at a time."""


def max_items_from(setting: str) -> Meta:
    """A list of at most as many items as the field `setting` of HttpConfig says."""
    return Meta(extra={"max_items": setting}, extra_json_schema={"maxItems": setting})


class PaginatedResponse[T](msgspec.Struct, frozen=True, kw_only=True):
    """A page of the matching items, and the number of all matching items."""

    items: list[T]
    total: int
    limit: int
    offset: int
    next_cursor: str | None
    total_is_at_least: Annotated[
        bool | UnsetType,
        Meta(
            description=(
                "Only if true: counting all matching items would take too long, and there may be "
                "more than `total`"
            )
        ),
    ] = UNSET


# Defaults of fields. Most spans lack some fields: these defaults need no call of a Python function.
null: Final[Callable[[], Raw]] = repeat(Raw(NULL)).__next__
empty_object: Final[Callable[[], Raw]] = repeat(Raw(b"{}")).__next__


def optional_json(raw: Raw) -> JsonText | None:
    """The JSON as it was sent; None for null."""
    text = bytes(raw)
    return None if text == NULL else text


def require_object(raw: Raw) -> JsonText:
    """Raises ValueError if it isn't an object, or is too deep or too large to be parsed later."""
    text = bytes(raw)
    if text[:1] != b"{":
        raise ValueError("must be an object")
    if len(text) > NESTING_MAX:  # a shorter one exceeds no limit, and most are shorter
        check_object_size(text)
    return text


def check_object_size(text: JsonText) -> None:
    """Raises InvalidValue for an object that is too deep or too large to be parsed later."""
    try:
        check_size(text, NESTING_MAX, OBJECT_VALUES_MAX)
    except TooDeep as error:
        raise InvalidValue(TOO_DEEP) from error
    except TooManyValues as error:
        raise InvalidValue(TOO_MANY_VALUES) from error


def optional_object(raw: Raw) -> JsonText | None:
    """As `require_object`; None for null."""
    return None if bytes(raw) == NULL else require_object(raw)


def token_usage(raw: Raw) -> JsonText | None:
    """As `optional_object`, and raises ValueError for counts out of any range."""
    text = optional_object(raw)
    if text is not None and (len(text) > NESTING_MAX or MAYBE_HUGE.search(text) is not None):
        check_token_usage(text)
    return text


def raw_json(text: JsonText | None) -> Raw:
    return Raw(NULL if text is None else text)


format_instant: Final[Callable[[datetime], str]] = datetime.isoformat
"""Writes an instant in UTC: with `+00:00`, and six digits or none after the second."""


def microsecond_formatter() -> Callable[[int], str]:
    """A function that writes microseconds since 1970 as `format_instant` writes their instant.

    It remembers the minutes that it has seen: one is for the spans of one response.
    """
    minutes: dict[int, str] = {}

    def format_microseconds(since_epoch: int) -> str:
        minute, rest = divmod(since_epoch, _MINUTE_US)
        if (begins := minutes.get(minute)) is None:
            at = _EPOCH + timedelta(minutes=minute)
            begins = minutes[minute] = at.isoformat()[:_MINUTE_CHARS]
        second, fraction = divmod(rest, _SECOND_US)
        if fraction:  # `str` and a slice take half as long as formatting with zeros
            return f"{begins}{_SECONDS[second]}.{str(_SECOND_US + fraction)[1:]}+00:00"
        return f"{begins}{_SECONDS[second]}+00:00"

    return format_microseconds


def format_optional_instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def shared_fields(wire: msgspec.Struct, domain: type[Any]) -> dict[str, Any]:
    """The fields of `wire` that the dataclass `domain` has by the same names."""
    known = domain.__dataclass_fields__
    return {name: getattr(wire, name) for name in wire.__struct_fields__ if name in known}
