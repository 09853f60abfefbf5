"""Checks with parameters: golden values, skips, errors, and properties."""

from functools import cache
from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.custom_metrics.checks import (
    CALLS_MAX,
    COMPUTED_CHECKS,
    edit_distance,
    maximum_matching,
    ramp,
)
from domain.evaluation.custom_metrics.regex import TEXT_MAX
from domain.evaluation.metrics.metric import DefinitionKind
from domain.evaluation.scores.outcome import Scored, SkipCode
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.json_schema import json_equal
from domain.evaluation.trace_content.text import longest_common_subsequence
from domain.tracing.span import SpanKind
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import UsageRole
from tests.support.builders import strategies
from tests.support.builders.custom_metrics import metric, taken
from tests.support.builders.evaluated_traces import model, subject, tool
from tests.support.builders.values import at, prices

USED = {"token_usage": {"prompt_tokens": 900, "completion_tokens": 100}}
SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}


SERBIAN = "Резервација лета за Осло успешна"


def mistakes(kind, **parameters):
    with pytest.raises(Invalid) as refused:
        metric(DefinitionKind.MEASURED, {"type": kind, "parameters": parameters})
    return {one.field.removeprefix("definition.") for one in refused.value.errors}


def calls(names):
    return subject(*(tool(name, {"n": n}) for n, name in enumerate(names)))


def lasting(seconds):
    return subject(tool(), ended_at=at(seconds))


def answering(output, **more):
    return subject(tool(), output=output, **more)


SUMMED_UP = subject(
    tool(kind=SpanKind.AGENT, usage_role=UsageRole.ROLLUP, cost={"total": 0.15}, **USED),
    model(cost={"total": 0.15}, **USED),
    model(usage_role=UsageRole.DUPLICATE, cost={"total": 0.15}, **USED),
)


# --- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "parameters", "of", "value"),
    [
        ("latency_slo", {"target_ms": 1_000}, lasting(1), 1.0),
        ("latency_slo", {"target_ms": 1_000}, lasting(1.5), 0.5),
        ("latency_slo", {"target_ms": 1_000}, lasting(2), 0.0),
        ("latency_slo", {"target_ms": 1_000, "hard_ms": 5_000}, lasting(2), 0.75),
        ("latency_slo", {"target_ms": 0, "hard_ms": 1}, lasting(0), 1.0),
        (
            "ttft_slo",
            {"target_ms": 200},
            subject(
                model("a", started_at=at(1), completion_started_at=at(1.1)),
                model("b", started_at=at(2), completion_started_at=at(2.3)),
                model("c"),
            ),
            0.5,
        ),
        ("cost_budget", {"usd": 0.1}, subject(model("a", cost={"total": 0.15})), 0.5),
        ("token_budget", {"tokens": 1_500}, subject(model(**USED), model(**USED)), 0.6667),
        ("cost_budget", {"usd": 0.1}, SUMMED_UP, 0.5),
        ("token_budget", {"tokens": 500}, SUMMED_UP, 0.0),
        ("token_budget", {"tokens": 1_000}, SUMMED_UP, 1.0),
        ("step_budget", {"max_calls": 2}, calls("abc"), 0.5),
        ("step_budget", {"max_calls": 9, "max_llm": 1}, subject(tool(), model(), model()), 0.0),
        ("step_budget", {"max_llm": 1}, calls("abc"), 1.0),
    ],
)
def test_limit_checks_fall_from_1_to_0(kind, parameters, of, value):
    assert taken(kind, of, **parameters).value == value


