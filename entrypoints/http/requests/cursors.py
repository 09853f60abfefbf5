"""Cursors: opaque text for the position at which the next page of a list starts.

A cursor contains the position of the last item of a page, and a hash of the query that it belongs
to. It is not secret and grants nothing: positions are looked up in the caller's own project.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Annotated, Any, Final, Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from domain.errors import FieldError, Invalid
from domain.page import LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX, Page, PageRequest, Position, SortOrder
from domain.tracing.spans.span_query import KEY_SEPARATOR
from entrypoints.http.requests.scalar_types import NUL_MESSAGE, InvalidValue
from entrypoints.http.requests.wire_types import PaginatedResponse, format_instant

CURSOR_CHARS_MAX: Final = 6_000  # a name of 512 escaped characters and its id need 4,300
AMOUNT_DIGITS_MAX: Final = 1_500  # before the point and after it: sums of doubles have fewer
SUM_DIGITS_MAX: Final = 60  # of a sum of integers: no sum has as many
QUERY_HASH_BYTES: Final = 12  # enough that no two queries collide by chance
MALFORMED_CURSOR: Final = "is not a cursor"
FOREIGN_CURSOR: Final = "belongs to another query: start again without a cursor"
OFFSET_WITH_CURSOR: Final = "can't be combined with an offset"
SORT_ORDER_DESCRIPTION: Final = "The direction; items without a value come last in both"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ANY_CURSOR: Final = msgspec.json.Decoder(tuple[str, Raw, Raw])


def check_cursor_form(text: str) -> None:
    """Raises InvalidValue for text that no list has ever returned."""
    _decode(_ANY_CURSOR, text)


type Cursor = Annotated[
    str,
    Meta(
        max_length=CURSOR_CHARS_MAX,
        extra={"check": check_cursor_form},
        description="The `next_cursor` of a page of the same query; the next page follows that one",
    ),
]


type PageLimit = Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="How many items to return")]
type PageOffset = Annotated[int, Meta(ge=0, le=OFFSET_MAX, description="How many items to skip")]


def page_errors(fields: Mapping[str, Any]) -> Iterator[FieldError]:
    """The errors of the page, among the valid fields of a query."""
    if fields.get("cursor") is not None and fields.get("offset"):
        yield FieldError("cursor", OFFSET_WITH_CURSOR)


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters of a paginated list."""

    limit: PageLimit = LIMIT_DEFAULT
    offset: PageOffset = 0
    cursor: Cursor | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        """A subclass with rules of its own yields these too."""
        return page_errors(fields)


class PageParameters(Protocol):
    """A query that has the fields of `PageQuery`, and was checked by `page_errors`."""

    @property
    def limit(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def cursor(self) -> Cursor | None: ...


@dataclass(frozen=True, slots=True)
class PositionType:
    """How the value of a position is written into a cursor. `decode` raises ValueError."""

    wire: Any
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _decode_text(value: str) -> str:
    if "\0" in value:
        raise InvalidValue(NUL_MESSAGE)
    return value


def _decode_amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except ArithmeticError as error:
        raise InvalidValue(MALFORMED_CURSOR) from error
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int):
        raise InvalidValue(MALFORMED_CURSOR)
    if max(abs(exponent), abs(amount.adjusted())) > AMOUNT_DIGITS_MAX:
        raise InvalidValue(MALFORMED_CURSOR)
    return amount


def _decode_sum(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= SUM_DIGITS_MAX):
        raise InvalidValue(MALFORMED_CURSOR)
    return int(text)


def _since_epoch(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


_FIRST_INSTANT: Final = _since_epoch(datetime.min.replace(tzinfo=UTC))
_LAST_INSTANT: Final = _since_epoch(datetime.max.replace(tzinfo=UTC))

INSTANT: Final = PositionType(
    Annotated[int, Meta(ge=_FIRST_INSTANT, le=_LAST_INSTANT)],
    _since_epoch,
    lambda microseconds: _EPOCH + microseconds * _MICROSECOND,
)
INTEGER: Final = PositionType(Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)], int, int)
NUMBER: Final = PositionType(float, float, float)
TEXT: Final = PositionType(str, str, _decode_text)
SUM: Final = PositionType(str, str, _decode_sum)  # of integers; it may exceed 64 bits
AMOUNT: Final = PositionType(str, str, _decode_amount)
ID: Final = PositionType(UUID, lambda id_: id_, lambda id_: id_)
_UUID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SPAN_ID: Final = PositionType(
    Annotated[str, Meta(pattern=rf"\A{_UUID}{KEY_SEPARATOR}{_UUID}\Z")], str, str
)
"""As `position_id` of spans makes it."""


