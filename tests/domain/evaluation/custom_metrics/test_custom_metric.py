"""Custom metrics: judge definitions, names, and their selection for runs."""

import uuid
from dataclasses import replace

import pytest

from domain.errors import Invalid
from domain.evaluation.custom_metrics.custom_metric import (
    CUSTOM_METRICS_PER_RUN_MAX,
    DEFINITION_BYTES_PER_RUN_MAX,
    NAME_MAX,
    CustomMetric,
    SelectedMetrics,
    check_judge_models,
    check_metric_name,
    evaluation_method,
    get_run_metric,
    needs_model,
    select_metrics,
    validate_name,
)
from domain.evaluation.custom_metrics.parser import DEFINITION_MAX, parse_definition
from domain.evaluation.judging.models import JudgeModels
from domain.evaluation.judging.prompt import judge_fingerprint, prompt_preview
from domain.evaluation.metrics.metric import (
    Category,
    DefinitionKind,
    EvaluationMethod,
    encode_definition,
)
from domain.evaluation.metrics.registry import METRIC_REGISTRY, compute_metric
from domain.evaluation.metrics.rubrics import AnswerFormat
from domain.evaluation.scores.outcome import SkipCode
from tests.support.builders.custom_metrics import ANCHORS, JUDGE, definition, metric, new_search
from tests.support.builders.evaluated_traces import subject, tool
from tests.support.builders.values import NOON, OURS

KNOWN = {"model": "openai/m", "base_url": None, "parameters": {}, "evidence_version": 1}
RULE = {"path": "trace.name", "op": "exists"}


def mistakes(body, kind=DefinitionKind.JUDGE):
    with pytest.raises(Invalid) as refused:
        metric(kind, body)
    return {one.field for one in refused.value.errors}


def own(name="polite", kind=DefinitionKind.JUDGE, body=None, *, archived=False, **said):
    body = (JUDGE if kind is DefinitionKind.JUDGE else RULE) if body is None else body
    newest = definition(kind, body, name=name, **said)
    return CustomMetric(
        id=uuid.uuid4(),
        project_id=OURS,
        newest=newest,
        created_at=NOON,
        updated_at=NOON,
        archived_at=NOON if archived else None,
    )


def shelf(*metrics):
    return {one.name: one for one in metrics}


# --- criteria --------------------------------------------------------------------------------


def test_judge_definition_builds_a_judged_metric():
    body = JUDGE | {"model": "gpt-4o", "template": "{{task}}", "sees_reasoning": True}
    found = metric(DefinitionKind.JUDGE, body, name="polite", threshold=0.0)
    assert (found.name, found.method, found.threshold, found.revision) == (
        *("polite", EvaluationMethod.JUDGED),
        *(0.0, 3),
    )
    assert (found.model, found.sees_reasoning) == ("openai/gpt-4o", True)
    assert found.rubric is not None
    assert (found.rubric.criterion, found.rubric.anchors) == (JUDGE["criterion"], tuple(ANCHORS))
    assert found.marks(0.0) == {"metric_revision": 3, "threshold": 0.0, "success": True}
    preview = prompt_preview(found)[-1].prompt
    assert "Is the answer polite?" in preview
    assert "{{task}}" in preview
    assert "5 = always\n4 = nearly always" in preview


def test_checklist_definition_needs_tool_calls():
    body = JUDGE | {"form": "checklist", "anchors": ["rude", "polite"]}
    found = metric(DefinitionKind.JUDGE, body)
    assert found.rubric is not None
    assert found.rubric.answer_format is AnswerFormat.CHECKLIST
    assert found.precheck is not None
    assert found.precheck(subject()).code is SkipCode.NO_TOOL_CALLS  # type: ignore[union-attr] # skipped
    assert found.precheck(subject(tool())) is None


def test_judged_custom_metric_skips_empty_traces():
    rule = metric(DefinitionKind.JUDGE, JUDGE).precheck
    assert rule is not None
    assert rule(subject()).code is SkipCode.NO_STEPS  # type: ignore[union-attr] # skipped
    assert rule(subject(output="x")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"criterion": "Is it kind?"},
        {"anchors": [*ANCHORS[:5], "ever"]},
        {"template": "{{task}}"},
        {"form": "checklist", "anchors": ["no", "yes"]},
    ],
)
def test_fingerprint_changes_with_prompt_texts(change):
    mark = judge_fingerprint(metric(DefinitionKind.JUDGE, JUDGE), **KNOWN)
    assert judge_fingerprint(metric(DefinitionKind.JUDGE, JUDGE | change), **KNOWN) != mark