@pytest.mark.parametrize(
    ("kind", "parameters", "of", "code"),
    [
        ("latency_slo", {"target_ms": 1}, subject(tool()), SkipCode.TRACE_RUNNING),
        ("ttft_slo", {"target_ms": 1}, subject(model()), SkipCode.NOT_TIMED),
        ("cost_budget", {"usd": 1}, subject(tool()), SkipCode.NO_PRICES),
        ("cost_budget", {"usd": 1}, subject(model(cost={"total": 9}), model()), SkipCode.NO_PRICES),
        ("token_budget", {"tokens": 1}, subject(tool()), SkipCode.NO_USAGE),
        ("token_budget", {"tokens": 1}, subject(model(**USED), model()), SkipCode.NO_USAGE),
        ("step_budget", {"max_calls": 1}, subject(), SkipCode.NO_SPANS),
        ("json_valid", {}, answering(" "), SkipCode.EMPTY_OUTPUT),
        ("json_schema", {"schema": {}}, answering(None), SkipCode.EMPTY_OUTPUT),
        ("text_match", {"op": "equals", "value": "x"}, answering(""), SkipCode.EMPTY_OUTPUT),
        ("levenshtein", {"expected": "x"}, answering(""), SkipCode.EMPTY_OUTPUT),
        ("language_match", {"language": "en"}, answering(" "), SkipCode.EMPTY_OUTPUT),
        ("language_match", {"language": "en"}, answering("Oslo"), SkipCode.TOO_SHORT),
        (
            "language_match",
            {"language": "same_as_input"},
            answering("This is the answer that you wanted.", input="Oslo?"),
            SkipCode.TOO_SHORT,
        ),
        ("language_match", {"language": "ru"}, answering(SERBIAN), SkipCode.UNKNOWN_LANGUAGE),
        (
            "language_match",
            {"language": "same_as_input"},
            answering("Рейс в Осло забронирован, это так.", input=SERBIAN),
            SkipCode.UNKNOWN_LANGUAGE,
        ),
        (
            "language_match",
            {"language": "en"},
            answering({"this": "is the answer that you had to have"}),
            SkipCode.STRUCTURED_OUTPUT,
        ),
        ("secret_leak", {}, answering(None), SkipCode.EMPTY_OUTPUT),
        ("pii_leak", {"path": "spans[kind=LLM].output"}, answering("a"), SkipCode.EMPTY_OUTPUT),
        ("tool_permission", {"deny": ["x"]}, subject(model()), SkipCode.NO_TOOL_CALLS),
        (
            "trajectory_match",
            {"expected": ["a"], "mode": "subset"},
            subject(model()),
            SkipCode.NO_TOOL_CALLS,
        ),
    ],
)
def test_checks_without_data_are_skipped(kind, parameters, of, code):
    assert taken(kind, of, **parameters).code is code


def test_trajectory_match_skips_too_many_calls():
    many = calls("a" * (CALLS_MAX + 1))
    found = taken("trajectory_match", many, expected=["a"])
    assert found.code is SkipCode.TRACE_TOO_LARGE


numbers = st.floats(0, 1e6)


@given(value=numbers, more=numbers, target=numbers, room=st.floats(1e-3, 1e6))
def test_ramp_is_monotonic_within_0_and_1(value, more, target, room):
    first, then = ramp(value, target, target + room), ramp(value + more, target, target + room)
    assert 0.0 <= then <= first <= 1.0
    assert ramp(target, target, target + room) == 1.0
    assert ramp(target + room, target, target + room) == 0.0


# --- texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_json"),
    [
        ('{"a": [1, null]}', True),
        ({"a": 1}, True),
        ([1], True),
        ("2024", True),
        ("true", True),
        ('```json\n{"a": 1}\n```', False),
        ("{'a': 1}", False),
        ('{"a": NaN}', False),
        ("[" * 5_000, False),
        ("hello", False),
    ],
)
def test_json_valid(text, is_json):
    assert taken("json_valid", answering(text)).value == float(is_json)


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"id": 1}', 1.0), ('{"id": "1"}', 0.0), ('{"id": 1, "x": 2}', 0.0), ("no", 0.0)],
)
def test_json_schema(text, value):
    assert taken("json_schema", answering(text), schema=SCHEMA).value == value


@pytest.mark.parametrize(
    ("parameters", "value"),
    [
        ({"op": "equals", "value": "Flight booked."}, 1.0),
        ({"op": "equals", "value": "Flight booked"}, 0.0),
        ({"op": "contains", "value": "booked"}, 1.0),
        ({"op": "contains", "value": "BOOKED"}, 0.0),
        ({"op": "starts_with", "value": "Flight"}, 1.0),
        ({"op": "ends_with", "value": "booked."}, 1.0),
        ({"op": "matches", "value": "^F.*d"}, 1.0),
        ({"op": "matches", "value": "^booked"}, 0.0),
        ({"op": "contains", "value": "gold", "path": "trace.metadata.tier"}, 1.0),
        ({"op": "contains", "value": "gold", "path": "trace.metadata.nothing"}, 0.0),
    ],
)
def test_text_match(parameters, value):
    of = answering("Flight booked.", metadata={"tier": "gold"})
    assert taken("text_match", of, **parameters).value == value


