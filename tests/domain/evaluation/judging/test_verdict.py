"""Verdicts: strict parsing of the fields of the schema only."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.judging.verdict import (
    CITED_MAX,
    Check,
    ChecklistVerdict,
    InvalidVerdict,
    ScaleVerdict,
    parse_verdict,
)
from domain.evaluation.metrics.rubrics import AnswerFormat
from domain.evaluation.scores.outcome import Scored, SkipCode, Skipped

GOOD: dict[str, Any] = {
    "evidence": ["s2", "s2.1"],
    "reason": "s2 shows it",
    "cannot_judge": False,
    "label": 4,
}


def checklist(**oks: bool | None) -> str:
    entries = [{"call": call, "reason": "why", "ok": ok} for call, ok in oks.items()]
    return json.dumps({"evidence": [], "verdicts": entries, "cannot_judge": False})


def scale(**said: Any) -> str:
    return json.dumps(GOOD | said)


# --- scales ----------------------------------------------------------------------------------


@pytest.mark.parametrize("label", range(6))
def test_scale_score_is_label_divided_by_5(label):
    found = parse_verdict(scale(label=label), AnswerFormat.SCALE).outcome({"s2", "s2.1"})
    assert found == Scored(label / 5, "s2 shows it", {"evidence": ["s2", "s2.1"], "label": label})


@pytest.mark.parametrize("said", [{"cannot_judge": True}, {"label": None}])
def test_cannot_judge_is_skipped(said):
    found = parse_verdict(scale(**said), AnswerFormat.SCALE).outcome({"s2"})
    assert isinstance(found, Skipped)
    assert (found.code, found.reason) == (SkipCode.CANNOT_JUDGE, "Skipped: s2 shows it")


def test_unknown_citations_are_dropped_and_counted():
    cited = ["s9", "s2", "s9", "s2", "x"]
    found = parse_verdict(scale(evidence=cited), AnswerFormat.SCALE).outcome({"s1", "s2"})
    assert (found.metadata["evidence"], found.metadata["evidence_unknown"]) == (["s2"], 2)
    many = [f"s{n}" for n in range(2 * CITED_MAX)]
    found = ScaleVerdict(evidence=tuple(many), label=5).outcome(many)
    assert found.metadata["evidence"] == many[:CITED_MAX]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "5",
        "[]",
        "null",
        '"label 5"',
        "I would say: " + scale(),
        scale() + scale(),
        scale() + "\nlabel 5",
        "{" * 100_000,
        scale(label=6),
        scale(label=-1),
        scale(label=4.0),
        scale(label=True),
        scale(label="4"),
        scale(label=float("nan")),
        scale(evidence="s2"),
        scale(evidence=[2]),
        scale(evidence=None),
        scale(reason=None),
        scale(reason="\x00"),
        scale(reason="\ud83d"),
        scale(evidence=["s1\x00"]),
        scale(cannot_judge=None),
        scale(cannot_judge="false"),
        *(json.dumps({key: GOOD[key] for key in GOOD if key != left}) for left in GOOD),
        '{"label": ' + "9" * 5_000 + "}",
    ],
)
def test_invalid_verdict_is_rejected_without_quoting_it(answer):
    with pytest.raises(InvalidVerdict) as raised:
        parse_verdict(answer, AnswerFormat.SCALE)
    assert len(str(raised.value)) < 100
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "fence", ["```json\n{}\n```", "```\n{}\n```", "  ```JSON {}```\n", "\n{}\n"]
)
def test_code_fence_is_accepted(fence):
    assert parse_verdict(fence.replace("{}", scale()), AnswerFormat.SCALE) == parse_verdict(
        scale(), AnswerFormat.SCALE
    )


def test_blanks_in_an_unclosed_code_fence_are_read_once():
    # Comparing each of these blanks with all pairs of those that follow would take years.
    for answer in (f"```json{' ' * 1_000_000}{scale()}", f"```{'a' * 1_000_000}!"):
        with pytest.raises(InvalidVerdict):
            parse_verdict(answer, AnswerFormat.SCALE)


@pytest.mark.parametrize(
    "text",
    ["label 5", "label: 5", json.dumps(GOOD | {"label": 5}), '"label": 5}', '```{"label": 5}```'],
)
def test_label_elsewhere_is_ignored(text):
    found = parse_verdict(
        scale(reason=text, note=text, evidence=[text], label=1), AnswerFormat.SCALE
    )
    assert found == ScaleVerdict(evidence=(text,), reason=text, label=1)
    assert found.outcome(()) == Scored(0.2, text, found.outcome(()).metadata)


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from([*GOOD, "verdicts"]), inner)
        ),
    ).map(json.dumps),
    st.sampled_from(AnswerFormat),
)
def test_any_answer_is_parsed_or_rejected(answer, form):
    try:
        outcome = parse_verdict(answer, form, []).outcome(())
    except InvalidVerdict:
        return
    assert isinstance(outcome, Scored | Skipped)


# --- checklists ------------------------------------------------------------------------------


def test_checklist_score_is_the_share_of_yes():
    answer = checklist(s3=False, s1=True, s2=None, s4=True)
    found = parse_verdict(answer, AnswerFormat.CHECKLIST, ["s1", "s2", "s3", "s4"]).outcome(())
    assert isinstance(found, Scored)
    assert found.value == 0.6667
    assert found.reason == "2 of 3 tool calls have arguments that fit"
    assert found.metadata["undecided"] == 1
    assert [(one["call"], one["verdict"]) for one in found.metadata["verdicts"]] == [
        *(("s1", "yes"), ("s3", "no"), ("s4", "yes")),
    ]


@pytest.mark.parametrize(
    "verdict",
    [
        ChecklistVerdict(checks=(Check("s1", "", None), Check("s2", "", None))),
        ChecklistVerdict(checks=(Check("s1", "", True),), cannot_judge=True),
        ChecklistVerdict(checks=()),
    ],
)
def test_undecided_checklist_is_skipped(verdict):
    found = verdict.outcome(())
    assert isinstance(found, Skipped)
    assert found.code is SkipCode.CANNOT_JUDGE


@pytest.mark.parametrize(
    "answer",
    [
        checklist(s1=True),
        checklist(s1=True, s2=True, s3=True),
        checklist(s1=True, s9=True),
        checklist(s1=True, s2=1),
        json.dumps({"evidence": [], "verdicts": [True, False], "cannot_judge": False}),
        json.dumps({"evidence": [], "verdicts": {}, "cannot_judge": False}),
        json.dumps(
            {"evidence": [], "verdicts": [{"call": "s1", "reason": ""}] * 2, "cannot_judge": False}
        ),
        scale(),
    ],
)
def test_checklist_needs_one_entry_per_call(answer):
    with pytest.raises(InvalidVerdict):
        parse_verdict(answer, AnswerFormat.CHECKLIST, ["s1", "s2"])


def test_cannot_judge_needs_no_checklist_entries():
    answer = json.dumps({"evidence": [], "verdicts": [], "cannot_judge": True})
    assert parse_verdict(answer, AnswerFormat.CHECKLIST, ["s1"]).outcome(()) == Skipped(
        SkipCode.CANNOT_JUDGE, "", {"evidence": []}
    )