def test_fingerprint_ignores_name_and_threshold():
    mark = judge_fingerprint(metric(DefinitionKind.JUDGE, JUDGE), **KNOWN)
    other = metric(DefinitionKind.JUDGE, JUDGE, revision=9, description="other", threshold=1.0)
    assert judge_fingerprint(other, **KNOWN) == mark


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"criterion": None}, "criterion"),
        ({"criterion": ""}, "criterion"),
        ({"criterion": "x" * 2_001}, "criterion"),
        ({"anchors": None}, "anchors"),
        ({"anchors": ANCHORS[:5]}, "anchors"),
        ({"anchors": [*ANCHORS, "x"]}, "anchors"),
        ({"anchors": [*ANCHORS[:5], ""]}, "anchors.5"),
        ({"anchors": [*ANCHORS[:5], "x" * 501]}, "anchors.5"),
        ({"form": "checklist"}, "anchors"),
        ({"form": "essay"}, "form"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"template": "no name"}, "template"),
        ({"template": "{{user_id}}"}, "template"),
        ({"form": "checklist", "anchors": ["a", "b"], "template": "{{task}}"}, "template"),
        ({"sees_reasoning": "yes"}, "sees_reasoning"),
        ({"treshold": 1}, "treshold"),
    ],
)
def test_invalid_judge_definition_is_reported_with_its_path(change, field):
    assert f"definition.{field}" in mistakes(JUDGE | change)


def test_definition_size_is_limited():
    with pytest.raises(Invalid, match="Validation"):
        parse_definition("own", DefinitionKind.JUDGE, b" " * (DEFINITION_MAX + 1))


@pytest.mark.parametrize("kind", DefinitionKind)
@pytest.mark.parametrize("body", [1, "x", None, [], {}])
def test_non_object_definition_is_rejected(kind, body):
    assert mistakes(body, kind)


def test_encoding_of_a_definition_is_canonical():
    assert (
        encode_definition({"b": 1, "a": "ü"})
        == encode_definition({"a": "ü", "b": 1})
        == '{"a":"ü","b":1}'.encode()
    )


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["polite", "a1", "a_b_2", "x" * NAME_MAX])
def test_valid_metric_names(name):
    assert validate_name(name) == name
    check_metric_name(name, Category.TRACE)


@pytest.mark.parametrize(
    "name",
    ["", "a", "A", "Polite", "1a", "_a", "a-b", "a.b", "ü", "a b", "a\n", "x" * (NAME_MAX + 1)],
)
def test_invalid_metric_names(name):
    with pytest.raises(Invalid, match="Validation"):
        validate_name(name)
    with pytest.raises(Invalid, match="unknown trace metric"):
        check_metric_name(name, Category.TRACE)


@pytest.mark.parametrize("name", METRIC_REGISTRY)
def test_built_in_names_are_reserved(name):
    with pytest.raises(Invalid) as refused:
        validate_name(name)
    assert refused.value.errors[0].message == "is the name of a built-in metric"


def test_session_metrics_cannot_be_custom():
    check_metric_name("agent_reliability", Category.SESSION)
    for name, category in (
        *(("polite", Category.SESSION), ("agent_reliability", Category.TRACE)),
        *(("loop_detection", Category.TRACE), ("task_completion", Category.SESSION)),
    ):
        with pytest.raises(Invalid, match=f"unknown {category} metric"):
            check_metric_name(name, category)


# --- in runs ---------------------------------------------------------------------------------


def test_run_gets_the_newest_definitions():
    polite, named = own(), own("named", DefinitionKind.RULE)
    names = ["coherence", "polite", "coherence", "named"]
    found = select_metrics(names, Category.TRACE, shelf(polite, named, own("other")))
    assert found == SelectedMetrics(("coherence", "polite", "named"), (polite.newest, named.newest))


def test_unknown_and_archived_metrics_are_reported_with_index():
    with pytest.raises(Invalid) as refused:
        select_metrics(
            ["coherence", "nothing", "polite", "loop_detection"],
            Category.TRACE,
            shelf(own(archived=True)),
        )
    reported = {one.field: one.message for one in refused.value.errors}
    assert set(reported) == {"metrics.1", "metrics.2", "metrics.3"}
    assert reported["metrics.2"] == "polite is archived"
    for names in ([], ["polite"]):
        with pytest.raises(Invalid):
            select_metrics(names, Category.SESSION, shelf(own()))


def test_custom_metric_takes_precedence_over_later_built_in():
    mine = own("coherence", DefinitionKind.RULE)
    found = select_metrics(["coherence"], Category.TRACE, shelf(mine))
    assert found.definitions == (mine.newest,)
    assert (
        get_run_metric(found.definitions, "coherence", new_search).method
        is EvaluationMethod.COMPUTED
    )
    assert get_run_metric((), "coherence", new_search) is METRIC_REGISTRY["coherence"]


