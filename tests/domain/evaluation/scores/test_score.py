"""Scores: valid values, writers, and what a change keeps."""

import json
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.runs.run import EvalRun, Execution, TargetType, WorkItem, pending_scores
from domain.evaluation.scores.outcome import FailCode, Failed, Scored, SkipCode, Skipped
from domain.evaluation.scores.score import (
    VALUE_MAX,
    DataType,
    ScoreChange,
    ScoreOutcome,
    ScoreRevision,
    ScoreSource,
    ScoreStatus,
    ScoreTarget,
    TraceScore,
    latest_by_name,
    newest_first,
    validate_value,
)
from domain.ids import RunId, ScoreId, SpanId, TraceId, UserId
from tests.support.builders.values import NOON, OURS, at

ANA, BEN = UserId(UUID(int=0xA)), UserId(UUID(int=0xB))
RUN = RunId(UUID(int=1))
TARGET = "00000000-0000-0000-0000-000000000007"


def score(**said: Any) -> TraceScore:
    """A person's score: 0.5 at noon."""
    known: dict[str, Any] = {
        "id": ScoreId(UUID(int=9)),
        "project_id": OURS,
        "trace_id": TraceId(UUID(TARGET)),
        "name": "taste",
        "outcome": ScoreOutcome.SCORED,
        "value": "0.5",
        "source": ScoreSource.ANNOTATION,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return TraceScore(**known | said)


def waiting(**said: Any) -> TraceScore:
    return score(
        outcome=ScoreOutcome.PENDING, value=None, source=ScoreSource.AUTOMATED, run_id=RUN, **said
    )


def metadata(some: TraceScore) -> Any:
    return json.loads(some.metadata)


# --- values ----------------------------------------------------------------------------------

GOOD_NUMBERS = [
    *("0", "1", "0.9", "1.0", "1.", ".5", "+.5", "00.5", "1e0", "1E-3", "5e-1", "10e-1", "0.1e+1"),
    *("-0", "-0.0e5", "0e99999999999999999999", "1e-99999999999999999999", "0.0000100e5"),
    *("0." + "9" * 253, "1." + "0" * 253, "1" + "0" * 200 + "e-200"),
]
BAD_NUMBERS = [
    *(
        "",
        " ",
        "0.5 ",
        " 0.5",
        "0_1",
        "0.5\n",
        "½",
        "٠",
        "0,5",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "true",
    ),
    *(
        "1.1",
        "-0.1",
        "2",
        "1e1",
        "-1e-99999999999999999999",
        "0x0",
        "e5",
        ".",
        "+",
        "--0",
        "1e",
        "1e5.0",
    ),
    *(
        "1." + "0" * 250 + "1",
        "1e99999999999999999999",
        "9" * 255,
        "1" + "0" * 200 + "1e-201" + " ",
    ),
    "1" + "0" * 200 + "1e-200",
]


@pytest.mark.parametrize("text", GOOD_NUMBERS)
def test_number_from_0_to_1_is_unchanged(text):
    assert validate_value(text, DataType.NUMERIC) == text
    assert 0 <= score(value=text).number <= 1


@pytest.mark.parametrize("text", BAD_NUMBERS)
def test_other_numbers_are_rejected(text):
    with pytest.raises(Invalid) as raised:
        validate_value(text, DataType.NUMERIC)
    assert [one.field for one in raised.value.errors] == ["value"]


@given(st.decimals(-2, 2, places=30) | st.decimals(allow_nan=False, allow_infinity=False))
def test_number_range_is_checked_exactly(number):
    # Compared in a context without rounding; numbers too long for it aren't generated.
    with localcontext(prec=400, Emin=-(10**6), Emax=10**6):
        is_unit_number = 0 <= Decimal(number) <= 1
    text = str(number)
    if len(text) > VALUE_MAX:
        return
    try:
        assert validate_value(text, DataType.NUMERIC) == text
        assert is_unit_number
    except Invalid:
        assert not is_unit_number


def test_booleans_are_true_or_false_in_any_case():
    for text in ("true", "False", "TRUE", "fAlSe"):
        assert validate_value(text, DataType.BOOLEAN) == text
    for text in ("", "1", "yes", "true ", "falſe", "ｔrue"):
        with pytest.raises(Invalid):
            validate_value(text, DataType.BOOLEAN)


def test_category_is_any_text_up_to_a_limit():
    for text in ("", "1.5", "sehr gut", "x" * VALUE_MAX):
        assert validate_value(text, DataType.CATEGORICAL) == text
    with pytest.raises(Invalid):
        validate_value("x" * (VALUE_MAX + 1), DataType.CATEGORICAL)


@pytest.mark.parametrize(
    "said", [{"value": None}, *({"outcome": one} for one in ScoreOutcome if one != "scored")]
)
def test_score_has_a_value_only_if_scored(said):
    with pytest.raises(ValueError):
        score(**said)


def test_only_a_numeric_score_is_a_number():
    assert score(value="1e-1").number == 0.1
    assert score(value="1", data_type=DataType.CATEGORICAL).number is None
    assert waiting().number is None


# --- writes of a worker ----------------------------------------------------------------------


def test_pending_score_takes_the_outcome():
    found = waiting().with_outcome(Scored(0.85, "because", {"judge_kind": "model"}), at(1))
    assert (found.status, found.value, found.reason) == (ScoreStatus.SUCCESS, "0.85", "because")
    assert (found.created_at, found.updated_at) == (NOON, at(1))
    assert (found.judge_kind, found.code) == ("model", None)


@pytest.mark.parametrize(
    ("outcome", "kind", "reason", "code"),
    [
        (Skipped(SkipCode.NO_PLAN, "no plan"), "skipped", "Skipped: no plan", "no_plan"),
        (Failed(FailCode.AUTH, "refused"), "failed", "refused", "auth"),
    ],
)
def test_skipped_and_failed_share_a_status_but_not_an_outcome(outcome, kind, reason, code):
    found = waiting().with_outcome(outcome, at(1))
    assert (found.status, found.outcome) == (ScoreStatus.FAILED, kind)
    assert (found.value, found.number, found.reason) == (None, None, reason)
    assert (found.code, metadata(found)["code"]) == (code, code)
    assert Execution.from_score(TARGET, found) == Execution(
        TARGET, "taste", ScoreOutcome(kind), code
    )


def test_worker_writes_once_and_never_overwrites_a_person():
    first = waiting().with_outcome(Scored(0.85, "because"), at(1))
    assert first.with_outcome(Scored(0.1, "again"), at(2)) is first
    assert first.cancelled(at(2)) is first
    edited = waiting().patched(ScoreChange(value="1"), at(1), ANA)
    assert edited.with_outcome(Scored(0.1, "late"), at(2)) is edited
    assert metadata(edited) == {"original_value": None}


def test_edits_of_a_pending_score_are_kept():
    noted = waiting().patched(ScoreChange(reason="look here", metadata=b'{"seen":1}'), at(1), ANA)
    assert noted.status is ScoreStatus.PENDING
    found = noted.with_outcome(Scored(0.85, "because", {"seen": 0, "label": 4}), at(2))
    assert (found.reason, found.value, found.author_id) == ("look here", "0.85", ANA)
    assert metadata(found) == {"seen": 1, "label": 4}
    assert found.source is ScoreSource.AUTOMATED


FORGED = {"judge_kind": "model", "model": "best", "fingerprint": "f", "evidence_hash": "e"}


def test_client_cannot_write_the_provenance_of_a_score_of_a_run():
    change = ScoreChange(metadata=json.dumps(FORGED | {"seen": 1}).encode())
    noted = waiting().patched(change, at(1), ANA)
    judged = noted.with_outcome(Scored(0.85, "", {"judge_kind": "heuristic"}), at(2))
    assert metadata(judged) == {"seen": 1, "judge_kind": "heuristic"}
    marks = {"judge_kind": "heuristic", "model": "m", "fingerprint": "g", "evidence_hash": "h"}
    measured = waiting().with_outcome(Scored(0.85, "", marks | {"label": 4}), at(1))
    assert metadata(measured.patched(change, at(2), ANA)) == marks | {"seen": 1}
    failed = waiting().with_outcome(Failed(FailCode.AUTH), at(1))
    forged = ScoreChange(metadata=b'{"code":"budget"}')
    assert failed.patched(forged, at(2), ANA).code == "auth"
    # In a score that a client gave, they are metadata like any other.
    given = score(source=ScoreSource.PROGRAMMATIC, metadata=json.dumps(FORGED).encode())
    assert metadata(given.patched(change, at(2), ANA)) == FORGED | {"seen": 1}
    assert given.judge_kind is None


def test_cancelling_skips_pending_scores():
    found = waiting().cancelled(at(1))
    assert (found.outcome, found.code) == (ScoreOutcome.SKIPPED, "cancelled")
    assert found.reason.startswith("Skipped: ")


def test_any_judge_text_is_storable():
    said = {"a\x00": ["\ud800", {"b": ("\x00", 1, None, True)}]}
    found = waiting().with_outcome(Scored(1.0, "x\x00\udfff", said), at(1))
    assert found.reason == "x\ufffd\ufffd"
    assert metadata(found) == {"a\ufffd": ["\ufffd", {"b": ["\ufffd", 1, None, True]}]}
    with pytest.raises(ValueError):
        waiting().with_outcome(Scored(1.0, "", {"rate": float("nan")}), at(1))


@pytest.mark.parametrize("target_type", TargetType)
def test_pending_scores_exist_for_every_pair(target_type):
    run = EvalRun(
        id=RUN, project_id=OURS, target_type=target_type, metrics=("b", "a"), targets=1, model="m",
        created_at=NOON,
    )  # fmt: skip
    rows = pending_scores(run, WorkItem(TARGET, ("b", "a")), at(1))
    assert [one.name for one in rows] == ["b", "a"]
    assert [one.id for one in rows] == [run.score_id(TARGET, name) for name in "ba"]
    assert {(one.status, one.run_id, one.created_at) for one in rows} == {("PENDING", RUN, at(1))}
    of = [str(getattr(one, "trace_id", None) or one.session_id) for one in rows]
    assert of == [TARGET, TARGET]


# --- writes of a person ----------------------------------------------------------------------


def test_empty_change_has_no_effect():
    some = score()
    assert some.patched(ScoreChange(), at(1), ANA) is some


def test_patch_sets_the_author_and_keeps_other_fields():
    some = score(source=ScoreSource.PROGRAMMATIC, reason="r", metadata=b'{"a":1}', author_id=ANA)
    found = some.patched(ScoreChange(value="1"), at(1), None)
    revision = ScoreRevision(
        changed_at=at(1), user_id=None, key_id=None, value="0.5", source=some.source,
        author_id=ANA, reason="r", metadata=some.metadata,
    )  # fmt: skip
    assert found == replace(
        some, value="1", source=ScoreSource.ANNOTATION, updated_at=at(1), author_id=ANA,
        history=(revision,),
    )  # fmt: skip
    assert some.patched(ScoreChange(reason=""), at(1), BEN).author_id == BEN
    assert some.patched(ScoreChange(metadata=b"{}"), at(1), BEN).metadata == b"{}"


@pytest.mark.parametrize(
    ("outcome", "original"),
    [
        (Scored(0.85, ""), "0.85"),
        (Skipped(SkipCode.NO_PLAN), None),
        (Failed(FailCode.AUTH), None),
    ],
)
def test_original_value_is_kept_after_later_changes(outcome, original):
    machines = waiting().with_outcome(outcome, at(1))
    first = machines.patched(ScoreChange(value="0.2"), at(2), ANA)
    second = first.patched(ScoreChange(value="0.3", metadata=b'{"a":1}'), at(3), BEN)
    third = second.patched(ScoreChange(metadata=b'{"original_value":"mine"}'), at(4), BEN)
    assert (first.status, first.source) == (ScoreStatus.SUCCESS, ScoreSource.ANNOTATION)
    assert metadata(first) == metadata(machines) | {"original_value": original}
    assert metadata(second) == {"a": 1, "original_value": original}
    assert metadata(third) == {"original_value": original}
    assert (third.value, third.judge_kind) == ("0.3", None)


def test_original_value_is_kept_if_the_reason_changed_first():
    noted = (
        waiting().with_outcome(Scored(0.85, ""), at(1)).patched(ScoreChange(reason="?"), at(2), ANA)
    )
    assert "original_value" not in metadata(noted)
    found = noted.patched(ScoreChange(value="0.2"), at(3), ANA)
    assert metadata(found)["original_value"] == "0.85"


def test_changing_the_reason_keeps_the_failed_status():
    found = waiting().with_outcome(Failed(FailCode.AUTH), at(1))
    noted = found.patched(ScoreChange(reason="known"), at(2), ANA)
    assert (noted.outcome, noted.source) == (ScoreOutcome.FAILED, ScoreSource.ANNOTATION)


@pytest.mark.parametrize("data_type", [DataType.NUMERIC, DataType.BOOLEAN])
def test_patched_value_must_fit_the_data_type(data_type):
    with pytest.raises(Invalid) as raised:
        score(data_type=data_type).patched(ScoreChange(value="good"), at(1), ANA)
    assert [one.field for one in raised.value.errors] == ["value"]


# --- spans -----------------------------------------------------------------------------------


def test_runs_score_no_spans():
    with pytest.raises(ValueError, match="of the span"):
        replace(score(), span_id=SpanId(UUID(int=1)), run_id=RunId(UUID(int=2)))
    with pytest.raises(ValueError, match="with the value None"):
        replace(score(), span_id=SpanId(UUID(int=1)), value=None)
    of_span = replace(score(), span_id=SpanId(UUID(int=1)))
    assert [one.target for one in (score(), of_span)] == [ScoreTarget.TRACE, ScoreTarget.SPAN]


# --- lists -----------------------------------------------------------------------------------


def test_latest_by_name_excludes_pending():
    def named(name: str, number: int, seconds: float, **said: Any) -> TraceScore:
        return score(name=name, id=ScoreId(UUID(int=number)), created_at=at(seconds), **said)

    nothing = {"outcome": ScoreOutcome.PENDING, "value": None}
    rows = [
        named("b", 1, 0),
        named("b", 2, 1),
        named("b", 3, 1),
        named("b", 4, 2, **nothing),
        named("a", 5, 0, outcome=ScoreOutcome.FAILED, value=None),
        named("c", 6, 0, **nothing),
    ]
    assert [one.id.int for one in latest_by_name(rows)] == [5, 3]
    assert [one.id.int for one in newest_first(rows)] == [4, 3, 2, 6, 5, 1]
