"""Decodes requests: every span and record alone, so that a bad one costs no other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from adapters.otlp.decoding.answers import encode_answer, encode_error
from adapters.otlp.decoding.fragments import (
    Context,
    DecodedFragment,
    EncodedFragment,
    Rejected,
)
from adapters.otlp.decoding.item_decoder import ItemDecoder
from adapters.otlp.decoding.json_values import JsonDecoder
from adapters.otlp.decoding.outline import Encoded, Group
from adapters.otlp.mapping.evaluations import evaluations_of
from domain.ids import TraceId
from domain.tracing.otel.evaluations import ReceivedEvaluation
from domain.tracing.otel.fragments import Fragment, Scope, Sent
from domain.tracing.otel.requests import (
    EVALUATIONS_MAX,
    NAMES_SHOWN_CHARS,
    REJECTIONS_LISTED_MAX,
    DecodedRequest,
    Encoding,
    Rejection,
    RejectionReason,
    Signal,
)

# Fragments of larger bodies are decoded again when they are written: their decoded form may take
# several times the bytes of the body.
KEPT_DECODED_BYTES: Final = 4 << 20
_CONTEXTS_KEPT_MAX: Final = 256  # of a large body
_CONTEXT_KEPT_BYTES: Final = 4 << 10  # as sent; larger ones are decoded again for each fragment

_NO_CONTEXT: Final = Context(Scope(), {})


class Codec:
    """Implements OtlpCodec."""

    def decode(
        self, signal: Signal, encoding: Encoding, body: bytes, items_max: int
    ) -> DecodedRequest:
        decoder = _decoder(encoding)
        groups = decoder.outline(body, signal, items_max)
        decoding = _Decoding(decoder, signal, keeps_decoded=len(body) <= KEPT_DECODED_BYTES)
        for group in groups:
            decoding.add(group)
        return decoding.result()

    def encode_answer(
        self, signal: Signal, encoding: Encoding, rejections: Sequence[Rejection], rejected: int
    ) -> bytes:
        return encode_answer(signal, encoding, rejections, rejected)

    def encode_error(self, encoding: Encoding, http_status: int, message: str) -> bytes:
        return encode_error(encoding, http_status, message)

    def load(self) -> None:
        """Imports what decodes protobuf, which takes 0.1 s; else the first request does."""
        _decoder(Encoding.PROTOBUF)


@cache
def _decoder(encoding: Encoding) -> ItemDecoder:
    if encoding is Encoding.JSON:
        return JsonDecoder()
    from adapters.otlp.decoding.protobuf_values import (  # noqa: PLC0415 - slow to import
        ProtobufDecoder,
    )

    return ProtobufDecoder()


@dataclass(frozen=True, slots=True)
class _GroupContext:
    """The context of a group, decoded when it is needed. Raises Rejected."""

    decoder: ItemDecoder
    group: Group
    kept: Context | None = None

    def get(self) -> Context:
        return self.decoder.context(self.group) if self.kept is None else self.kept


@dataclass(frozen=True, slots=True)
class _DecodeAgain:
    decoder: ItemDecoder
    signal: Signal
    item: Encoded
    context: _GroupContext

    def __call__(self) -> Sent:
        if self.signal is Signal.TRACES:
            return self.decoder.span(self.item, self.context.get())[1]
        found = self.decoder.record(self.item, self.context.get())
        assert found is not None  # only records that are kept become fragments
        return found[1]


@dataclass(slots=True)
class _Decoding:
    """A request in the course of being decoded."""

    decoder: ItemDecoder
    signal: Signal
    keeps_decoded: bool
    contexts_kept: int = 0
    fragments: list[Fragment] = field(default_factory=list)
    without_trace: int = 0
    evaluations: list[ReceivedEvaluation] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    rejected_by: Counter[tuple[RejectionReason, str]] = field(default_factory=Counter)
    ignored: int = 0

    def add(self, group: Group) -> None:
        if not group.items:
            return
        try:
            context = self.decoder.context(group)
        except Rejected as rejected:
            for item in group.items:
                self._reject(item, rejected, _NO_CONTEXT)
            return
        group_context = self._group_context(group, context)
        for item in group.items:
            try:
                if self.signal is Signal.TRACES:
                    self._add_span(item, context, group_context)
                else:
                    self._add_record(item, context, group_context)
            except Rejected as rejected:
                self._reject(item, rejected, context)

    def _group_context(self, group: Group, context: Context) -> _GroupContext:
        size = sum(map(len, (*group.resource, *group.scope, *group.schema_url)))
        is_kept = size <= _CONTEXT_KEPT_BYTES and self.contexts_kept < _CONTEXTS_KEPT_MAX
        self.contexts_kept += is_kept
        return _GroupContext(self.decoder, group, context if is_kept else None)

    def _add_span(self, item: Encoded, context: Context, group_context: _GroupContext) -> None:
        trace_id, span = self.decoder.span(item, context)
        self._add_evaluations(trace_id, span)
        if self.keeps_decoded:
            self.fragments.append(DecodedFragment(trace_id, span.span_id, len(item), span))
        else:
            again = _DecodeAgain(self.decoder, self.signal, item, group_context)
            self.fragments.append(EncodedFragment(trace_id, span.span_id, len(item), again))

    def _add_record(self, item: Encoded, context: Context, group_context: _GroupContext) -> None:
        found = self.decoder.record(item, context)
        if found is None:
            self.ignored += 1
            return
        trace_id, record = found
        self._add_evaluations(trace_id, record)
        if trace_id is None:
            self.without_trace += 1
        elif self.keeps_decoded:
            self.fragments.append(DecodedFragment(trace_id, record.span_id, len(item), record))
        else:
            again = _DecodeAgain(self.decoder, self.signal, item, group_context)
            self.fragments.append(EncodedFragment(trace_id, record.span_id, len(item), again))

    def _add_evaluations(self, trace_id: TraceId | None, sent: Sent) -> None:
        for one in evaluations_of(sent):
            if len(self.evaluations) < EVALUATIONS_MAX:
                self.evaluations.append(ReceivedEvaluation(trace_id, one))

    def _reject(self, item: Encoded, rejected: Rejected, context: Context) -> None:
        scope = context.scope.name[:NAMES_SHOWN_CHARS]
        self.rejected_by[rejected.reason, scope] += 1
        if len(self.rejections) < REJECTIONS_LISTED_MAX:
            trace_id, span_id = self.decoder.ids(item, self.signal)
            service = context.service
            self.rejections.append(
                Rejection(
                    reason=rejected.reason,
                    message=rejected.message,
                    trace_id=trace_id,
                    span_id=span_id,
                    scope=scope or None,
                    service=service[:NAMES_SHOWN_CHARS] if service else None,
                )
            )

    def result(self) -> DecodedRequest:
        request = DecodedRequest(
            fragments=self.fragments,
            without_trace=self.without_trace,
            evaluations=self.evaluations,
            rejections=self.rejections,
            rejected_by=self.rejected_by,
            ignored=self.ignored,
        )
        if request.rejected > len(self.rejections):
            self.rejections.append(self._rest(request.rejected - len(self.rejections)))
        return request

    def _rest(self, count: int) -> Rejection:
        """The rejections that aren't listed, under the most frequent reason among them."""
        listed = Counter(rejection.reason for rejection in self.rejections)
        by_reason: Counter[RejectionReason] = Counter()
        for (reason, _), times in self.rejected_by.items():
            by_reason[reason] += times
        (reason, _), *_ = (by_reason - listed).most_common(1)
        return Rejection(reason=reason, message=f"{count:,} more were rejected", count=count)