def test_custom_metrics_per_run_are_limited():
    many = [own(f"metric_{n}", DefinitionKind.RULE) for n in range(CUSTOM_METRICS_PER_RUN_MAX + 1)]
    names = [one.name for one in many]
    assert (
        len(select_metrics(names[:-1], Category.TRACE, shelf(*many)).definitions)
        == CUSTOM_METRICS_PER_RUN_MAX
    )
    with pytest.raises(Invalid, match="Validation"):
        select_metrics(names, Category.TRACE, shelf(*many))
    body = RULE | {"value": True}
    large = own("large", DefinitionKind.RULE, body)
    huge = replace(
        large, newest=replace(large.newest, body=b" " * (DEFINITION_BYTES_PER_RUN_MAX + 1))
    )
    with pytest.raises(Invalid, match="Validation"):
        select_metrics(["large"], Category.TRACE, shelf(huge))


MODELS = JudgeModels(preferred="openai/tiny", allowed=("openai/big", "heuristic/1"))


def test_heuristic_judge_rejects_custom_criteria():
    picked = select_metrics(["coherence", "polite"], Category.TRACE, shelf(own()))
    check_judge_models(picked, "openai/tiny", MODELS)
    with pytest.raises(Invalid) as refused:
        check_judge_models(picked, "heuristic/1", MODELS)
    [reported] = refused.value.errors
    assert (reported.field, "needs a model" in reported.message) == ("metrics.1", True)


def test_custom_metric_may_name_its_model():
    named = select_metrics(
        ["polite"], Category.TRACE, shelf(own(body=JUDGE | {"model": "openai/big"}))
    )
    check_judge_models(named, "heuristic/1", MODELS)
    other = select_metrics(
        ["polite"], Category.TRACE, shelf(own(body=JUDGE | {"model": "openai/huge"}))
    )
    with pytest.raises(Invalid) as refused:
        check_judge_models(other, "openai/tiny", MODELS)
    assert refused.value.errors[0].field == "metrics.0"


def test_rule_metrics_need_no_model():
    check_judge_models(
        select_metrics(["r1"], Category.TRACE, shelf(own("r1", DefinitionKind.RULE))),
        "heuristic/1",
        MODELS,
    )


@pytest.mark.parametrize(
    ("metrics", "model", "waits"),
    [
        (["r1", "trace_success"], "openai/m", False),
        (["polite"], "openai/m", True),
        (["polite"], "heuristic/1", False),
        (["modelled"], "heuristic/1", True),
        (["task_completion"], "heuristic/1", False),
        (["task_completion"], "openai/m", True),
        (["coherence"], "heuristic/1", True),
        (["nothing"], "heuristic/1", True),
        (["outcome_consistency", "session_error_rate", "user_repetition"], "openai/m", False),
        (["agent_reliability_v2"], "openai/m", False),
        (["agent_reliability"], "heuristic/1", True),  # uses an embedder
        (["session_error_rate", "agent_consistency_v2"], "openai/m", True),
    ],
)
def test_needs_model(metrics, model, waits):
    definitions = (
        own("r1", DefinitionKind.RULE).newest,
        own().newest,
        own("modelled", body=JUDGE | {"model": "gpt-4o"}).newest,
    )
    assert needs_model(metrics, model, definitions) is waits


def test_session_metric_needs_model_if_a_judged_signal_has_weight():
    assert needs_model(["agent_reliability_v2"], "openai/m", signal_weights={"confidence": 1})
    assert not needs_model(
        ["agent_reliability_v2"], "heuristic/1", signal_weights={"confidence": 1}
    )


def test_evaluation_method_of_run_metrics():
    definitions = (
        own(body=JUDGE | {"model": "gpt-4o"}).newest,
        own("r1", DefinitionKind.RULE).newest,
    )
    assert evaluation_method(definitions, "polite") == (EvaluationMethod.JUDGED, "openai/gpt-4o")
    assert evaluation_method(definitions, "r1") == (EvaluationMethod.COMPUTED, None)
    assert evaluation_method(definitions, "trace_success") == (EvaluationMethod.COMPUTED, None)
    assert evaluation_method(definitions, "nothing") == (None, None)


def test_rule_scores_carry_metric_metadata():
    found = compute_metric(metric(DefinitionKind.RULE, RULE, threshold=1.0), subject(name="x"))
    assert found.metadata["threshold"] == 1.0
    assert found.metadata["success"] is True
