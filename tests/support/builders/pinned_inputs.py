"""Fixed inputs whose results by the checks and rules of custom metrics are pinned.

Names of subjects are single words: the file of results lists them in lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from domain.evaluation.custom_metrics.checks import CALLS_MAX, COMPARED_MAX
from domain.evaluation.custom_metrics.regex import TEXT_MAX
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.language import READ_MAX, Language
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import UsageRole
from tests.domain.evaluation.trace_content.test_language import NEIGHBOURS, SCRIPTS, TEXTS
from tests.support.builders.evaluated_traces import chat, json_payload, model, subject, tool
from tests.support.builders.values import at

_USED: Final = {"token_usage": {"prompt_tokens": 900, "completion_tokens": 100}}
_KEY: Final = "sk-" + "a1B2" * 8
_MAIL: Final = "ada@example.com"
_CARD: Final = "4111 1111 1111 1111"
_PHONE: Final = "+47 22 12 34 56"


def _expecting(expected: object, output: object, *spans: Any) -> EvaluatedTrace:
    """The result of an item of a dataset that expects this."""
    return replace(subject(*(spans or [tool()]), output=output), expected=json_payload(expected))


def _calling(names: str) -> EvaluatedTrace:
    return subject(*(tool(name, {"n": n}) for n, name in enumerate(names)))


_ANSWERS: Final[Mapping[str, object]] = {
    "no_output": None,
    "blank": " \n",
    "word": "Oslo",
    "sentence": "Flight booked.",
    "capitals": "FLIGHT BOOKED.",
    "lines": "First line\nFlight booked.\n",
    "kitten": "kitten",
    "sitting": "sitting",
    "precomposed": "caf\u00e9",
    "combining": "cafe\u0301",
    "emoji": "👩‍🚀 booked 🎉",
    "object": '{"id": 1}',
    "object_float": '{"id": 1.0}',
    "object_fraction": '{"id": 1.5}',
    "object_text": '{"id": "1"}',
    "object_true": '{"id": true}',
    "object_more": '{"id": 1, "x": [2]}',
    "object_twice": '{"id": 2, "id": 1}',
    "object_spaced": ' \n{"id": 1}\t',
    "object_fenced": '```json\n{"id": 1}\n```',
    "object_value": {"id": 1},
    "array": "[1, 2, 3]",
    "array_mixed": '[1, "2", null, true]',
    "array_value": [1, 2, 3],
    "empty_object": "{}",
    "empty_array": "[]",
    "null": "null",
    "true": "true",
    "quoted": '"yes"',
    "quotes": "{'id': 1}",
    "not_a_number": "NaN",
    "infinite": "-Infinity",
    "deep": "[" * 5_000,
    "zero": "0",
    "minus_zero": "-0.0",
    "three": "3",
    "three_float": "3.0",
    "three_and_more": "3.1",
    "three_and_most": "3.5",
    "three_and_too_much": "3.5000001",
    "minus_three": "-3",
    "exponent": "3e0",
    "plus": "+3",
    "with_unit": "3 km",
    "grouped": "3,000",
    "huge": "1e16",
    "overflowing": "1e999",
    "long_text": "word " * (TEXT_MAX // 5) + "gold.",
    "late_mail": "word " * (TEXT_MAX // 5) + _MAIL,
    "compared": "a" * COMPARED_MAX,
    "beyond_compared": "a" * (COMPARED_MAX + 5),
    "secret": f"the key is {_KEY}",
    "short_secret": "the key is sk-123",
    "bearer": "Authorization: Bearer " + "abcdEFGH1234" * 2,
    "mail": f"write to {_MAIL}",
    "two_mails": f"write to {_MAIL} or bob@example.org",
    "card": f"pay with {_CARD}",
    "wrong_card": "pay with 4111 1111 1111 1112",
    "phone": f"call {_PHONE}",
    "date": "on 2026-03-01 at 12:00",
    "leaks": f"{_KEY} {_MAIL} {_CARD} {_PHONE}",
    "said": chat(("user", "Where to?"), ("assistant", "Flight booked.")),
}

_TRACES: Final[Mapping[str, EvaluatedTrace]] = {
    "no_spans": subject(output="Flight booked."),
    "running": subject(tool(), status=TraceStatus.RUNNING),
    "failed": subject(tool(status=SpanStatus.ERROR, error="full"), status=TraceStatus.ERROR),
    "at_once": subject(tool(), ended_at=at(0)),
    "second": subject(tool(), ended_at=at(1)),
    "second_and_half": subject(tool(), ended_at=at(1.5)),
    "two_seconds": subject(tool(), ended_at=at(2)),
    "four_seconds": subject(tool(), ended_at=at(4)),
    "backwards": subject(tool(), ended_at=at(-1)),
    "timed": subject(
        model("a", started_at=at(1), completion_started_at=at(1.1)),
        model("b", started_at=at(2), completion_started_at=at(2.3)),
        model("c"),
    ),
    "first_token_at_once": subject(model(started_at=at(1), completion_started_at=at(1))),
    "untimed": subject(model()),
    "priced": subject(model(cost={"total": 0.15}, **_USED), tool()),
    "priced_in_part": subject(model(cost={"total": 0.15}), model()),
    "priced_by_table": subject(model(model="gpt-4o", **_USED)),
    "free": subject(model(cost={"total": 0}, **_USED)),
    "used_in_part": subject(model(**_USED), model()),
    "used_twice": subject(model(**_USED), model(**_USED)),
    "summed_up": subject(
        tool(kind=SpanKind.AGENT, usage_role=UsageRole.ROLLUP, cost={"total": 0.15}, **_USED),
        model(cost={"total": 0.15}, **_USED),
        model(usage_role=UsageRole.DUPLICATE, cost={"total": 0.15}, **_USED),
    ),
    **{f"calls_{names}": _calling(names) for names in ("a", "abc", "acb", "cba", "abcd", "aabc")},
    "calls_other": _calling("xyz"),
    "calls_in_capitals": _calling("ABC"),
    "calls_many": _calling("a" * 30),
    "calls_too_many": _calling("a" * (CALLS_MAX + 1)),
    "flew": subject(tool("fly", {"to": "Oslo", "n": 1.0})),
    "flew_elsewhere": subject(tool("fly", {"to": "Rome"})),
    "flew_twice": subject(tool("fly", {"to": "Rome"}), tool("fly", {"to": "Oslo"})),
    "flew_without": subject(tool("fly")),
    "mailed": subject(tool("mail", {"to": _MAIL}, {"key": _KEY}), output="sent"),
    "asked": subject(model(), input=chat(("user", "Book Oslo")), output="Booked."),
    "tagged": subject(
        tool("search", {"q": "Oslo", "deep": {"a.b": [1, {"c": None}]}}, ["one", "two"]),
        tool("book", {"to": "Oslo"}, {"error": "full"}, status=SpanStatus.ERROR, error="full"),
        model("done", model="gpt-4o", token_usage={"prompt_tokens": 10, "completion_tokens": 5}),
        name="trip",
        status=TraceStatus.COMPLETED,
        ended_at=at(90),
        tags=("prod", "eu"),
        environment="production",
        release="7",
        session_id="s-1",
        user_id="u-1",
        input=chat(("user", "Book Oslo")),
        output="I am sorry, it is full.",
        metadata={"tier": "gold", "n": 1, "is": True, "none": None, "list": [1, [2], {"a": 3}]},
    ),
    "three_tags": subject(
        tool(metadata={"a": 1}),
        tags=("a", "eu", "b"),
        metadata={"none": 1, "tier": 3},
        input={"to": "Oslo"},
    ),
    "silver": subject(
        tool("book", {"to": "Rome"}, started_at=at(1), ended_at=at(3)),
        name="Trip",
        ended_at=at(3),
        metadata={"tier": "silver", "n": 1.0, "is": 1},
    ),
    "expects_text": _expecting("Flight booked.", "Flight booked."),
    "expects_other_text": _expecting("No flight", "Flight booked."),
    "expects_part": _expecting("booked", "Flight booked."),
    "expects_number": _expecting(3, "3.1"),
    "expects_number_as_text": _expecting("3", "3"),
    "expects_true": _expecting(True, "true"),
    "expects_object": _expecting({"id": 1, "b": None}, '{"b": null, "id": 1.0}'),
    "expects_other_object": _expecting({"id": [1, 2]}, '{"id": [1]}'),
    "expects_calls": _expecting(["a", "b"], "done", tool("a"), tool("b"), tool("c")),
    "expects_call_with": _expecting(
        [{"name": "fly", "arguments": {"to": "Oslo"}}], "done", tool("fly", {"to": "Oslo", "n": 1})
    ),
    "expects_no_call": _expecting([], "done"),
}

SUBJECTS: Final[Mapping[str, EvaluatedTrace]] = {
    **{name: subject(tool(), output=output) for name, output in _ANSWERS.items()},
    **_TRACES,
}
"""Subjects of every check but `language_match`, and of rules."""

_PROSE: Final = "the of and was with this that had not are".split()  # of English alone
_OTHERS: Final = "der und nicht auf sie nach wird auch werden sich".split()  # of German alone


def _mixed(*parts: tuple[Sequence[str], int]) -> str:
    """As many words of each part, from its beginning again once all were taken."""
    return " ".join(words[n % len(words)] for words, count in parts for n in range(count))


# Around each threshold of the detection: shares of function words, of another language, of letters
# that no known language has, of a script, and of kana.
_AT_THRESHOLDS: Final[Mapping[str, str]] = {
    **{
        f"prose_{known}_of_{known + unknown}": _mixed((_PROSE, known), (["zzq"], unknown))
        for known, unknown in (
            *((1, 3), (2, 2), (2, 8), (2, 10), (2, 11), (2, 12), (3, 15), (3, 17), (3, 18)),
            *((1, 4), (3, 3), (3, 16), (4, 22), (4, 23)),
        )
    },
    **{
        f"prose_{own}_and_{other}": _mixed((_PROSE, own), (_OTHERS, other))
        for own, other in ((4, 2), (4, 3), (5, 3), (5, 4), (7, 5), (8, 5), (14, 10), (15, 11))
    },
    **{
        f"prose_{own}_foreign_{foreign}": _mixed((_PROSE, own), (["ėė"], foreign))
        for own, foreign in ((8, 1), (8, 2), (19, 2), (20, 2), (27, 3), (28, 3), (30, 3))
    },
    **{
        f"latin_{latin}_greek_{greek}": _mixed((_PROSE, latin), (["καλα"], greek))
        for latin, greek in ((4, 2), (5, 3), (5, 4), (6, 4), (7, 4), (3, 5), (4, 6), (4, 7))
    },
    **{
        f"kana_{kana}_of_{kana + han}": "の" * kana + "航" * han
        for kana, han in ((1, 8), (1, 9), (1, 10), (2, 17), (2, 18), (2, 19), (0, 4), (0, 3))
    },
}
_TEXTS: Final[Mapping[str, str]] = {
    **TEXTS,
    **_AT_THRESHOLDS,
    **SCRIPTS,
    **{f"neighbour_{name}": text for name, text in NEIGHBOURS.items()},
    "two_words": "Oslo, Bergen",
    "three_words": "the of and",
    "numbers": "12 + 30 = 42",
    "mixed": "Рейс в Осло забронирован, your flight is booked",
    "names": "Booking HAT123 SAS Oslo Gardermoen terminal gate",
    "code": "```\nthe of and to in is was that for it\n```",
    "code_and_prose": "Das ist die Antwort, die Sie von `the_tool` haben wollten: “of the”",
    "quoting": "Привет means hello, and that is how it is said in Russian",
    "kana_seldom": "您飞往奥斯陆的航班已预订の",
    "product": "iPhone 15 Proを予約しました",
    "json": '{"this": "is the answer that you had to have"}',
    "blank": " ",
    "changes_late": "und das ist die " * (READ_MAX // 16) + "the of and to in " * READ_MAX,
}
_ASKED: Final[Mapping[str, tuple[str | None, str]]] = {
    f"{asked}_then_{answered}": (_TEXTS[asked], _TEXTS[answered])
    for asked, answered in (
        *(("en", "en"), ("en", "de"), ("ru", "uk"), ("ru", "cyrillic"), ("ru", "en")),
        *(("zh", "ja"), ("two_words", "en"), ("en", "two_words"), ("cyrillic", "cyrillic")),
    )
}
WRITTEN: Final[Mapping[str, EvaluatedTrace]] = {
    name: subject(tool(), input=asked, output=answer)
    for name, (asked, answer) in {
        **{name: (None, text) for name, text in _TEXTS.items()},
        **_ASKED,
    }.items()
}
"""Subjects of `language_match`."""

_ITEM: Final = {"expected_from": "item"}
_ABC: Final = {"expected": ["a", "b", "c"]}
_TO_OSLO: Final = {"expected": [{"name": "fly", "arguments": {"to": "Oslo"}}]}
_SCHEMA: Final = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}

PARAMETERS: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "latency_slo": [
        {"target_ms": 1_000},
        {"target_ms": 1_000, "hard_ms": 5_000},
        {"target_ms": 0, "hard_ms": 3_000},
    ],
    "ttft_slo": [{"target_ms": 200}, {"target_ms": 100, "hard_ms": 1_000}],
    "cost_budget": [{"usd": 0.1}, {"usd": 0, "hard_usd": 1}, {"usd": 0.15}],
    "token_budget": [{"tokens": 500}, {"tokens": 1_500}, {"tokens": 1_000, "hard_tokens": 4_000}],
    "step_budget": [{"max_calls": 2}, {"max_llm": 1}, {"max_calls": 2, "max_llm": 1}],
    "json_valid": [{}],
    "json_equality": [
        *({"expected": one} for one in ({"id": 1}, [1, 2, 3], 3, "yes", True, 0, {})),
        _ITEM,
    ],
    "numeric_tolerance": [
        {"expected": 3},
        {"expected": 3, "absolute": 0.1},
        {"expected": 3, "relative": 0.2},
        {"expected": 2.5, "absolute": 1, "relative": 0.1},
        {"expected": 0, "relative": 1},
        {**_ITEM, "absolute": 0.1},
    ],
    "json_schema": [
        {"schema": one}
        for one in (
            {},
            _SCHEMA,
            {**_SCHEMA, "additionalProperties": True},
            {**_SCHEMA, "additionalProperties": {"type": "array"}},
            {"type": ["null", "boolean", "number"]},
            {"type": "array", "items": {"type": "number", "minimum": 1, "maximum": 3}},
            {"type": "string", "minLength": 2, "maxLength": 3},
            {"enum": [3, "yes", {"id": 1}, None]},
            {"const": [1, 2, 3]},
            {"minimum": 1, "maximum": 3.1},
        )
    ],
    "text_match": [
        {"op": "equals", "value": "Flight booked."},
        {"op": "contains", "value": "booked"},
        {"op": "contains", "value": "gold."},
        {"op": "starts_with", "value": "Flight"},
        {"op": "ends_with", "value": "booked."},
        {"op": "matches", "value": "^F.*d"},
        {"op": "matches", "value": "(?i)flight"},
        {"op": "equals", "value": "gold", "path": "trace.metadata.tier"},
        {"op": "equals", "value": "1", "path": "trace.metadata.n"},
        {"op": "contains", "value": "Oslo", "path": "request"},
        {"op": "equals", **_ITEM},
        {"op": "contains", **_ITEM},
    ],
    "levenshtein": [
        *({"expected": text} for text in ("kitten", "Flight booked.", "caf\u00e9", "a" * 2_000)),
        _ITEM,
    ],
    "language_match": [
        {"language": one} for one in (*(one.value for one in Language), "same_as_input")
    ],
    "secret_leak": [{}, {"path": "spans.output"}, {"path": "trace.input"}],
    "pii_leak": [
        {},
        *({"kinds": [one]} for one in ("email", "phone", "card")),
        {"path": "spans[kind=TOOL].input"},
    ],
    "tool_permission": [
        {"allow": ["a", "b"]},
        {"allow": []},
        {"deny": ["a", "fly"]},
        {"allow": ["a", "b", "c"], "deny": ["b"]},
    ],
    "trajectory_match": [
        *(
            {**_ABC, "mode": mode, "arg_mode": "ignore"}
            for mode in ("strict", "unordered", "subset", "superset")
        ),
        {"expected": ["a", "a", "c"], "mode": "unordered"},
        {**_TO_OSLO, "arg_mode": "exact"},
        {**_TO_OSLO, "arg_mode": "subset", "mode": "subset"},
        {**_TO_OSLO, "arg_mode": "subset", "mode": "superset"},
        _ITEM,
        {**_ITEM, "arg_mode": "subset"},
    ],
}
"""The parameters of each check; each is applied to each of its subjects."""


def _if(path: str, op: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"path": path, "op": op, **({} if value is None else {"value": value}), **more}


_TRIP: Final = _if("trace.name", "eq", "trip")
_GOLD: Final = _if("trace.metadata.tier", "eq", "gold")
_CALLED: Final = _if("spans[kind=TOOL]", "ge", 1)
RULES: Final[Sequence[Mapping[str, Any]]] = [
    _TRIP,
    _if("trace.name", "ne", "trip"),
    _if("trace.name", "in", ["trip", "Trip", 1]),
    _if("trace.status", "in", ["ERROR", "COMPLETED"]),
    _if("trace.duration_ms", "lt", 1_500),
    _if("trace.duration_ms", "le", 1_500),
    _if("trace.tokens", "gt", 1_000),
    _if("trace.tokens", "ge", 1_000),
    _if("trace.cost", "eq", 0.15),
    _if("trace.cost", "exists", True),
    _if("trace.tags", "contains", "eu"),
    _if("trace.tags[-1]", "eq", "eu"),
    _if("trace.tags[2]", "exists", False),
    _if("trace.environment", "matches", "^prod"),
    _if("trace.release", "not_matches", "8"),
    _if("trace.session_id", "eq", "s-1"),
    _if("trace.user_id", "exists"),
    _GOLD,
    _if("trace.metadata.n", "eq", 1),
    _if("trace.metadata.is", "eq", True),
    _if("trace.metadata.n", "in", [1, 2]),
    _if("trace.metadata.is", "in", [1]),
    _if("trace.metadata.none", "exists", True),
    _if("trace.metadata.list", "contains", 1.0),
    _if("trace.metadata.list[1][0]", "eq", 2),
    _if("trace.metadata.list[-1].a", "gt", 2),
    _if("trace.metadata.tier", "lt", 5),
    _if("trace.metadata", "matches", '"tier": ?"gold"'),
    _if("trace.input.messages[0].content", "contains", "Oslo"),
    _if("trace.output.id", "eq", 1),
    _if("trace.output", "contains", 3),
    _if("request", "eq", "Book Oslo"),
    _if("answer", "matches", "(?i)BOOKED"),
    _if("answer", "not_matches", "booked"),
    _if("answer", "contains", "gold."),
    _if("answer", "exists", False),
    _if("spans", "eq", 1),
    _CALLED,
    _if('spans[kind=TOOL,name="book"]', "eq", 1),
    _if("spans[status=ERROR].error", "contains", "full"),
    _if("spans[model=gpt-4o].tokens", "ge", 15),
    _if("spans[kind=TOOL].name", "in", ["a", "fly"]),
    _if("spans[kind=TOOL].name", "in", ["a", "fly"], over="all"),
    _if("spans.status", "ne", "ERROR", over="all"),
    _if("spans.kind", "eq", "TOOL", over="all"),
    _if("spans.model", "exists", False, over="all"),
    _if("spans.duration_ms", "ge", 2_000),
    _if("spans.first_token_ms", "le", 100, over="any"),
    _if("spans.cost", "gt", 0.1),
    _if('spans[name=search].input.deep."a.b"[0]', "eq", 1),
    _if("spans.input.to", "eq", "Oslo"),
    _if("spans.output", "contains", "two"),
    _if("spans.metadata", "exists", True),
    {"all": [_TRIP, _GOLD, _CALLED]},
    {"any": [_TRIP, _CALLED]},
    {"none": [_GOLD, _CALLED]},
    {"not": _CALLED},
    {"all": [_CALLED, {"any": [_GOLD, {"not": _TRIP}]}, {"none": [_TRIP, _GOLD]}]},
]
"""Rules, each applied to each of the subjects."""
