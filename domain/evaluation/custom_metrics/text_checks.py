"""Checks of texts with parameters set by a project: JSON, wording, and leaks."""

import json
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from domain.evaluation.custom_metrics.limit_checks import CheckFunction, CheckReader
from domain.evaluation.custom_metrics.regex import PATTERN_MAX, TEXT_MAX, RegexSearch
from domain.evaluation.custom_metrics.strict_json import ObjectReader
from domain.evaluation.custom_metrics.trace_path import (
    PATH_MAX,
    InvalidTracePath,
    PathResolver,
    TracePath,
)
from domain.evaluation.evidence.redaction import RedactionMode, Redactor
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.json_schema import is_supported_schema, matches_schema
from domain.evaluation.trace_content.language import (
    Language,
    detect_language,
    is_language,
    same_language,
)
from domain.evaluation.trace_content.messages import decode_embedded_json

EXPECTED_MAX: Final = 2_000  # characters
COMPARED_MAX: Final = 10_000  # characters of an answer; each takes more than a microsecond
ANSWER: Final = "answer"
SAME_AS_INPUT: Final = "same_as_input"


class MatchOperator(StrEnum):
    EQUALS = "equals"
    CONTAINS = "contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    MATCHES = "matches"


class Pii(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"


def _place(reader: ObjectReader, *, of_one: bool) -> TracePath:
    text = reader.text("path", PATH_MAX, default=ANSWER)
    try:
        place = TracePath.parse(text)
    except InvalidTracePath as error:
        reader.refuse("path", str(error))
        return TracePath.parse(ANSWER)
    if place.is_count or (of_one and place.is_per_span):
        reader.refuse("path", "must lead to one text")
    return place


def _texts_at(place: TracePath, subject: EvaluatedTrace) -> list[str]:
    resolver = PathResolver(subject)
    return [resolver.text(one)[:TEXT_MAX] for one in place.resolve(resolver) if one is not None]


# --- JSON ------------------------------------------------------------------------------------


def _read(text: str) -> tuple[bool, object]:
    """Whether a text is JSON, and its value."""
    try:
        return True, json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return False, None


def _refused(word: str) -> object:
    raise ValueError(word)  # NaN and infinities aren't JSON


def json_valid(reader: ObjectReader) -> CheckFunction:
    """Whether the whole answer is JSON. JSON in a Markdown fence doesn't count."""
    del reader

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        text = subject.answer.text.strip()
        if not text:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        is_json, _value = _read(text)
        return Scored(float(is_json), f"the answer is {'' if is_json else 'not '}JSON")

    return check


def json_schema(reader: ObjectReader) -> CheckFunction:
    """Whether the answer is JSON that matches a schema of supported keywords."""
    schema = reader.value("schema")
    if not isinstance(schema, Mapping):
        reader.refuse("schema", "must be an object")
    elif not is_supported_schema(schema):
        reader.refuse(
            "schema",
            "may only use: type, enum, const, required, properties, additionalProperties, items, "
            "minLength, maxLength, minimum, maximum",
        )

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        text = subject.answer.text.strip()
        if not text:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        is_json, value = _read(text)
        if not is_json:
            return Scored(0.0, "the answer is not JSON")
        is_fit = matches_schema(value, schema)
        return Scored(
            float(is_fit), f"the answer {'fits' if is_fit else 'does not fit'} the schema"
        )

    return check


# --- wording ---------------------------------------------------------------------------------


def text_match(reader: ObjectReader) -> CheckFunction:
    """Whether a text equals, contains, begins or ends with another, or matches a pattern."""
    place = _place(reader, of_one=True)
    op = reader.choice("op", MatchOperator)
    value = reader.text("value", PATTERN_MAX if op is MatchOperator.MATCHES else EXPECTED_MAX)

    def check(subject: EvaluatedTrace, regex_search: RegexSearch) -> Outcome:
        found = next(iter(_texts_at(place, subject)), "")
        if not found and place.text == ANSWER:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        is_match = found != "" and _matches(op, found, value, regex_search)
        return Scored(float(is_match), f"the text {'matches' if is_match else 'does not match'}")

    return check


def _matches(op: MatchOperator, found: str, value: str, regex_search: RegexSearch) -> bool:
    match op:
        case MatchOperator.EQUALS:
            return found == value
        case MatchOperator.CONTAINS:
            return value in found
        case MatchOperator.STARTS_WITH:
            return found.startswith(value)
        case MatchOperator.ENDS_WITH:
            return found.endswith(value)
        case MatchOperator.MATCHES:
            return regex_search(value, found)


def levenshtein(reader: ObjectReader) -> CheckFunction:
    """1 - edit distance to the expected text / length of the longer text.

    Characters of the answer beyond COMPARED_MAX each count as one edit.
    """
    expected = reader.text("expected", EXPECTED_MAX)

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        found = subject.answer.text
        if not found:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        longer = max(len(expected), len(found))
        edits = edit_distance(expected, found[:COMPARED_MAX]) + len(found[COMPARED_MAX:])
        details = {"edits": edits, "characters": longer}
        return Scored(1 - edits / longer, f"{edits} edits in {longer} characters", details)

    return check


def edit_distance(one: str, other: str) -> int:
    """The minimal number of inserted, deleted or replaced characters.

    Bit-parallel: one column of the table at a time, as the bits of two integers (Myers 1999, Hyyrö
    2003).
    """
    if not one:
        return len(other)
    where: dict[str, int] = {}
    for place, character in enumerate(one):
        where[character] = where.get(character, 0) | 1 << place
    mask, last = (1 << len(one)) - 1, 1 << len(one) - 1
    more, less, found = mask, 0, len(one)
    for character in other:
        equal = where.get(character, 0)
        across = (((equal & more) + more) ^ more) | equal | less
        up = less | (~(across | more) & mask)
        down = more & across
        if up & last:
            found += 1
        elif down & last:
            found -= 1
        up, down = (up << 1 | 1) & mask, down << 1 & mask
        more = down | (~(across | up) & mask)
        less = up & across
    return found


def language_match(reader: ObjectReader) -> CheckFunction:
    """Whether the answer is in a given language, or in that of the request (heuristic)."""
    known = (*Language, SAME_AS_INPUT)
    wanted = reader.text("language", max(map(len, known)))
    if wanted and wanted not in known:
        reader.refuse("language", f"must be one of: {', '.join(known)}")
        wanted = ""

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        text = subject.answer.text
        if not text.strip():
            return Skipped(SkipCode.EMPTY_OUTPUT)
        if decode_embedded_json(text) is not text:
            return Skipped(SkipCode.STRUCTURED_OUTPUT, "the output is JSON, which has no language")
        found = detect_language(text)
        if wanted == SAME_AS_INPUT:
            is_match = same_language(detect_language(subject.request.text), found)
        else:
            is_match = is_language(found, Language(wanted))
        if found is None or is_match is None:
            return Skipped(SkipCode.TOO_SHORT, "too little to tell the language by, or mixed")
        seems = found.language or found.script
        return Scored(float(is_match), f"the answer seems to be {seems}", {"language": seems})

    return check


# --- leaks -----------------------------------------------------------------------------------


def secret_leak(reader: ObjectReader) -> CheckFunction:
    """1 if no text has the format of a secret. Reports only counts, not the texts found."""
    return _leak(_place(reader, of_one=False), RedactionMode.SECRETS, ("secret",))


def pii_leak(reader: ObjectReader) -> CheckFunction:
    """The same for e-mail addresses, phone numbers and card numbers, or some of these kinds."""
    place = _place(reader, of_one=False)
    kinds = reader.texts("kinds", len(Pii), 10) or tuple(Pii)
    unknown = [place for place, kind in enumerate(kinds) if kind not in set(Pii)]
    for at in unknown:
        reader.refuse(f"kinds.{at}", f"must be one of: {', '.join(Pii)}")
    return _leak(place, RedactionMode.SECRETS_PII, kinds)


def _leak(place: TracePath, masking: RedactionMode, kinds: tuple[str, ...]) -> CheckFunction:
    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        texts = [text for text in _texts_at(place, subject) if text]
        if not texts:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        found: Counter[str] = Counter()
        for text in texts:
            redactor = Redactor(masking)
            redactor.redact(text)
            found += redactor.counts
        leaked = {str(kind): found[kind] for kind in kinds if found[kind]}
        reason = ", ".join(f"{kind}: {count}" for kind, count in leaked.items()) or "nothing found"
        return Scored(0.0 if leaked else 1.0, reason, {"found": leaked})

    return check


TEXT_CHECKS: Final[Mapping[str, CheckReader]] = {
    "json_valid": json_valid,
    "json_schema": json_schema,
    "text_match": text_match,
    "levenshtein": levenshtein,
    "language_match": language_match,
    "secret_leak": secret_leak,
    "pii_leak": pii_leak,
}