@pytest.mark.parametrize(
    ("op", "value", "found"),
    [
        ("ends_with", "gold.", 1.0),
        ("contains", "gold", 1.0),
        ("ends_with", "word ", 0.0),
    ],
)
def test_long_texts_are_compared_to_their_end(op, value, found):
    of = answering("word " * (TEXT_MAX // 5) + "gold.")
    assert taken("text_match", of, op=op, value=value).value == found


def test_levenshtein():
    found = taken("levenshtein", answering("sitting"), expected="kitten")
    assert (found.value, found.metadata["edits"]) == (0.5714, 3)
    assert taken("levenshtein", answering("same"), expected="same").value == 1.0
    assert taken("levenshtein", answering("abc"), expected="xyz").value == 0.0


ENGLISH, GERMAN = "This is what you have asked me for.", "Das ist es, was Sie haben wollten."


@pytest.mark.parametrize(
    ("language", "asked", "answered", "value"),
    [
        ("en", None, ENGLISH, 1.0),
        ("de", None, ENGLISH, 0.0),
        ("ja", None, ENGLISH, 0.0),
        ("cyrillic", None, "Рейс в Осло забронирован", 1.0),
        ("pl", None, "Lot do Oslo jest już zarezerwowany i opłacony.", 1.0),
        ("ru", None, "Рейс до Осло заброньовано, і ви отримаєте лист.", 0.0),
        ("same_as_input", "Забронируй мне рейс в Осло, и это всё.", "Рейс і лист для вас є.", 0.0),
        ("same_as_input", GERMAN, ENGLISH, 0.0),
        ("same_as_input", GERMAN, GERMAN, 1.0),
        ("same_as_input", "Рейс в Осло забронирован", ENGLISH, 0.0),
    ],
)
def test_language_match(language, asked, answered, value):
    found = taken("language_match", answering(answered, input=asked), language=language)
    assert found.value == value
    assert found.reason.startswith("the answer seems to be ")


words = st.text(alphabet="abc", max_size=12)


@given(one=words, other=words)
@example(one="a" * 70, other="b" * 65)
def test_edit_distance_equals_the_table_algorithm(one, other):
    @cache
    def table(i: int, j: int) -> int:
        if not i or not j:
            return i or j
        changed = one[i - 1] != other[j - 1]
        return min(table(i - 1, j) + 1, table(i, j - 1) + 1, table(i - 1, j - 1) + changed)

    assert edit_distance(one, other) == table(len(one), len(other))


KEY = "sk-" + "a1B2" * 8
MAIL, CARD = "ada@example.com", "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("kind", "parameters", "text", "found"),
    [
        ("secret_leak", {}, f"the key is {KEY}", {"secret": 1}),
        ("secret_leak", {}, f"write to {MAIL}", {}),
        ("pii_leak", {}, f"write to {MAIL} or {MAIL}, pay with {CARD}", {"email": 2, "card": 1}),
        ("pii_leak", {"kinds": ["phone"]}, f"write to {MAIL}", {}),
        ("pii_leak", {}, f"the key is {KEY}", {}),
        ("pii_leak", {}, "nothing here", {}),
    ],
)
def test_leaks_are_counted_but_not_quoted(kind, parameters, text, found):
    outcome = taken(kind, answering(text), **parameters)
    assert outcome.value == (0.0 if found else 1.0)
    assert outcome.metadata["found"] == found
    reported = f"{outcome.reason} {outcome.metadata}"
    assert KEY not in reported
    assert MAIL not in reported


def test_leaks_are_searched_at_the_given_path():
    of = subject(tool("mail", {"to": MAIL}), output="sent")
    assert taken("pii_leak", of).value == 1.0
    assert taken("pii_leak", of, path="spans[kind=TOOL].input").value == 0.0


# --- calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "value"),
    [
        ({"allow": ["a", "b", "c"]}, 1.0),
        ({"allow": ["a", "b"]}, 0.75),
        ({"allow": []}, 0.0),
        ({"deny": ["a"]}, 0.5),
        ({"allow": ["a", "b"], "deny": ["b"]}, 0.5),
    ],
)
def test_tool_permission(parameters, value):
    assert taken("tool_permission", calls("aabc"), **parameters).value == value


