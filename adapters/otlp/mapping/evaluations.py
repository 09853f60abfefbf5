"""The evaluations in a span or log record: events of the conventions, and OpenInference's lists."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from adapters.otlp.mapping.json_values import parsed, plain_text
from adapters.otlp.mapping.transforms import ID_CHARS_MAX, number
from domain.tracing.messages.indexed_attributes import indexed_items
from domain.tracing.otel.evaluations import EVALUATION, SentEvaluation
from domain.tracing.otel.fragments import Attributes, Sent, SentRecord, SentSpan

REASON_CHARS_MAX: Final = 1_000  # scores keep less
_LISTS: Final[Mapping[str, str]] = {
    f"{scope}{plural}": singular
    for plural, singular in (("annotations", "annotation"), ("evaluations", "evaluation"))
    for scope in ("", "trace.", "session.")
}
"""OpenInference's lists of results, and the name of an item's only member."""
_BEGINNINGS: Final = tuple(f"{family}." for family in _LISTS)


def evaluations_of(sent: Sent) -> Sequence[SentEvaluation]:
    """The evaluations that a span or log record states.

    Those without a name, or with nothing else, are left out. An explanation alone says why there is
    no result.
    A pure function of the fragment: sent again, it gives the same.
    """
    if isinstance(sent, SentRecord):
        return _of_record(sent) if sent.name == EVALUATION else ()
    found = [
        _of_event(event.attributes, event.time_ns, sent.span_id)
        for event in sent.events
        if event.name == EVALUATION
    ]
    if any(map(_is_listed, sent.attributes)):
        found += _listed(sent)
    return [one for one in found if one is not None]


def _is_listed(key: str) -> bool:
    return key.startswith(_BEGINNINGS)


def _of_record(record: SentRecord) -> Sequence[SentEvaluation]:
    body = record.body if isinstance(record.body, Mapping) else {}
    found = _of_event({**body, **record.attributes}, record.time_ns, record.span_id)
    return () if found is None else (found,)


def _of_event(attributes: Attributes, time_ns: int, span_id: str | None) -> SentEvaluation | None:
    return _evaluation(
        name=attributes.get("gen_ai.evaluation.name"),
        score=attributes.get("gen_ai.evaluation.score.value"),
        label=attributes.get("gen_ai.evaluation.score.label"),
        reason=attributes.get("gen_ai.evaluation.explanation"),
        error=attributes.get("error.type"),
        time_ns=time_ns,
        span_id=span_id,
        response_id=_short(attributes.get("gen_ai.response.id")) if span_id is None else None,
    )


def _listed(span: SentSpan) -> Iterator[SentEvaluation | None]:
    """OpenInference's results, which have no time: that of the span's start."""
    attributes = {key: span.attributes[key] for key in sorted(span.attributes) if _is_listed(key)}
    session_id = _short(span.attributes.get("session.id"))
    for family, items in indexed_items(attributes, _LISTS).items():
        for item in items:
            one = item.get(_LISTS[family]) if isinstance(item, Mapping) else None
            if not isinstance(one, Mapping):
                continue
            is_of_session = family.startswith("session.")
            if is_of_session and session_id is None:
                continue
            yield _evaluation(
                name=one.get("name"),
                score=one.get("score"),
                label=one.get("label"),
                reason=one.get("explanation"),
                time_ns=span.start_ns,
                span_id=None if "." in family else span.span_id,
                session_id=session_id if is_of_session else None,
                identifier=_short(one.get("identifier")),
                annotator=one.get("annotator_kind"),
            )


def _evaluation(
    *,
    name: object,
    score: object,
    label: object,
    reason: object,
    time_ns: int,
    span_id: str | None,
    error: object = None,
    session_id: str | None = None,
    response_id: str | None = None,
    identifier: str | None = None,
    annotator: object = None,
) -> SentEvaluation | None:
    known_name, known_label, known_error = _short(name), _short(label), _short(error)
    figure = number(score)
    text = _short(reason, REASON_CHARS_MAX)
    results = (figure, known_label, known_error, text)
    if known_name is None or all(one is None for one in results):
        return None
    value, is_numeric = known_label, False
    if figure is not None and 0 <= figure <= 1:
        value, is_numeric = _digits(figure), True
    elif figure is not None and known_label is None:
        value = _digits(figure)
    if known_error is not None:
        value, is_numeric = None, False
    metadata = {
        "label": known_label if value != known_label else None,
        "score": _digits(figure) if figure is not None and value != _digits(figure) else None,
        "annotator_kind": _short(annotator),
    }
    return SentEvaluation(
        name=known_name,
        time_ns=time_ns,
        value=value,
        is_numeric=is_numeric,
        error=known_error,
        reason=text,
        span_id=span_id,
        session_id=session_id,
        response_id=response_id,
        identifier=identifier,
        metadata={key: one for key, one in metadata.items() if one is not None},
    )


def _digits(figure: float) -> str:
    """The shortest decimal of a number, without an exponent unless it were too long for a score."""
    digits = f"{Decimal(repr(figure + 0.0)).normalize():f}"  # 0 in place of -0
    return digits if len(digits) <= ID_CHARS_MAX else repr(figure)


def _short(value: object, chars_max: int = ID_CHARS_MAX) -> str | None:
    """A text, cut to what a score can hold; a number as text; None for anything else."""
    inner = parsed(value)
    if isinstance(inner, bool | float) or not isinstance(inner, str | int):
        return None
    return plain_text(str(inner))[:chars_max] or None
