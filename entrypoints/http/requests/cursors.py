"""Cursors: where a list goes on, as text that tells callers nothing.

A cursor holds the position of the last item shown, and a mark of the query that it belongs to.
It is no secret and opens nothing: what it leads to is looked up in the caller's own project.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Annotated, Any, Final, Protocol
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from domain.errors import Invalid
from domain.page import LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX, Page, PageRequest, Position, SortOrder
from entrypoints.http.requests.scalar_types import NUL, Refused
from entrypoints.http.requests.wire_types import PaginatedResponse

CURSOR_MAX: Final = 6_000  # characters: a name of 512 escaped characters and its id need 4,300
AMOUNT_MAX: Final = 1_500  # digits, before the point and after it: sums of doubles have fewer
DIGITS_MAX: Final = 60  # of a sum of whole numbers: more than can ever come together
MALFORMED: Final = "is no cursor"
FOREIGN: Final = "belongs to another query: begin again without a cursor"
DIRECTION: Final = "In which direction; what has no value comes last in both"
BESIDE_OFFSET: Final = "goes on by itself: leave offset out"
MARK_BYTES: Final = 12  # enough that no two queries meet by chance

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FORM: Final = msgspec.json.Decoder(tuple[str, Raw, Raw])


def check_form(text: str) -> None:
    """Raises Refused for what no list has ever given."""
    _decoded(_FORM, text)


type Cursor = Annotated[
    str,
    Meta(
        max_length=CURSOR_MAX,
        extra={"check": check_form},
        description="The `next_cursor` of a page of the same query: goes on after that page",
    ),
]


type PageLimit = Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="How many to show")]
type PageOffset = Annotated[int, Meta(ge=0, le=OFFSET_MAX, description="How many to pass over")]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list."""

    limit: PageLimit = LIMIT_DEFAULT
    offset: PageOffset = 0
    cursor: Cursor | None = None


class AsksForPage(Protocol):
    """A query with the fields of `PageQuery` among others."""

    @property
    def limit(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def cursor(self) -> Cursor | None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """What a list is sorted by, as a cursor holds it. `back` raises ValueError."""

    wire: Any
    out: Callable[[Any], Any]
    back: Callable[[Any], Any]


def _text(value: str) -> str:
    if "\0" in value:
        raise Refused(NUL)
    return value


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except ArithmeticError as error:
        raise Refused(MALFORMED) from error
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or max(abs(exponent), abs(amount.adjusted())) > AMOUNT_MAX:
        raise Refused(MALFORMED)
    return amount


def _whole(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX):
        raise Refused(MALFORMED)
    return int(text)


def _since_epoch(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


_FIRST: Final = _since_epoch(datetime.min.replace(tzinfo=UTC))
_LAST: Final = _since_epoch(datetime.max.replace(tzinfo=UTC))

INSTANT: Final = Kind(
    Annotated[int, Meta(ge=_FIRST, le=_LAST)],
    _since_epoch,
    lambda microseconds: _EPOCH + microseconds * _MICROSECOND,
)
WHOLE: Final = Kind(Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)], int, int)
NUMBER: Final = Kind(float, float, float)
TEXT: Final = Kind(str, str, _text)
SUM: Final = Kind(str, str, _whole)  # of whole numbers, beyond 64 bits
AMOUNT: Final = Kind(str, str, _amount)
ID: Final = Kind(UUID, lambda one: one, lambda one: one)


def word_of(words: type[Enum]) -> Kind:
    """A sort by the texts of an enumeration."""
    return Kind(words, lambda text: text, lambda one: one.value)


def or_none(kind: Kind) -> Kind:
    """A sort by what some items lack."""
    return Kind(
        kind.wire | None,
        lambda value: None if value is None else kind.out(value),
        lambda value: None if value is None else kind.back(value),
    )


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of one query: the one that is asked for, and how the next one will be."""

    window: PageRequest
    kind: Kind
    mark: str

    def shown[T](self, page: Page[Any], items: list[T]) -> PaginatedResponse[T]:
        """`page` as it is answered, with its items as they are shown."""
        end = page.end
        return PaginatedResponse(
            items=items,
            total=page.total,
            limit=self.window.limit,
            offset=self.window.offset,
            next_cursor=None if end is None else self.after(end),
        )

    def after(self, end: Position) -> str:
        """The cursor of the page after the item at `end`."""
        held = msgspec.json.encode((self.mark, self.kind.out(end.value), end.id))
        return base64.urlsafe_b64encode(held).rstrip(b"=").decode()


class PagedList[S]:
    """A list by its name, with the kind of its positions' values by each sort, and of their ids."""

    def __init__(self, name: str, kinds: Mapping[S, Kind], ids: Kind) -> None:
        self._name = name
        self._ids = ids
        self._kinds = {
            sort: (kind, msgspec.json.Decoder(_tuple_of(str, kind.wire, ids.wire)))
            for sort, kind in kinds.items()
        }

    def asked(
        self, query: AsksForPage, project: UUID, matching: Any, sort: S, order: SortOrder
    ) -> Pages:
        """The page that `query` asks for. Raises Invalid for a cursor that isn't of this query."""
        kind, decoder = self._kinds[sort]
        whole = msgspec.json.encode((self._name, project, matching, sort, order))
        mark = base64.b85encode(blake2b(whole, digest_size=MARK_BYTES).digest()).decode()
        after = None
        if query.cursor is not None:
            if query.offset:
                raise Invalid.field("query.cursor", BESIDE_OFFSET)
            try:
                after = self._position(query.cursor, mark, kind, decoder)
            except Refused as refused:
                raise Invalid.field("query.cursor", str(refused)) from refused
        return Pages(PageRequest(query.limit, query.offset, after), kind, mark)

    def _position(self, cursor: str, mark: str, kind: Kind, decoder: Any) -> Position:
        try:
            of, value, id_ = _decoded(decoder, cursor)
        except Refused as refused:
            raise Refused(FOREIGN) from refused  # of another sort: its form is right
        if of != mark:
            raise Refused(FOREIGN)
        return Position(kind.back(value), self._ids.back(id_))


def _tuple_of(*types: Any) -> Any:
    return tuple.__class_getitem__(types)


def _decoded(decoder: Any, cursor: str) -> Any:
    try:
        held = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return decoder.decode(held)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors too
        raise Refused(MALFORMED) from error
