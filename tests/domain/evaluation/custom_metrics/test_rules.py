"""Rules: paths into a trace, comparisons, and invalid rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.custom_metrics.parser import build_metric
from domain.evaluation.custom_metrics.regex import SearchTooLongError
from domain.evaluation.custom_metrics.rules import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    Condition,
    Operator,
    parse_rule,
    patterns_in,
)
from domain.evaluation.custom_metrics.strict_json import ErrorCollector
from domain.evaluation.custom_metrics.trace_path import (
    InvalidTracePath,
    PathResolver,
    TracePath,
    total_cost,
    total_tokens,
)
from domain.evaluation.metrics.metric import DefinitionKind
from domain.evaluation.metrics.registry import compute_metric
from domain.evaluation.scores.outcome import Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import UsageRole
from tests.support.builders import strategies
from tests.support.builders.custom_metrics import definition, evaluate_rule, metric, regex_search
from tests.support.builders.evaluated_traces import chat, model, subject, tool
from tests.support.builders.values import at, prices

TRACE = subject(
    tool("search", {"q": "Oslo", "deep": {"a.b": [1, {"c": None}]}}, ["one", "two"]),
    tool("book", {"to": "Oslo"}, {"error": "full"}, status=SpanStatus.ERROR, error="full"),
    model("done", model="gpt-4o", token_usage={"prompt_tokens": 10, "completion_tokens": 5}),
    name="trip",
    status=TraceStatus.COMPLETED,
    ended_at=at(90),
    tags=("prod", "eu"),
    environment="production",
    input=chat(("user", "Book Oslo")),
    output="I am sorry, it is full.",
    metadata={"tier": "gold", "n": 1, "pandaprobe.reflect": True, "ratio": 1.0, "none": None},
)


def holds(path, op, value=None, **more):
    body = {"path": path, "op": op, **more} | ({} if value is None else {"value": value})
    outcome = evaluate_rule(body, TRACE)
    assert outcome.value in {0.0, 1.0}
    return outcome.value == 1.0


def test_call_that_another_span_sums_up_is_counted_once():
    call = {"token_usage": {"prompt_tokens": 10, "completion_tokens": 5}, "cost": {"total": 0.5}}
    agent = tool(kind=SpanKind.AGENT, usage_role=UsageRole.ROLLUP, **call)
    for spans, cost, tokens in (
        ((model(**call),), 0.5, 15),
        ((agent, model(**call)), 0.5, 15),
    ):
        paths = (TracePath.parse(f"trace.{name}") for name in ("cost", "tokens"))
        resolver = PathResolver(subject(*spans))
        assert [one.resolve(resolver) for one in paths] == [[cost], [tokens]]


def mistakes(body):
    with pytest.raises(Invalid) as refused:
        metric(DefinitionKind.RULE, body)
    return {one.field: one.message for one in refused.value.errors}


@pytest.mark.parametrize(
    ("path", "op", "value"),
    [
        ("trace.name", "eq", "trip"),
        ("trace.name", "ne", "Trip"),
        ("trace.status", "in", ["ERROR", "COMPLETED"]),
        ("trace.duration_ms", "eq", 90_000),
        ("trace.tokens", "eq", 15),
        ("trace.cost", "gt", 0),
        ("trace.tags", "contains", "eu"),
        ("trace.tags[-1]", "eq", "eu"),
        ("trace.environment", "matches", "^prod"),
        ("trace.metadata.tier", "eq", "gold"),
        ("trace.metadata.n", "eq", 1.0),
        ("trace.metadata.ratio", "eq", 1),
        ('trace.metadata."pandaprobe.reflect"', "eq", True),
        ("trace.input.messages[0].content", "contains", "Oslo"),
        ("request", "eq", "Book Oslo"),
        ("answer", "matches", "(?i)SORRY"),
        ("answer", "not_matches", "^sorry"),
        ("spans", "eq", 3),
        ("spans[kind=TOOL]", "le", 2),
        ('spans[kind=TOOL,name="book"]', "eq", 1),
        ("spans[kind=TOOL].name", "eq", "book"),
        ("spans[kind=TOOL].input.q", "eq", "Oslo"),
        ('spans[name=search].input.deep."a.b"[0]', "eq", 1),
        ("spans.error", "contains", "full"),
        ("spans[kind=LLM].model", "eq", "gpt-4o"),
        ("spans[kind=TOOL].output", "contains", "two"),
        ("trace.release", "exists", False),
        ("trace.metadata.none", "exists", False),
        ("trace.metadata.n", "exists", None),
    ],
)
def test_conditions_that_hold(path, op, value):
    assert holds(path, op, value)


@pytest.mark.parametrize(
    ("path", "op", "value"),
    [
        ("trace.release", "ne", "1"),  # a missing value isn't different either
        ("trace.metadata.n", "eq", True),  # 1 and true differ
        ("trace.metadata.n", "eq", "1"),
        ("trace.metadata.tier", "lt", 5),  # numbers only
        ("trace.metadata.tier.deeper", "exists", True),
        ("trace.metadata.n[0]", "exists", None),
        ("trace.tags[2]", "exists", None),
        ("trace.tags", "contains", "e"),
        ("spans[kind=RETRIEVER].name", "ne", "x"),
        ("spans[kind=RETRIEVER]", "gt", 0),
        ("spans[name=search].error", "exists", None),
        ("answer", "matches", "^sorry"),
        ("answer", "not_matches", "(?i)sorry"),
        ("trace.release", "not_matches", "x"),  # a missing value has no text
    ],
)
def test_conditions_that_do_not_hold(path, op, value):
    assert not holds(path, op, value)


def test_quantifier_any_and_all_over_spans():
    path = "spans[kind=TOOL].status"
    assert holds(path, "eq", "ERROR")
    assert holds(path, "eq", "ERROR", over="any")
    assert not holds(path, "eq", "ERROR", over="all")
    assert holds("spans[kind=TOOL].name", "in", ["search", "book"], over="all")
    assert not holds("spans[kind=RETRIEVER].name", "exists", over="all"), "of none nothing holds"


YES = {"path": "trace.name", "op": "exists"}
NO = {"path": "trace.release", "op": "exists"}


def test_values_are_looked_up_and_not_compared_one_by_one():
    class Compared(float):
        count = 0

        def __eq__(self, other: object) -> bool:
            Compared.count += 1
            return float(self) == other

        __hash__ = float.__hash__

    some = subject(*[model("done", ended_at=at(9_000)) for _ in range(1_000)])

    def is_one_of(*values: float) -> bool:
        body = {"path": "spans.duration_ms", "op": "in", "value": [Compared(one) for one in values]}
        rule = parse_rule(body, "", ErrorCollector())
        assert isinstance(rule, Condition)
        return rule.holds(PathResolver(some), regex_search)

    assert not is_one_of(*range(-100, 0))
    assert is_one_of(some.spans[0].latency_ms or 0)
    assert Compared.count <= 10_000  # and not a hundred for each span


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ({"all": [YES, YES]}, 1.0),
        ({"all": [YES, NO]}, 0.0),
        ({"any": [NO, YES]}, 1.0),
        ({"any": [NO, NO]}, 0.0),
        ({"all": [YES, {"any": [NO, {"all": [YES]}]}]}, 1.0),
        ({"none": [NO, NO]}, 1.0),
        ({"none": [NO, YES]}, 0.0),
        ({"not": NO}, 1.0),
        ({"not": YES}, 0.0),
        ({"not": {"not": YES}}, 1.0),
        ({"not": {"all": [YES, NO]}}, 1.0),
        ({"none": [{"any": [NO, NO]}, {"not": YES}]}, 1.0),
    ],
)
def test_groups_combine_nodes(body, value):
    assert evaluate_rule(body, TRACE).value == value


def test_metadata_lists_conditions_without_trace_content():
    found = evaluate_rule({"all": [NO, {"any": [YES, NO]}]}, TRACE)
    assert found.reason == "the rule does not hold: 1 of 3 conditions do"
    assert found.metadata["conditions"] == [
        {"path": "trace.release", "op": "exists", "holds": False},
        {"path": "trace.name", "op": "exists", "holds": True},
        {"path": "trace.release", "op": "exists", "holds": False},
    ]
    assert found.metadata["judge_kind"] == "rule"
    assert found.metadata["metric_revision"] == 3
    assert found.metadata["success"] is False


def test_trace_is_skipped_if_the_search_for_patterns_takes_too_long():
    def spent(_pattern: str, _text: str) -> bool:
        raise SearchTooLongError

    rule = {"path": "spans.output", "op": "matches", "value": "x"}
    own = build_metric(definition(DefinitionKind.RULE, rule), lambda: spent)
    outcome = compute_metric(own, TRACE)
    assert isinstance(outcome, Skipped)
    assert outcome.metadata["code"] == "trace_too_large"
    assert "patterns" in outcome.reason


def test_rule_fingerprint_depends_only_on_the_rule():
    def mark(body, **said):
        outcome = metric(DefinitionKind.RULE, body, **said).compute(TRACE)
        return outcome.metadata["fingerprint"]

    assert mark(YES).startswith("rule/")
    assert mark(YES) == mark({"op": "exists", "path": "trace.name"}, revision=9, threshold=1.0)
    assert mark(YES) != mark(NO)


@pytest.mark.parametrize(
    "path",
    [
        *("", "trace", "trace.", "trace.nothing", "spans.", "spans.nothing", "nothing", "answer.x"),
        *("spans[", "spans[kind]", "spans[id=1]", "spans[kind=TOOL", "spans[kind=TOOL]name"),
        *("trace.name.x", "trace.metadata.", "trace.metadata..a", "trace.metadata[x]", "spans[0]"),
        *('trace.metadata."a', 'trace.metadata."\\x"', "trace.metadata" + ".a" * 21, "x" * 301),
        'spans[name="\\x"].name',
        "spans[" + ",".join(["kind=TOOL"] * 6) + "].name",
    ],
)
def test_invalid_paths_are_rejected(path):
    with pytest.raises(InvalidTracePath):
        TracePath.parse(path)
    assert "definition.path" in mistakes({"path": path, "op": "exists"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "definition"),
        ({}, "definition"),
        ({"all": [YES], "any": [YES]}, "definition"),
        ({"all": []}, "definition.all"),
        ({"all": YES}, "definition.all"),
        ({"all": [YES, 1]}, "definition.all.1"),
        ({"all": [YES], "nor": 1}, "definition.nor"),
        ({"all": [YES], "not": YES}, "definition"),
        ({"not": [YES]}, "definition.not"),
        ({"not": {"path": "trace.name", "op": "is"}}, "definition.not.op"),
        ({"none": YES}, "definition.none"),
        ({"none": []}, "definition.none"),
        ({"not": {"not": {"not": {"not": {"not": YES}}}}}, "definition.not.not.not.not"),
        ({"path": "trace.name", "op": "not_matches", "value": 1}, "definition.value"),
        ({"any": [{"path": "trace.name", "op": "is", "value": 1}]}, "definition.any.0.op"),
        ({"path": "trace.name", "value": 1}, "definition.op"),
        ({"path": "trace.name", "op": "eq"}, "definition.value"),
        ({"path": "trace.name", "op": "eq", "value": ["x"]}, "definition.value"),
        ({"path": "trace.name", "op": "eq", "value": "x" * 2_001}, "definition.value"),
        ({"path": "trace.name", "op": "in", "value": "x"}, "definition.value"),
        ({"path": "trace.name", "op": "in", "value": []}, "definition.value"),
        ({"path": "trace.name", "op": "in", "value": [1] * 101}, "definition.value"),
        ({"path": "trace.name", "op": "lt", "value": "5"}, "definition.value"),
        ({"path": "trace.name", "op": "ge", "value": True}, "definition.value"),
        ({"path": "trace.name", "op": "matches", "value": ""}, "definition.value"),
        ({"path": "trace.name", "op": "matches", "value": "x" * 501}, "definition.value"),
        ({"path": "trace.name", "op": "exists", "value": 1}, "definition.value"),
        ({**YES, "over": "all"}, "definition.over"),
        ({"path": "spans", "op": "eq", "value": 1, "over": "all"}, "definition.over"),
        ({**YES, "over": "some"}, "definition.over"),
        ({**YES, "wert": 1}, "definition.wert"),
        ({"path": 5, "op": "exists"}, "definition.path"),
    ],
)
def test_invalid_rule_is_reported_with_its_path(body, field):
    assert field in mistakes(body)


def nested(levels):
    body = YES
    for _ in range(levels):
        body = {"all": [body]}
    return body


def test_rule_size_is_limited():
    assert evaluate_rule(nested(DEPTH_MAX), TRACE).value == 1.0
    assert "nested deeper" in " ".join(mistakes(nested(DEPTH_MAX + 1)).values())
    half = [YES] * (CONDITIONS_MAX // 2)
    assert evaluate_rule({"all": [{"all": half}, {"all": half}]}, TRACE).value == 1.0
    assert "at most" in mistakes({"all": [{"all": half}, {"all": half}, YES]})["definition"]


def test_all_errors_are_reported_together():
    found = mistakes({"all": [{"path": "x", "op": "eq"}, {"op": "lt", "value": "y"}]})
    assert set(found) == {"definition.all.0.path", "definition.all.0.value", "definition.all.1"}


def test_totals_cover_only_spans_with_cost_and_usage():
    priced = model("x", cost={"total": 0.25})
    assert total_cost(subject(priced, model("y")).spans) == 0.25
    assert total_cost(subject(model("y")).spans) is None
    assert total_tokens(subject(tool()).spans) is None


def test_patterns_are_found_in_every_group():
    """They are checked before a metric is stored."""
    of = {"path": "answer", "op": "not_matches", "value": "a"}
    node = parse_rule({"none": [{"not": of}, {"all": [of]}]}, "r", ErrorCollector())
    assert [*patterns_in(node, "r")] == [("r.none.0.not.value", "a"), ("r.none.1.all.0.value", "a")]


@given(trace=strategies.traces(), value=st.sampled_from(["a", 1, True]))
def test_rule_gives_0_or_1_for_any_trace(trace, value):
    settled = EvaluatedTrace(trace.settled(prices().price))
    for op in Operator:
        wanted = {Operator.IN: [value], Operator.EXISTS: True}.get(op, value)
        if op in {Operator.MATCHES, Operator.NOT_MATCHES}:
            wanted = "a"
        if op in {Operator.LT, Operator.LE, Operator.GT, Operator.GE}:
            wanted = 1
        paths = ["spans.input.a", "trace.output[0]", "spans[kind=TOOL].metadata", "trace.cost"]
        each = [{"path": path, "op": op.value, "value": wanted} for path in paths]
        assert evaluate_rule({"any": each}, settled).value in {0.0, 1.0}, op


def test_resolver_cache_distinguishes_values():
    each = [
        {"path": path, "op": "matches", "value": pattern}
        for _ in range(5)
        for path, pattern in (
            ("trace.duration_ms", "^90000.0$"),
            ("trace.tags", '^\\["prod","eu"\\]$'),
            ("trace.cost", r"^\d\S*$"),
            ("spans[name=search].output", '^\\["one","two"\\]$'),
            ("trace.metadata.n", "^1$"),
        )
    ]
    found = evaluate_rule({"all": each}, TRACE)
    assert [one["holds"] for one in found.metadata["conditions"]] == [True] * len(each)
