"""Grounding: whether the values an agent used in tool calls, or answered, occurred earlier.

Two measures for the heuristic judge. They aren't metrics of their own yet.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from typing import Final

from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import child_values, decode_json
from domain.evaluation.trace_content.text import to_text
from domain.tracing.payload import JsonText
from domain.tracing.span import SpanKind

SOURCE_MAX: Final = 200_000  # characters of one payload that are searched
ARGUMENTS_MAX: Final = 200  # specific arguments of a call that are checked
ARGUMENT_LENGTH_MIN: Final = 3  # shorter ones occur everywhere
ANSWER_DIGITS_MIN: Final = 2

_SPECIFIC: Final = re.compile(r"\w(?:[\w@.+:/,-]*\w)?")  # numbers, ids, dates, e-mails, words
_PART: Final = re.compile(r"\w+")
_THOUSANDS: Final = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")


def argument_groundings(subject: EvaluatedTrace) -> Sequence[float | None]:
    """For every call, in order, the share of its specific arguments that occurred before the call.

    Specific arguments are numbers of at least 3 digits, and strings of at least 3 characters
    without whitespace: ids, e-mail addresses, codes. Sources are the trace input, the inputs of
    models and other spans up to the first call, and the outputs of earlier tools and retrievals.
    Model outputs don't count, because the model names the arguments itself. None for a call without
    specific arguments.
    """
    known = _terms(to_text(decode_json(subject.trace.input)))
    calls = iter(subject.tool_calls)
    shares: list[float | None] = []
    for _, same in groupby(subject.spans, key=lambda span: span.started_at):
        at_once = list(same)  # they started together, so none can depend on another
        if not shares:
            for span in at_once:
                if span.kind is not SpanKind.TOOL:
                    known |= _payload(span.input)
        tools = sum(span.kind is SpanKind.TOOL for span in at_once)
        shares += [_share(_specific(call.arguments), known) for call in islice(calls, tools)]
        for span in at_once:
            if span.kind in {SpanKind.TOOL, SpanKind.RETRIEVER}:
                known |= _payload(span.output)
    return shares


def answer_grounding(subject: EvaluatedTrace) -> float | None:
    """The share of the numbers, ids and dates of the answer that occurred before.

    Numbers count from 2 digits on. Sources are the input and the outputs of tools. None if the
    answer contains no such value.
    """
    known = _terms(to_text(decode_json(subject.trace.input)) + "\n" + subject.request.text)
    for call in subject.tool_calls:
        known |= _payload(call.span.output)
    answered = set(_SPECIFIC.findall(_folded(subject.answer.text)))
    return _share([one for one in answered if _is_exact(one)], known)


def _share(asked: Sequence[str], known: set[str]) -> float | None:
    return sum(_is_known(one, known) for one in asked) / len(asked) if asked else None


def _is_known(term: str, known: set[str]) -> bool:
    """Whether the whole term, or each part of it, is known: "W123/1250" if both parts are."""
    return term in known or known.issuperset(_PART.findall(term) or [term])


def _payload(text: JsonText | None) -> set[str]:
    return _terms(to_text(decode_json(text)))


def _terms(text: str) -> set[str]:
    folded = _folded(text)
    return {*_SPECIFIC.findall(folded), *_PART.findall(folded)}


def _folded(text: str) -> str:
    return _THOUSANDS.sub("", text[:SOURCE_MAX].casefold())


def _is_exact(term: str) -> bool:
    return sum(map(str.isdigit, term)) >= ANSWER_DIGITS_MIN


def _specific(arguments: object) -> Sequence[str]:
    return [one for one in _scalars(arguments) if len(one) >= ARGUMENT_LENGTH_MIN][:ARGUMENTS_MAX]


def _scalars(value: object) -> Iterable[str]:
    left = [value]
    while left:
        one = left.pop()
        left.extend(child_values(one))
        if isinstance(one, str) and not any(map(str.isspace, one)):
            yield one.casefold().strip(".,;:!?\"'()[]{}<>")
        elif isinstance(one, int | float) and not isinstance(one, bool):
            yield str(int(one) if isinstance(one, float) and one.is_integer() else one).strip("-")
