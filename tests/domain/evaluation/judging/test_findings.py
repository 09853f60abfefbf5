"""Findings about a fulfilled request: one example for each, and what doesn't count."""

import re
from pathlib import Path
from typing import Any

import pytest

from domain.evaluation.evidence.builder import build_evidence
from domain.evaluation.judging import findings as module
from domain.evaluation.judging.findings import findings
from domain.tracing.span import SpanStatus
from domain.tracing.trace import TraceStatus
from tests.support.builders.evaluated_traces import model, retrieval, subject, tool
from tests.support.builders.labelled_traces import SECRETS

CUT = {"finish_reasons": ["length"]}
BROKEN = {"status": SpanStatus.ERROR, "error": "it broke"}
LEAVE = "Up to 5 days of leave may be carried over. They expire on 31 March."
TEXT = (
    "The board met on 4 May and approved 2.3 million euros for the warehouse in Kassel. It "
    "postponed the decision on the second shift until September, as nothing was ready."
)
TODOS = {"todos": [{"content": "a", "status": "completed"}, {"content": "b", "status": "pending"}]}


def names(*spans: Any, **said: Any) -> set[str]:
    return {one.name for one in findings(build_evidence(subject(*spans, **said)))}


EXAMPLES: list[tuple[str, list[Any], str, Any]] = [
    ("open_todos", [tool("write_todos", TODOS)], "Do a and b", "I did a."),
    ("check_failed", [tool("run", {}, "1 failed, 3 passed")], "Fix it", "It is fixed."),
    ("check_failed", [tool("run", {}, "x.c:8: error: no type")], "Build it", "It builds."),
    ("check_passed", [tool("run", {}, "12 passed in 0.4s")], "Fix it", "It works."),
    ("no_result", [retrieval([])], "Who owns it?", "The team in Lyon owns it."),
    ("no_result", [retrieval({"hits": [], "total": 0})], "Who owns it?", "The team in Lyon does."),
    ("loop", [tool(given=1), tool(given=1), tool(given=1)], "Find it", "Found it."),
    ("last_call_failed", [tool(**BROKEN)], "Find it", "Found it."),
    ("last_call_denied", [tool("pay", {}, {"status": "declined"})], "Pay it", "It is paid."),
    ("last_call_denied", [tool("book", {}, {"ok": False})], "Book it", "It is booked."),
    ("calls_succeeded", [tool(**BROKEN), tool()], "Find it", "Found it."),
    ("unrecovered", [tool("a", **BROKEN), tool("b")], "Find it", "Found it."),
    ("claim_without_call", [], "Cancel it", "I have cancelled it."),
    ("claim_without_call", [tool("get_order", {})], "Cancel it", "I have cancelled it."),
    ("claim_without_call", [tool("open_page", {})], "Cancel it", "I have cancelled it."),
    ("claim_without_call", [], "Bitte stornieren", "Die Bestellung wurde für Sie storniert."),
    ("claim_without_call", [], "ホテルを取って", "ホテルを予約しました。"),
    ("unfinished_plan", [model("1. find\n2. pay"), tool("find", {})], "Pay it", "Found it."),
    ("missing_terms", [tool("pay", {"to": "Ann"})], "Pay Ann 80 EUR", "Ann has the money."),
    ("unhandled_terms", [tool("cancel", {"id": "61881"})], "cancel 61188", "It was 61188."),
    ("handled_terms", [tool("cancel", {"id": "61188"})], "cancel 61188", "Done."),
    ("refusal", [], "Write a poem", "I'm sorry, but I can't help with that."),
    ("refusal", [], "Schreib etwas", "Dabei kann ich Ihnen leider nicht helfen."),
    ("admits_failure", [tool()], "Open it", "I could not open the file that you named."),
    ("admits_failure", [tool()], "Ouvre-le", "Je n'ai pas pu ouvrir le fichier que vous voulez."),
    ("announces_work", [], "Find it", "One moment, I will check that for you."),
    ("announces_work", [], "请查一下", "好的，我马上为您查询，请稍等。"),
    ("asks_back", [], "Book a table", "For how many people?"),
    ("wrong_language", [], "Wie lange muss ein Ei kochen?", "It has to be in the water for long."),
    ("wrong_language", [], 'Translate to French: "Here it is, for you."', "Aquí lo tiene usted."),
    ("translated", [], 'Translate to Spanish: "Here it is."', "Aquí lo tiene usted, por favor."),
    ("secret", [], "Which key?", f"It is {SECRETS['<aws-key>']}."),
    ("cut", [model("The", metadata=CUT)], "Write a letter", "Dear team, I write to you"),
    ("cut", [], "Write code", "```python\nx = 1"),
    ("raw", [], "List it", "Error: KeyError: 'x'"),
    ("raw", [], "Write a mail", "Dear [CUSTOMER NAME], thank you."),
    ("repetition", [], "Describe it", "It is a bright and open office. " * 6),
    ("not_summarised", [], f"Summarise: {TEXT}", TEXT),
    ("no_json", [], "Return JSON", "Sure, here it is."),
    ("missing_keys", [], 'JSON with the keys a, b: "x 1"', {"a": 1}),
    ("invented_values", [], "JSON with the key city: from Oslo", {"city": "Bergen"}),
    (
        "extracted",
        [],
        "JSON with the keys city, on: from Oslo on 4 May 2026",
        {
            "city": "Oslo",
            "on": "2026-05-04",
        },
    ),
    ("wrong_sum", [], "How many?", "6 × 14 = 94, so there are 94."),
    ("wrong_result", [], "What is 58 * 27?", "It is 1466."),
    ("right_sum", [], "15 % von 240?", "Das sind 36."),
    ("right_sum", [], "How many?", "6 × 14 = 84, so there are 84."),
    ("invented_numbers", [tool(got={"points": 320})], "How many?", "You have 3,250 points."),
    ("grounded_numbers", [tool(got={"total": 1204.5})], "How much?", "Es sind 1.204,50 Euro."),
    (
        "grounded_words",
        [retrieval([LEAVE])],
        "Leave?",
        "Leave may be carried over, and expires in March.",
    ),
    ("ungrounded_words", [retrieval([LEAVE])], "Leave?", "Interns require special visas quickly."),
    (
        "contradiction",
        [retrieval(["Guests may not use the internal network."])],
        "May they?",
        "Guests may use the internal network.",
    ),
]