@pytest.mark.parametrize(
    ("made", "mode", "value"),
    [
        ("abc", "strict", 1.0),
        ("acb", "strict", 0.6667),
        ("abcd", "strict", 0.75),
        ("ab", "strict", 0.6667),
        ("", "strict", 0.0),
        ("cba", "unordered", 1.0),
        ("cbaa", "unordered", 0.75),
        ("ab", "unordered", 0.6667),
        ("cbaxyz", "superset", 1.0),
        ("ab", "superset", 0.6667),
        ("", "superset", 0.0),
        ("ca", "subset", 1.0),
        ("caxx", "subset", 0.5),
        ("aa", "subset", 0.5),
    ],
)
def test_trajectory_match(made, mode, value):
    found = taken("trajectory_match", calls(made), expected=["a", "b", "c"], mode=mode)
    assert found.value == value


@pytest.mark.parametrize(
    ("arg_mode", "arguments", "value"),
    [
        ("exact", {"to": "Oslo", "n": 1}, 1.0),
        ("exact", {"to": "Oslo"}, 0.0),
        ("subset", {"to": "Oslo"}, 1.0),
        ("subset", {"to": "Rome"}, 0.0),
        ("subset", {"via": None}, 0.0),
    ],
)
def test_trajectory_match_can_compare_arguments(arg_mode, arguments, value):
    of = subject(tool("fly", {"to": "Oslo", "n": 1.0}))
    due = {"name": "fly", "arguments": arguments}
    assert taken("trajectory_match", of, expected=[due], arg_mode=arg_mode).value == value


@pytest.mark.parametrize("arg_mode", ["exact", "subset"])
def test_trajectory_match_reads_arguments_once(arg_mode):
    """Otherwise large arguments of many calls would keep a worker busy for minutes."""

    class Counted(dict):
        reads = 0

        def __getitem__(self, key):
            self.reads += 1
            return super().__getitem__(key)

        def items(self):
            self.reads += 1
            return super().items()

    due = Counted(to="Oslo")
    made = subject(*(tool("fly", {"to": "Oslo"}) for _ in range(100)))
    expected = [{"name": "fly", "arguments": due}]
    found = taken("trajectory_match", made, expected=expected, arg_mode=arg_mode)
    assert found.value == 1 / 100
    assert due.reads == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 0.5, 1.0, "x", "object"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(due=values, made=values)
def test_trajectory_match_compares_arguments_as_json(due, made):
    def match(arg_mode):
        expected = [{"name": "fly", "arguments": due}]
        of = subject(tool("fly", {"arguments": made}))
        return taken("trajectory_match", of, expected=expected, arg_mode=arg_mode).value

    assert match("exact") == float(json_equal(made, due))
    is_within = json_equal(made, due)
    if isinstance(due, dict) and isinstance(made, dict):
        is_within = all(name in made and json_equal(made[name], due[name]) for name in due)
    assert match("subset") == float(is_within)


tables = st.integers(0, 4).flatmap(
    lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), max_size=4)
)


@given(tables)
def test_maximum_matching_equals_brute_force(made):
    width = len(made[0]) if made else 0
    seats = [*range(width), *([None] * len(made))]
    best = max(
        sum(at is not None and made[due][at] for due, at in enumerate(chosen))
        for chosen in permutations(seats, len(made))
    )
    assert maximum_matching(made) == best
    assert longest_common_subsequence(made) <= best


@given(st.text(alphabet="ab", max_size=8), st.text(alphabet="ab", max_size=8))
def test_longest_common_subsequence_is_symmetric(one, other):
    def table(left, right):
        return [[a == b for b in right] for a in left]

    found = longest_common_subsequence(table(one, other))
    assert found == longest_common_subsequence(table(other, one))
    assert found == longest_common_subsequence(table(one[::-1], other[::-1]))
    if one:
        assert longest_common_subsequence(table(one, one)) == len(one)


# --- all -------------------------------------------------------------------------------------

GOOD = {
    "latency_slo": {"target_ms": 1_000},
    "ttft_slo": {"target_ms": 100},
    "cost_budget": {"usd": 1},
    "token_budget": {"tokens": 100},
    "step_budget": {"max_calls": 3, "max_llm": 3},
    "json_valid": {},
    "json_equality": {"expected": {"a": 1}},
    "numeric_tolerance": {"expected": 3, "absolute": 0.5},
    "json_schema": {"schema": SCHEMA},
    "text_match": {"op": "matches", "value": "a"},
    "levenshtein": {"expected": "abc"},
    "language_match": {"language": "same_as_input"},
    "tool_permission": {"allow": ["a"], "deny": ["b"]},
    "trajectory_match": {"expected": ["a", "b"]},
    "secret_leak": {"path": "spans.output"},
    "pii_leak": {"path": "trace.input", "kinds": ["email"]},
}


def test_every_check_has_test_parameters():
    assert set(GOOD) == set(COMPUTED_CHECKS)


