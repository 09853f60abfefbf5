"""Parses a judge's answer strictly, and converts it to an outcome."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_letters
from typing import Final

from domain.evaluation.metrics.rubrics import LABEL_MAX, AnswerFormat, checklist_reason
from domain.evaluation.scores.outcome import Scored, SkipCode, Skipped

CITED_MAX: Final = 100  # cited steps that a score stores
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_FENCE: Final = "```"


class InvalidVerdict(ValueError):  # noqa: N818 - a mistake of the judge
    """The answer isn't a valid verdict. The message is sent to the judge, which may retry once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleVerdict:
    """One label from 0 to LABEL_MAX for the run; None if the judge can't decide."""

    evidence: tuple[str, ...] = ()
    reason: str = ""
    cannot_judge: bool = False
    label: int | None

    def outcome(self, known: Collection[str]) -> Scored | Skipped:
        """`known` are the labels of the steps shown to the judge; other citations are dropped."""
        cited = _cited(self.evidence, known)
        if self.cannot_judge or self.label is None:
            return Skipped(SkipCode.CANNOT_JUDGE, self.reason, cited)
        return Scored(self.label / LABEL_MAX, self.reason, {**cited, "label": self.label})


@dataclass(frozen=True, slots=True)
class Check:
    """The verdict on one call; `ok` is None if the judge can't decide."""

    call: str
    reason: str
    ok: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistVerdict:
    """One check for each call, in the order of the calls."""

    evidence: tuple[str, ...] = ()
    checks: tuple[Check, ...]
    cannot_judge: bool = False

    def outcome(self, known: Collection[str]) -> Scored | Skipped:
        """The share of yes among yes and no. `known` as for a scale."""
        cited = _cited(self.evidence, known)
        decided = [check for check in self.checks if check.ok is not None]
        if self.cannot_judge or not decided:
            return Skipped(SkipCode.CANNOT_JUDGE, "", cited)
        yes = sum(check.ok is True for check in decided)
        verdicts = [
            {"call": one.call, "verdict": "yes" if one.ok else "no", "reason": one.reason}
            for one in decided
        ]
        undecided = len(self.checks) - len(decided)
        return Scored(
            yes / len(decided),
            checklist_reason(yes, len(decided)),
            {**cited, "verdicts": verdicts, **({"undecided": undecided} if undecided else {})},
        )


type Verdict = ScaleVerdict | ChecklistVerdict


def _cited(labels: Sequence[str], known: Collection[str]) -> dict[str, object]:
    distinct = dict.fromkeys(labels)
    found = [label for label in distinct if label in known]
    unknown = len(distinct) - len(found)
    return {"evidence": found[:CITED_MAX]} | ({"evidence_unknown": unknown} if unknown else {})


def parse_verdict(answer: str, form: AnswerFormat, calls: Sequence[str] = ()) -> Verdict:
    """Parses a judge's answer: one JSON object, optionally in a code fence.

    Only the fields of the schema are read. `calls` are the labels of the calls of a checklist: each
    must have exactly one entry; entries are sorted into this order. Raises InvalidVerdict with a
    fixed message that never quotes the answer.
    """
    try:
        value: object = json.loads(_without_fence(answer))
    except (ValueError, RecursionError):
        raise InvalidVerdict("The answer is not one JSON object") from None
    if not isinstance(value, Mapping):
        raise InvalidVerdict("The answer is not a JSON object")
    evidence = tuple(_text(one, "evidence") for one in _list(value, "evidence"))
    cannot_judge = value.get("cannot_judge")
    if not isinstance(cannot_judge, bool):
        raise InvalidVerdict("cannot_judge must be true or false")
    if form is AnswerFormat.CHECKLIST:
        checks = _checks(value, calls, needed=not cannot_judge)
        return ChecklistVerdict(evidence=evidence, checks=checks, cannot_judge=cannot_judge)
    reason = _text(value.get("reason"), "reason")
    label = value.get("label")
    if label is not None and (type(label) is not int or not 0 <= label <= LABEL_MAX):
        raise InvalidVerdict(f"label must be a whole number from 0 to {LABEL_MAX}, or null")
    if "label" not in value:
        raise InvalidVerdict("label is missing")
    return ScaleVerdict(evidence=evidence, reason=reason, cannot_judge=cannot_judge, label=label)


def _without_fence(answer: str) -> str:
    """The text inside a code fence, without the name of its language; else the whole answer.

    Without a regular expression: models that fail may send blanks without end, each of which would
    be compared with all others.
    """
    text = answer.strip()
    inner = text.removeprefix(_FENCE).removesuffix(_FENCE)
    if len(text) - len(inner) < 2 * len(_FENCE):
        return answer
    return inner.lstrip(ascii_letters).strip()


def _checks(
    value: Mapping[str, object], calls: Sequence[str], *, needed: bool
) -> tuple[Check, ...]:
    found = [_check(one) for one in _list(value, "verdicts")]
    if not needed:
        return ()
    if sorted(check.call for check in found) != sorted(calls):
        raise InvalidVerdict(f"verdicts must hold one entry for each of: {', '.join(calls)}")
    place = {call: number for number, call in enumerate(calls)}
    return tuple(sorted(found, key=lambda check: place[check.call]))


def _check(one: object) -> Check:
    if not isinstance(one, Mapping):
        raise InvalidVerdict("an entry of verdicts must be an object")
    ok = one.get("ok")
    if "ok" not in one or not (ok is None or isinstance(ok, bool)):
        raise InvalidVerdict("ok must be true, false or null")
    return Check(_text(one.get("call"), "call"), _text(one.get("reason"), "reason"), ok)


def _list(value: Mapping[str, object], key: str) -> Sequence[object]:
    found = value.get(key)
    if not isinstance(found, list):
        raise InvalidVerdict(f"{key} must be a list")
    return found


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise InvalidVerdict(f"{key} must be text")
    if _UNSTORABLE.search(value):
        raise InvalidVerdict(f"{key} must not contain NUL or an unpaired surrogate")
    return value