@pytest.mark.parametrize(("name", "spans", "asked", "said"), EXAMPLES)
def test_findings_are_made(name, spans, asked, said):
    assert name in names(*spans, input=asked, output=said)


def test_failed_run_is_found():
    assert "run_failed" in names(input="x", output="y", status=TraceStatus.ERROR)


def test_every_finding_has_an_example():
    source = Path(module.__file__).read_text(encoding="utf-8")
    made = set(re.findall(r'Finding\(\s*"(\w+)"', source))
    assert made == {name for name, *_ in EXAMPLES} | {"run_failed"}


@pytest.mark.parametrize(
    ("name", "spans", "asked", "said"),
    [
        ("asks_back", [tool()], "Pay it", "It is paid. Is there anything else I can do?"),
        ("asks_back", [], "Bezahl das", "Erledigt. Kann ich sonst noch etwas für Sie tun?"),
        ("asks_back", [], "Translate to English: „Wo ist er?“", "Where is he now, and why?"),
        ("refusal", [], "Translate to English: „Ich kann nicht.“", "I'm sorry, I can't help you."),
        ("wrong_language", [], "Answer in German, please", "Das ist die Antwort, die Sie wollten."),
        *(
            ("claim_without_call", [tool(name, {})], "Cancel it", "I have cancelled it.")
            for name in ("cancel", "checkout", "checkOut", "open_ticket", "openAccount")
        ),
        ("claim_without_call", [], f"Summarise: {TEXT}", "The decision was moved."),
        ("no_result", [retrieval([])], "Who owns it?", "I could not find who owns it."),
        ("missing_terms", [tool("pay", None)], "Pay Ann 80 EUR", "Ann has the money."),
        ("invented_numbers", [tool(got={"each": 12, "seats": 6})], "Total?", "It is 72."),
        ("invented_numbers", [], "Tell me a year", "It was in 1862."),  # nothing to compare with
        ("raw", [], "What is [NAME OF X]?", "It is [NAME OF X]."),
        ("secret", [tool(got=SECRETS["<aws-key>"])], "Which account?", "The account of the team."),
        ("check_failed", [tool("run", {}, "1 failed"), tool("run", {}, "4 passed")], "Fix", "Ok"),
    ],
)
def test_findings_are_not_made(name, spans, asked, said):
    assert name not in names(*spans, input=asked, output=said)


def test_findings_contain_no_text_of_the_trace():
    secret = SECRETS["<openai-key>"]
    some = findings(build_evidence(subject(tool(given=secret, got=secret), output=secret)))
    assert not any(secret in f"{one.name} {one.reason}" for one in some)