@given(trace=strategies.traces())
def test_checks_of_any_trace_give_an_outcome(trace):
    settled = EvaluatedTrace(trace.settled(prices().price))
    for kind, parameters in GOOD.items():
        found = taken(kind, settled, **parameters)
        if isinstance(found, Scored):
            assert found.metadata["judge_kind"] == "measured"
            assert found.metadata["fingerprint"].startswith(f"measured/{kind}/")
            assert found.metadata["metric_revision"] == 3
        else:
            assert found.code in set(SkipCode), kind


@pytest.mark.parametrize(
    ("parameters", "reported"),
    [
        ({}, "is required"),
        ({"target_ms": "1"}, "must be a number"),
        ({"target_ms": 0}, "must be above 0 without hard_ms"),
        ({"target_ms": 0, "hard_ms": 0}, "must be above the target"),
    ],
)
def test_invalid_limit_is_reported_once(parameters, reported):
    with pytest.raises(Invalid) as refused:
        taken("latency_slo", subject(tool()), **parameters)
    assert [one.message for one in refused.value.errors] == [reported]


@pytest.mark.parametrize(
    ("kind", "parameters", "fields"),
    [
        ("latency_slo", {}, {"parameters.target_ms"}),
        ("latency_slo", {"target_ms": "1"}, {"parameters.target_ms"}),
        ("latency_slo", {"target_ms": True}, {"parameters.target_ms"}),
        ("latency_slo", {"target_ms": -1}, {"parameters.target_ms"}),
        ("latency_slo", {"target_ms": 0}, {"parameters.target_ms"}),
        ("latency_slo", {"target_ms": 5, "hard_ms": 5}, {"parameters.hard_ms"}),
        ("latency_slo", {"target_ms": 5, "hard": 9}, {"parameters.hard"}),
        ("cost_budget", {"usd": 1e9}, {"parameters.usd"}),
        ("step_budget", {}, {"parameters.max_calls"}),
        ("step_budget", {"max_llm": 0}, {"parameters.max_llm"}),
        ("json_valid", {"x": 1}, {"parameters.x"}),
        ("json_schema", {}, {"parameters.schema"}),
        ("json_schema", {"schema": {"pattern": "x"}}, {"parameters.schema"}),
        ("text_match", {"op": "is", "value": "x"}, {"parameters.op"}),
        ("text_match", {"op": "equals"}, {"parameters.value"}),
        ("text_match", {"op": "equals", "value": "x" * 2_001}, {"parameters.value"}),
        ("text_match", {"op": "matches", "value": "x" * 501}, {"parameters.value"}),
        ("text_match", {"op": "equals", "value": "x", "path": "spans.name"}, {"parameters.path"}),
        ("levenshtein", {"expected": ""}, {"parameters.expected"}),
        ("secret_leak", {"path": "spans"}, {"parameters.path"}),
        ("pii_leak", {"kinds": ["email", "name"]}, {"parameters.kinds.1"}),
        ("tool_permission", {}, {"parameters.allow"}),
        ("tool_permission", {"deny": "x"}, {"parameters.deny", "parameters.allow"}),
        ("tool_permission", {"allow": ["a", 1]}, {"parameters.allow.1"}),
        ("trajectory_match", {}, {"parameters.expected"}),
        ("trajectory_match", {"expected": [{"n": 1}]}, {
            "parameters.expected.0.name", "parameters.expected.0.n",
        }),
        ("trajectory_match", {"expected": [{"name": "a", "arguments": {}}]}, {
            "parameters.expected.0.arguments",
        }),
        ("trajectory_match", {"expected": ["a"] * 51}, {"parameters.expected"}),
        ("trajectory_match", {"expected": ["a"], "mode": "loose"}, {"parameters.mode"}),
        ("language_match", {}, {"parameters.language"}),
        ("language_match", {"language": "sw"}, {"parameters.language"}),
        ("language_match", {"language": "x" * 99}, {"parameters.language"}),
        ("language_match", {"language": 1}, {"parameters.language"}),
        ("topicality", {}, {"type"}),
    ],
)  # fmt: skip
def test_invalid_parameter_is_reported_with_its_path(kind, parameters, fields):
    assert mistakes(kind, **parameters) == fields


def test_latency_slo_skips_running_traces():
    running = subject(tool(), status=TraceStatus.RUNNING)
    assert taken("latency_slo", running, target_ms=1).code is SkipCode.TRACE_RUNNING
