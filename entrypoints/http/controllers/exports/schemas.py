"""Whole traces on the wire, as an export shows them."""

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.exporting.exported_trace import TraceWithScores, on_one_line
from domain.ids import ProjectId
from domain.tracing.span import Span
from domain.tracing.usage import (
    TOKENS_MAX,
    CostSource,
    Price,
    SpanCost,
    Usage,
)
from entrypoints.http.controllers.scores.schemas import SessionScoreResponse, TraceScoreResponse
from entrypoints.http.controllers.traces.schemas import SpanResponse, TraceResponse, Word
from entrypoints.http.requests.scalar_types import parse_instant
from entrypoints.http.requests.wire_types import Instant, optional_instant

AMOUNT_MAX: Final = 401  # characters of an exact amount: tokens times a price have fewer

type ExactAmount = Annotated[
    str, Meta(max_length=AMOUNT_MAX, pattern=r"^[0-9]{1,200}(\.[0-9]{1,200})?$")
]
type Tokens = Annotated[int, Meta(ge=0, lt=TOKENS_MAX)]


class ExactPrice(msgspec.Struct, frozen=True):
    """What the price table says in USD, to the last digit, by which prices, and since when."""

    amount: ExactAmount
    version: Word | None = None
    since: Instant | None = None

    @classmethod
    def of(cls, charge: SpanCost | None) -> "ExactPrice | UnsetType":
        """UNSET where the table says nothing."""
        if charge is None or (charge.price is None and charge.source is not CostSource.TABLE):
            return UNSET
        if (price := charge.price) is None:  # charged before versions were kept
            return cls(f"{charge.amount:f}")
        return cls(f"{price.amount:f}", price.version, optional_instant(price.since))

    def to_domain(self) -> Price | None:
        """Raises ValueError for what is no instant."""
        if self.version is None:
            return None
        since = None if self.since is None else parse_instant(self.since)
        return Price(Decimal(self.amount), self.version, since)


class CountedUsage(msgspec.Struct, frozen=True):
    """The tokens that count, where they aren't those that `token_usage` tells."""

    prompt_tokens: Tokens
    completion_tokens: Tokens
    cache_read_tokens: Tokens = 0
    cache_write_tokens: Tokens = 0

    @classmethod
    def of(cls, span: Span) -> "CountedUsage | UnsetType":
        """UNSET where `token_usage` tells them."""
        counted = span.usage
        if counted is None or counted == Usage.from_token_usage(span.token_usage):
            return UNSET
        return cls(
            counted.prompt_tokens,
            counted.completion_tokens,
            counted.cache_read_tokens,
            counted.cache_write_tokens,
        )

    def to_domain(self) -> Usage:
        return Usage(
            self.prompt_tokens,
            self.completion_tokens,
            is_known=True,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
        )


class ExportedSpan(SpanResponse, frozen=True, kw_only=True):
    price: ExactPrice | UnsetType = UNSET
    usage: CountedUsage | UnsetType = UNSET


class ExportEnd(msgspec.Struct, frozen=True):
    """What the last line of an export says of all of it.

    `sha256` is of the whole text without this member.
    """

    complete: bool
    traces: int
    spans: int
    scores: int
    session_scores: int
    sha256: str


class ExportedTrace(TraceResponse, frozen=True, kw_only=True):
    """A trace with all that was said of it. On the last line of an export `export` ends it.

    On the first line of a session `session_scores` are what was said of the session, if anything.
    """

    spans: list[ExportedSpan]  # type: ignore[assignment]  # nothing here is ever assigned
    scores: list[TraceScoreResponse]
    session_scores: list[SessionScoreResponse] | UnsetType = UNSET
    export: ExportEnd | UnsetType = UNSET

    @classmethod
    def line(cls, project: ProjectId, archived: TraceWithScores) -> bytes:
        """One line of an export, without its end."""
        shown = TraceResponse.of(project, archived.trace)
        fields = {name: getattr(shown, name) for name in TraceResponse.__struct_fields__}
        fields["spans"] = [
            _told(wire, span) for wire, span in zip(shown.spans, archived.trace.spans, strict=True)
        ]
        scores = [TraceScoreResponse.of(score) for score in archived.scores]
        of_session = [SessionScoreResponse.of(score) for score in archived.session_scores] or UNSET
        return on_one_line(
            msgspec.json.encode(cls(**fields, scores=scores, session_scores=of_session))
        )


class ExportLines:
    """The lines of an export of one project, a batch at a time.

    What `add` gives never ends where a line does: what is broken off between two batches can't be
    read as whole lines. The last line tells what all of them come to.
    """

    def __init__(self, project: ProjectId) -> None:
        self.rows = 0
        self._project = project
        self._spans = 0
        self._scores = 0
        self._session_scores = 0
        self._digest = sha256()

    def add(self, batch: Sequence[TraceWithScores]) -> bytes:
        lines = [ExportedTrace.line(self._project, one)[:-1] for one in batch]
        text = (b"}\n" if self.rows else b"") + b"}\n".join(lines)
        self._digest.update(text)
        self.rows += len(batch)
        self._spans += sum(len(one.trace.spans) for one in batch)
        self._scores += sum(len(one.scores) for one in batch)
        self._session_scores += sum(len(one.session_scores) for one in batch)
        return text

    def end(self) -> bytes:
        if not self.rows:
            return b""
        self._digest.update(b"}\n")
        digest = self._digest.hexdigest()
        counts = (self.rows, self._spans, self._scores, self._session_scores)
        end = ExportEnd(True, *counts, digest)
        return b',"export":%b}\n' % msgspec.json.encode(end)


def _told(wire: SpanResponse, span: Span) -> SpanResponse:
    """With what a span as it is read doesn't tell, where there is any."""
    price, usage = ExactPrice.of(span.charge), CountedUsage.of(span)
    if price is UNSET and usage is UNSET:
        return wire
    fields = {name: getattr(wire, name) for name in SpanResponse.__struct_fields__}
    return ExportedSpan(**fields, price=price, usage=usage)
