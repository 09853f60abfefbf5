"""Reading the definition of a project's own metric, strictly, and the metric that it makes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Final

from domain.evaluation.custom_metrics.limit_checks import LIMITS, Taken
from domain.evaluation.custom_metrics.regex import Finds
from domain.evaluation.custom_metrics.rules import Node, patterns_in, rule_of, ruled
from domain.evaluation.custom_metrics.strict_json import Members, Mistakes
from domain.evaluation.custom_metrics.text_checks import TEXTS, Match
from domain.evaluation.custom_metrics.tool_call_checks import CALLS
from domain.evaluation.evidence import template
from domain.evaluation.judging.models import NAME_MAX as MODEL_MAX
from domain.evaluation.judging.models import resolved
from domain.evaluation.metrics.definition import Definition, Kind
from domain.evaluation.metrics.judged_metrics import no_tool_calls, nothing_said
from domain.evaluation.metrics.metric import JudgeKind, Measure, Metric
from domain.evaluation.metrics.rubrics import LABEL_MAX, Form, Rubric
from domain.evaluation.scores.outcome import Outcome, Scored
from domain.evaluation.trace_content.evaluated_trace import Subject
from domain.evaluation.trace_content.messages import value_of
from domain.tracing.payload import JsonText

DEFINITION: Final = "definition"  # where it stands in a request
DEFINITION_MAX: Final = 8_192  # bytes of it
CRITERION_MAX: Final = 2_000  # characters
ANCHOR_MAX: Final = 500
CHECKS: Final = 2  # anchors of a checklist: of false and of true
MEASURES: Final = {**LIMITS, **TEXTS, **CALLS}
"""Every measure with parameters, by its type."""

_DIGITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A definition's body, read. `patterns` are those in it, with their places."""

    rubric: Rubric | None = None
    sees_reasoning: bool = False
    model: str | None = None
    taken: Taken | None = None
    judge_kind: JudgeKind = JudgeKind.MEASURED
    mark: str = ""  # begins the fingerprint of what is computed
    patterns: Sequence[tuple[str, str]] = field(default_factory=tuple)


def spec_of(name: str, kind: Kind, body: JsonText) -> Spec:
    """Raises Invalid with every mistake, each at its place in the request.

    Whether a pattern is one, and a model may be asked, isn't looked at.
    """
    mistakes = Mistakes()
    if len(body) > DEFINITION_MAX:
        mistakes.add(DEFINITION, f"must have at most {DEFINITION_MAX} bytes")
        mistakes.check()
    read = {Kind.JUDGE: _judge, Kind.RULE: _rule, Kind.MEASURED: _measured}[kind]
    spec = read(name, value_of(body), mistakes)
    mistakes.check()
    return spec


def metric_of(definition: Definition, finds: Finds) -> Metric:
    """The metric that a definition makes, which patterns are looked for by `finds`.

    Raises Invalid where it is none.
    """
    spec = spec_of(definition.name, definition.kind, definition.body)
    is_checklist = spec.rubric is not None and spec.rubric.form is Form.CHECKLIST
    return Metric(
        name=definition.name,
        description=definition.description,
        way=definition.way,
        threshold=definition.threshold,
        measure=None if spec.taken is None else _measure(definition, spec, spec.taken, finds),
        rubric=spec.rubric,
        rule=None if spec.rubric is None else no_tool_calls if is_checklist else nothing_said,
        sees_reasoning=spec.sees_reasoning,
        model=spec.model,
        revision=definition.revision,
    )


def _measure(definition: Definition, spec: Spec, taken: Taken, finds: Finds) -> Measure:
    digest = sha256(definition.body).hexdigest()[:_DIGITS]
    marks = {"judge_kind": spec.judge_kind.value, "fingerprint": f"{spec.mark}/{digest}"}

    def measure(subject: Subject) -> Outcome:
        outcome = taken(subject, finds)
        if not isinstance(outcome, Scored):
            return outcome
        return replace(outcome, metadata={**outcome.metadata, **marks})

    return measure


# --- reading ---------------------------------------------------------------------------------


def _judge(name: str, body: object, mistakes: Mistakes) -> Spec:
    members = Members(body, DEFINITION, mistakes)
    form = members.choice("form", Form, default=Form.SCALE)
    criterion = members.text("criterion", CRITERION_MAX)
    count = CHECKS if form is Form.CHECKLIST else LABEL_MAX + 1
    anchors = members.texts("anchors", count, ANCHOR_MAX, is_required=True)
    if members.has("anchors") and len(anchors) != count:
        members.refuse("anchors", f"must hold {count} texts, one for each label, ascending")
    model = resolved(members.text("model", MODEL_MAX)) if members.has("model") else None
    shown = members.text("template", template.TEMPLATE_MAX, default="")
    sees_reasoning = members.flag("sees_reasoning", default=False)
    members.end()
    if shown:
        try:
            template.check(shown)
        except template.NoTemplate as error:
            members.refuse("template", str(error))
        if form is Form.CHECKLIST and not template.shows_steps(shown):
            members.refuse("template", "must show {{steps}}, which a checklist is about")
    if mistakes.found:
        return Spec()
    rubric = Rubric(metric=name, form=form, criterion=criterion, anchors=anchors, template=shown)
    return Spec(rubric=rubric, sees_reasoning=sees_reasoning, model=model)


def _rule(_: str, body: object, mistakes: Mistakes) -> Spec:
    node = rule_of(body, DEFINITION, mistakes)
    if node is None:
        return Spec()
    return Spec(
        taken=partial(_ruled, node),
        judge_kind=JudgeKind.RULE,
        mark=JudgeKind.RULE.value,
        patterns=tuple(patterns_in(node, DEFINITION)),
    )


def _ruled(node: Node, subject: Subject, finds: Finds) -> Outcome:
    return ruled(node, subject, finds)


def _measured(_: str, body: object, mistakes: Mistakes) -> Spec:
    members = Members(body, DEFINITION, mistakes)
    kind = members.text("type", 100)
    given = members.value("parameters")
    members.end()
    reader = MEASURES.get(kind)
    if reader is None:
        if kind:
            members.refuse("type", f"must be one of: {', '.join(MEASURES)}")
        return Spec()
    parameters = Members({} if given is None else given, members.at("parameters"), mistakes)
    taken = reader(parameters)
    parameters.end()
    is_pattern = kind == "text_match" and parameters.value("op") == Match.MATCHES
    pattern = (parameters.at("value"), str(parameters.value("value")))
    return Spec(
        taken=taken,
        mark=f"{JudgeKind.MEASURED}/{kind}",
        patterns=(pattern,) if is_pattern else (),
    )
