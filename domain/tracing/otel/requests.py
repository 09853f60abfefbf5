"""Decoded OTLP requests: the fragments to store, the rejections, and the codec as a port."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from domain.ids import ProjectId, RejectionId
from domain.tracing.otel.evaluations import ReceivedEvaluation
from domain.tracing.otel.fragments import Fragment

REJECTIONS_LISTED_MAX: Final = 100  # of a request; the rest is counted
EVALUATIONS_MAX: Final = 10_000  # of a request; others are ignored
_REJECTIONS_SHOWN_MAX: Final = 10  # in an answer
NAMES_SHOWN_CHARS: Final = 200  # of a scope or service in a rejection


class Signal(StrEnum):
    TRACES = "traces"
    LOGS = "logs"


class Encoding(StrEnum):
    """The wire type of a request, which its answer has too."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


class RejectionReason(StrEnum):
    INVALID_ID = "invalid_id"
    NO_START_TIME = "no_start_time"
    INVALID_TEXT = "invalid_text"
    UNDECODABLE = "undecodable"
    TOO_DEEP = "too_deep"
    NOT_STORABLE = "not_storable"  # its trace was erased, for example
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    SPAN_NEVER_CAME = "span_never_came"
    UNKNOWN_RESPONSE_ID = "unknown_response_id"
    # For requests to /traces. `count` is the number of requests that were refused within an hour.
    RATE_LIMITED = "rate_limited"
    INVALID = "invalid"  # `count` also includes the refused traces of accepted batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A span or record that isn't stored, or `count` of them. Ids are lower-case hex, as sent."""

    reason: RejectionReason
    message: str
    count: int = 1
    trace_id: str | None = None
    span_id: str | None = None
    scope: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRejection:
    """A rejection of a project, as it is shown afterwards."""

    project_id: ProjectId
    id: RejectionId
    rejected_at: datetime
    signal: Signal
    rejection: Rejection


def rejection_key(one: RecordedRejection) -> tuple[ProjectId, RejectionId]:
    return one.project_id, one.id


def with_count_of(one: RecordedRejection, earlier: RecordedRejection | None) -> RecordedRejection:
    """The rejection, with the count of one that has the same id added."""
    if earlier is None:
        return one
    count = earlier.rejection.count + one.rejection.count
    return replace(one, rejection=replace(one.rejection, count=count))


def combined_rejections(rejections: Sequence[RecordedRejection]) -> Sequence[RecordedRejection]:
    """One for each id: the last of it, with the sum of the counts."""
    by_key: dict[tuple[ProjectId, RejectionId], RecordedRejection] = {}
    for one in rejections:
        key = rejection_key(one)
        by_key[key] = with_count_of(one, by_key.get(key))
    return list(by_key.values())


def first_rejections(rejections: Sequence[Rejection]) -> Sequence[Rejection]:
    """The first REJECTIONS_LISTED_MAX; one more, without ids, counts the others."""
    rest = rejections[REJECTIONS_LISTED_MAX:]
    if not rest:
        return rejections
    counts = Counter[RejectionReason]()
    for rejection in rest:
        counts[rejection.reason] += rejection.count
    [(reason, _)] = counts.most_common(1)
    count = counts.total()
    others = Rejection(reason=reason, message=f"{count:,} more were rejected", count=count)
    return [*rejections[:REJECTIONS_LISTED_MAX], others]


def describe_rejections(rejections: Sequence[Rejection], rejected: int) -> str:
    """The first of `rejected` rejections by span id, or trace id without one, and reason."""
    first = rejections[:_REJECTIONS_SHOWN_MAX]
    shown = [f"{_subject(one)}: {one.reason} ({one.message})" for one in first]
    rest = rejected - sum(one.count for one in first)
    if rest > 0:
        shown.append(f"{rest:,} more")
    return "; ".join(shown)


def _subject(one: Rejection) -> str:
    if one.span_id is not None:
        return one.span_id
    if one.trace_id is None:
        return "without id"
    spans = f"{one.count:,} of " if one.count > 1 else ""
    return f"{spans}trace {one.trace_id}"


class UnacceptableRequest(Exception):  # noqa: N818 - an error of the client, not of ours
    """A request of which nothing is stored. The message is written for the sender."""

    def __init__(self, reason: RejectionReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class UndecodableRequest(UnacceptableRequest):
    """The body isn't what its content type says."""

    def __init__(self, message: str) -> None:
        super().__init__(RejectionReason.UNDECODABLE, message)


class TooManyItems(UnacceptableRequest):
    """The request has more spans or records than are accepted."""

    def __init__(self, message: str) -> None:
        super().__init__(RejectionReason.BODY_TOO_LARGE, message)


class NothingStored(UnacceptableRequest):
    """All spans or records of the request are rejected. The fields are those of DecodedRequest."""

    def __init__(
        self,
        rejections: Sequence[Rejection],
        rejected_by: Mapping[tuple[RejectionReason, str], int],
    ) -> None:
        shown = describe_rejections(rejections, sum(rejected_by.values()))
        super().__init__(rejections[0].reason, f"Nothing of the request can be stored: {shown}")
        self.rejections = rejections
        self.rejected_by = rejected_by


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedRequest:
    """The spans or records of a request.

    `evaluations` are what they state of scores, at most EVALUATIONS_MAX. `without_trace` counts
    records of evaluations that name no trace, but the response that they evaluate. `rejections`
    lists the first REJECTIONS_LISTED_MAX; if there are more, one without ids counts the rest.
    `rejected_by` counts all of them by reason and name of the scope, which is cut to
    NAMES_SHOWN_CHARS. `ignored` counts log records that aren't kept.
    """

    fragments: Sequence[Fragment] = ()
    without_trace: int = 0
    evaluations: Sequence[ReceivedEvaluation] = ()
    rejections: Sequence[Rejection] = ()
    rejected_by: Mapping[tuple[RejectionReason, str], int]
    ignored: int = 0

    @property
    def rejected(self) -> int:
        return sum(self.rejected_by.values())

    @property
    def accepted(self) -> int:
        return len(self.fragments) + self.without_trace

    @property
    def items(self) -> int:
        """The number of spans or records that were sent."""
        return self.accepted + self.rejected + self.ignored

    @property
    def is_all_rejected(self) -> bool:
        """Whether the request isn't empty and nothing in it can be stored."""
        return self.rejected > 0 and self.rejected == self.items


type EncodeError = Callable[[Encoding, int, str], bytes]
"""Encodes `google.rpc.Status` for an HTTP status of 400 or above, with the message."""


class OtlpCodec(Protocol):
    """Decodes requests and encodes their answers, in both wire types."""

    def decode(
        self, signal: Signal, encoding: Encoding, body: bytes, items_max: int
    ) -> DecodedRequest:
        """Decodes a body without content coding; an empty body is an empty request.

        Takes milliseconds for each 100 kB, so larger bodies belong in a thread; no step of it holds
        the interpreter for long. Raises UndecodableRequest, and TooManyItems beyond `items_max`;
        nothing else, whatever the bytes are.
        """
        ...

    def encode_answer(
        self, signal: Signal, encoding: Encoding, rejections: Sequence[Rejection], rejected: int
    ) -> bytes:
        """The body of a success; a partial one if spans or records were rejected."""
        ...

    def encode_error(self, encoding: Encoding, http_status: int, message: str) -> bytes:
        """The body of an answer with status 400 or above: `google.rpc.Status`."""
        ...

    def load(self) -> None:
        """Imports what it needs, which takes a tenth of a second; else the first request does."""
        ...
