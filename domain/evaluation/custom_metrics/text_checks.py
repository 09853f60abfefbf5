"""Measured of texts, by parameters of a project's own: JSON, wording, and what may not leak."""

import json
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from domain.evaluation.custom_metrics.limit_checks import Reader, Taken
from domain.evaluation.custom_metrics.regex import PATTERN_MAX, TEXT_MAX, Finds
from domain.evaluation.custom_metrics.strict_json import Members
from domain.evaluation.custom_metrics.trace_path import PLACE_MAX, Look, NoPlace, Place
from domain.evaluation.evidence.redaction import Masker, Masking
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import Subject
from domain.evaluation.trace_content.json_schema import fits, is_understood
from domain.evaluation.trace_content.language import Language, are_alike, is_in, spoken
from domain.evaluation.trace_content.messages import parsed

EXPECTED_MAX: Final = 2_000  # characters
COMPARED_MAX: Final = 10_000  # characters of an answer; each takes longer than a microsecond
ANSWER: Final = "answer"
SAME_AS_INPUT: Final = "same_as_input"


class Match(StrEnum):
    EQUALS = "equals"
    CONTAINS = "contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    MATCHES = "matches"


class Pii(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"


def _place(members: Members, *, of_one: bool) -> Place:
    text = members.text("path", PLACE_MAX, default=ANSWER)
    try:
        place = Place.of(text)
    except NoPlace as error:
        members.refuse("path", str(error))
        return Place.of(ANSWER)
    if place.is_count or (of_one and place.of_spans):
        members.refuse("path", "must lead to one text")
    return place


def _texts_at(place: Place, subject: Subject) -> list[str]:
    look = Look(subject)
    return [look.text(one)[:TEXT_MAX] for one in place.found(look) if one is not None]


# --- JSON ------------------------------------------------------------------------------------


def _read(text: str) -> tuple[bool, object]:
    """Whether a text is JSON, and its value."""
    try:
        return True, json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return False, None


def _refused(word: str) -> object:
    raise ValueError(word)  # NaN and the infinities are no JSON


def json_valid(members: Members) -> Taken:
    """Whether the answer as a whole is JSON; in a fence of Markdown it isn't."""
    del members

    def taken(subject: Subject, _: Finds) -> Outcome:
        text = subject.answer.text.strip()
        if not text:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        is_json, _value = _read(text)
        return Scored(float(is_json), f"the answer is {'' if is_json else 'not '}JSON")

    return taken


def json_schema(members: Members) -> Taken:
    """Whether the answer is JSON that fits a schema of the keywords that `schema.py` knows."""
    schema = members.value("schema")
    if not isinstance(schema, Mapping):
        members.refuse("schema", "must be an object")
    elif not is_understood(schema):
        members.refuse(
            "schema",
            "may only use: type, enum, const, required, properties, additionalProperties, items, "
            "minLength, maxLength, minimum, maximum",
        )

    def taken(subject: Subject, _: Finds) -> Outcome:
        text = subject.answer.text.strip()
        if not text:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        is_json, value = _read(text)
        if not is_json:
            return Scored(0.0, "the answer is not JSON")
        is_fit = fits(value, schema)
        return Scored(
            float(is_fit), f"the answer {'fits' if is_fit else 'does not fit'} the schema"
        )

    return taken


# --- wording ---------------------------------------------------------------------------------


def text_match(members: Members) -> Taken:
    """Whether a text is, holds, begins or ends with another, or a pattern is found in it."""
    place = _place(members, of_one=True)
    op = members.choice("op", Match)
    value = members.text("value", PATTERN_MAX if op is Match.MATCHES else EXPECTED_MAX)

    def taken(subject: Subject, finds: Finds) -> Outcome:
        found = next(iter(_texts_at(place, subject)), "")
        if not found and place.text == ANSWER:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        is_match = found != "" and _matches(op, found, value, finds)
        return Scored(float(is_match), f"the text {'matches' if is_match else 'does not match'}")

    return taken


def _matches(op: Match, found: str, value: str, finds: Finds) -> bool:
    match op:
        case Match.EQUALS:
            return found == value
        case Match.CONTAINS:
            return value in found
        case Match.STARTS_WITH:
            return found.startswith(value)
        case Match.ENDS_WITH:
            return found.endswith(value)
        case Match.MATCHES:
            return finds(value, found)


def levenshtein(members: Members) -> Taken:
    """1 - edits that make the expected text of the answer / the length of the longer one.

    Of a long answer what comes after COMPARED_MAX characters counts as edits.
    """
    expected = members.text("expected", EXPECTED_MAX)

    def taken(subject: Subject, _: Finds) -> Outcome:
        found = subject.answer.text
        if not found:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        longer = max(len(expected), len(found))
        edits = distance(expected, found[:COMPARED_MAX]) + len(found[COMPARED_MAX:])
        told = {"edits": edits, "characters": longer}
        return Scored(1 - edits / longer, f"{edits} edits in {longer} characters", told)

    return taken


def distance(one: str, other: str) -> int:
    """The least number of characters put in, taken out or replaced that makes one of the other.

    A column of the usual table at a time, as the bits of two numbers (Myers 1999, Hyyrö 2003).
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


def language_match(members: Members) -> Taken:
    """Whether the answer is in a language, or in that of the request; by a rule of thumb."""
    known = (*Language, SAME_AS_INPUT)
    wanted = members.text("language", max(map(len, known)))
    if wanted and wanted not in known:
        members.refuse("language", f"must be one of: {', '.join(known)}")
        wanted = ""

    def taken(subject: Subject, _: Finds) -> Outcome:
        text = subject.answer.text
        if not text.strip():
            return Skipped(SkipCode.EMPTY_OUTPUT)
        if parsed(text) is not text:
            return Skipped(SkipCode.STRUCTURED_OUTPUT, "the output is JSON, which is no language")
        found = spoken(text)
        if wanted == SAME_AS_INPUT:
            is_match = are_alike(spoken(subject.request.text), found)
        else:
            is_match = is_in(found, Language(wanted))
        if found is None or is_match is None:
            return Skipped(SkipCode.TOO_SHORT, "too little to tell the language by, or mixed")
        seems = found.language or found.script
        return Scored(float(is_match), f"the answer seems to be {seems}", {"language": seems})

    return taken


# --- leaks -----------------------------------------------------------------------------------


def secret_leak(members: Members) -> Taken:
    """1 where nothing has the shape of a secret. What was found isn't told, only how often."""
    return _leak(_place(members, of_one=False), Masking.SECRETS, ("secret",))


def pii_leak(members: Members) -> Taken:
    """The same of e-mail addresses, phone numbers and card numbers, or some of these kinds."""
    place = _place(members, of_one=False)
    kinds = members.texts("kinds", len(Pii), 10) or tuple(Pii)
    unknown = [place for place, kind in enumerate(kinds) if kind not in set(Pii)]
    for at in unknown:
        members.refuse(f"kinds.{at}", f"must be one of: {', '.join(Pii)}")
    return _leak(place, Masking.SECRETS_PII, kinds)


def _leak(place: Place, masking: Masking, kinds: tuple[str, ...]) -> Taken:
    def taken(subject: Subject, _: Finds) -> Outcome:
        texts = [text for text in _texts_at(place, subject) if text]
        if not texts:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        found: Counter[str] = Counter()
        for text in texts:
            masker = Masker(masking)
            masker.masked(text)
            found += masker.found
        leaked = {str(kind): found[kind] for kind in kinds if found[kind]}
        told = ", ".join(f"{kind}: {count}" for kind, count in leaked.items()) or "nothing found"
        return Scored(0.0 if leaked else 1.0, told, {"found": leaked})

    return taken


TEXTS: Final[Mapping[str, Reader]] = {
    "json_valid": json_valid,
    "json_schema": json_schema,
    "text_match": text_match,
    "levenshtein": levenshtein,
    "language_match": language_match,
    "secret_leak": secret_leak,
    "pii_leak": pii_leak,
}
