"""Prechecks of judged metrics, and the plans that agents state."""

import pytest

from domain.evaluation.metrics.judged_metrics import TASK_COMPLETION, is_output_shown
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.scores.outcome import Scored
from domain.evaluation.trace_content.stated_plan import ITEMS_MAX, find_stated_plan
from domain.tracing.trace import TraceStatus
from tests.support.builders.evaluated_traces import chat, model, offering, retrieval, subject, tool
from tests.support.builders.values import span

RUNNING = {"status": TraceStatus.RUNNING}
PLAN = ["find", "book"]


@pytest.mark.parametrize(
    ("name", "spans", "more", "code"),
    [
        ("argument_correctness", [model("x")], {}, "no_tool_calls"),
        *(("confidence", [tool()], {"output": output}, "no_steps") for output in (None, " ")),
        ("plan_adherence", [model("no plan"), tool()], {"output": "1. a\n2. b"}, "no_plan"),
        ("plan_quality", [], {}, "no_plan"),
        ("step_efficiency", [], {"input": "x", "output": "y"}, "no_steps"),
        *(("task_completion", [], {"output": "y", "input": i}, "no_input") for i in (None, "")),
        ("task_completion", [], {"input": chat(("system", "x")), "output": "y"}, "no_input"),
        ("task_completion", [], {"input": "x", "output": "y", **RUNNING}, "trace_running"),
        *(("task_completion", [], {"input": "x", "output": o}, "empty_output") for o in (None, "")),
        ("task_completion", [model("x")], {"input": "x"}, "empty_output"),
        ("tool_correctness", [model("x"), retrieval(["x"])], {}, "no_tools"),
    ],
)
def test_prechecks_skip_with_code(name, spans, more, code):
    outcome = METRIC_REGISTRY[name].precheck(subject(*spans, **more))
    assert (outcome and outcome.code) == code


@pytest.mark.parametrize(
    ("name", "spans", "more"),
    [
        ("argument_correctness", [tool()], {}),
        ("confidence", [], {"output": "yes"}),
        ("confidence", [model()], {}),
        ("plan_adherence", [model({"plan": PLAN})], {}),
        ("plan_quality", [model("1. find\n2. book")], {}),
        ("step_efficiency", [span()], {}),
        ("task_completion", [], {"input": "x", "output": "yes"}),
        ("task_completion", [tool()], {"input": "x", "output": ""}),
        ("task_completion", [tool()], {"input": "x", "output": "…"}),
        ("tool_correctness", [tool()], {}),
        ("tool_correctness", [offering({"name": "f"})], {}),
    ],
)
def test_prechecks_pass_judgeable_traces(name, spans, more):
    assert METRIC_REGISTRY[name].precheck(subject(*spans, **more)) is None


@pytest.mark.parametrize("output", [":", "…", " - ", "🐼"])
def test_wordless_answer_scores_0_without_a_judge(output):
    outcome = TASK_COMPLETION.precheck(subject(input="x", output=output))
    assert isinstance(outcome, Scored)
    assert (outcome.value, outcome.metadata) == (0.0, {"judge_kind": "rule"})


@pytest.mark.parametrize(("output", "shown"), [("…", False), (None, False), ("ok", True)])
def test_wordless_answer_is_hidden_from_the_judge(output, shown):
    asked = subject(tool(), input="x", output=output)
    assert is_output_shown(TASK_COMPLETION, asked) is shown
    assert is_output_shown(METRIC_REGISTRY["confidence"], asked)


# --- plans ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "span_",
    [
        model("I will:\n1. find\n2. book"),
        model("Plan\n  1) find\n\n  2) book\nand then\n1. other"),
        model("Step 1: find\nStep 2: book"),
        model(chat(("assistant", "1. find\n2. book"))),
        model({"plan": PLAN}),
        model({"a": {"b": {"todos": [{"content": "find"}, {"content": "book"}]}}}),
        model(chat(("assistant", '{"steps": [{"title": "find"}, {"title": "book"}]}'))),
        tool("write", {"todos": PLAN}),
        tool("make_plan", {"text": "1. find\n2. book"}),
        tool("update_todo_list", {"items": PLAN}),
        tool("Planner", "find\nbook"),
        tool("planner", PLAN),
    ],
)
def test_plan_formats(span_):
    assert list(find_stated_plan(subject(span_))) == PLAN


@pytest.mark.parametrize(
    "span_",
    [
        model("1. only one"),
        model("2. find\n3. book"),
        model("In 2024. 1 of 2. no list"),
        model({"plan": ["one"]}),
        model({"plan": "none"}),
        model({"steps": 3}),
        tool("search", "find\nbook"),
        tool("planner", None),
        tool("planner", {"plan": " "}),
        span(output=b'"1. a\\n2. b"'),
    ],
)
def test_texts_that_are_not_plans(span_):
    assert list(find_stated_plan(subject(span_))) == []


def test_plan_source_precedence():
    tools = [tool("planner", "c\nd"), tool("write", {"plan": ["e", "f"]})]
    assert list(find_stated_plan(subject(*tools, model("1. a\n2. b")))) == ["a", "b"]
    assert list(find_stated_plan(subject(*tools, model("none"), model("1. a\n2. b")))) == ["e", "f"]
    assert list(find_stated_plan(subject(*tools[:1]))) == ["c", "d"]


def test_plan_is_independent_of_key_order():
    one, other = {"x": {"plan": PLAN}, "a": {"todos": ["c", "d"]}}, {}
    for key in reversed(one):
        other[key] = one[key]
    assert (
        list(find_stated_plan(subject(model(one))))
        == list(find_stated_plan(subject(model(other))))
        == ["c", "d"]
    )


def test_plan_length_is_limited():
    long = "\n".join(f"{n}. item" for n in range(1, 100))
    assert len(find_stated_plan(subject(model(long)))) == ITEMS_MAX