def enum_position(members: type[Enum]) -> PositionType:
    """For a sort by the text of an enumeration."""
    return PositionType(members, lambda text: text, lambda member: member.value)


def nullable(inner: PositionType) -> PositionType:
    """For a sort by a value that some items lack."""
    return PositionType(
        inner.wire | None,
        lambda value: None if value is None else inner.encode(value),
        lambda value: None if value is None else inner.decode(value),
    )


@dataclass(frozen=True, slots=True)
class RequestedPage:
    """The page that a query requests, and how to write the cursor of the next one."""

    page: PageRequest
    position_type: PositionType
    query_hash: str

    def respond[D, T](self, found: Page[D], convert: Callable[[D], T]) -> PaginatedResponse[T]:
        """The response: the items of `found`, in the wire form that `convert` makes of them."""
        end = found.end
        return PaginatedResponse(
            items=[convert(item) for item in found.items],
            total=found.total,
            limit=self.page.limit,
            offset=self.page.offset,
            next_cursor=None if end is None else self.cursor_after(end),
            total_is_at_least=found.total_is_at_least or UNSET,
        )

    def cursor_after(self, end: Position) -> str:
        """The cursor of the page after the item at `end`."""
        value = self.position_type.encode(end.value)
        content = msgspec.json.encode((self.query_hash, value, end.id))
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


READ_UNTIL: Final = Meta(
    description=(
        "Only if the page ended before it was full: how far in the list the filters were compared. "
        "`next_cursor` goes on from there"
    )
)


def read_until(page: Page[Any], limit: int) -> str | UnsetType:
    """How far a list by time was compared, if the page ended before it was full."""
    if page.end is None or len(page.items) == limit:
        return UNSET
    assert isinstance(page.end.value, datetime)  # other lists are read to the end
    return format_instant(page.end.value)


class PagedList[S]:
    """A paginated list: its name, the type of positions by sort, and the type of its ids."""

    def __init__(self, name: str, sorts: Mapping[S, PositionType], ids: PositionType) -> None:
        self._name = name
        self._ids = ids
        self._sorts = {
            sort: (value, msgspec.json.Decoder(_tuple_of(str, value.wire, ids.wire)))
            for sort, value in sorts.items()
        }

    def parse_page(
        self, query: PageParameters, project: UUID, matching: Any, sort: S, order: SortOrder
    ) -> RequestedPage:
        """The page that `query` requests. Raises Invalid for a cursor of another query."""
        position_type, decoder = self._sorts[sort]
        whole = msgspec.json.encode((self._name, project, matching, sort, order))
        digest = blake2b(whole, digest_size=QUERY_HASH_BYTES).digest()
        query_hash = base64.b85encode(digest).decode()
        after = None
        if query.cursor is not None:
            try:
                after = self._position(query.cursor, query_hash, position_type, decoder)
            except InvalidValue as error:
                raise Invalid.field("query.cursor", str(error)) from error
        return RequestedPage(
            PageRequest(query.limit, query.offset, after), position_type, query_hash
        )

    def _position(
        self, cursor: str, query_hash: str, position_type: PositionType, decoder: Any
    ) -> Position:
        try:
            hash_of_cursor, value, id_ = _decode(decoder, cursor)
        except InvalidValue as error:
            raise InvalidValue(FOREIGN_CURSOR) from error  # well-formed, but of another sort
        if hash_of_cursor != query_hash:
            raise InvalidValue(FOREIGN_CURSOR)
        return Position(position_type.decode(value), self._ids.decode(id_))


def _tuple_of(*types: Any) -> Any:
    return tuple.__class_getitem__(types)


def _decode(decoder: Any, cursor: str) -> Any:
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return decoder.decode(content)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors too
        raise InvalidValue(MALFORMED_CURSOR) from error
