"""Parses the definition of a custom metric strictly, and builds the metric from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Final

from domain.evaluation.custom_metrics.checks import (
    CHECK_VERSIONS,
    COMPUTED_CHECKS,
    CheckFunction,
    MatchOperator,
)
from domain.evaluation.custom_metrics.regex import (
    SEARCH_S_MAX,
    NewRegexSearch,
    SearchTooLongError,
)
from domain.evaluation.custom_metrics.rules import (
    RULE_VERSION,
    evaluate_rule,
    parse_rule,
    patterns_in,
)
from domain.evaluation.custom_metrics.strict_json import ErrorCollector, ObjectReader
from domain.evaluation.evidence import template
from domain.evaluation.judging.models import NAME_MAX as MODEL_MAX
from domain.evaluation.judging.models import resolve_model
from domain.evaluation.metrics.judged_metrics import no_tool_calls, nothing_said
from domain.evaluation.metrics.metric import (
    Definition,
    DefinitionKind,
    JudgeKind,
    Metric,
    MetricFunction,
    Precheck,
)
from domain.evaluation.metrics.rubrics import LABEL_MAX, AnswerFormat, Rubric
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.messages import decode_json
from domain.tracing.payloads.payload import JsonText

DEFINITION: Final = "definition"  # its path in a request
DEFINITION_MAX: Final = 8_192  # bytes
CRITERION_MAX: Final = 2_000  # characters
ANCHOR_MAX: Final = 500
CHECKLIST_ANCHORS: Final = 2  # for false and for true
SEARCH_TOO_LONG: Final = f"searching this trace for its patterns takes more than {SEARCH_S_MAX:g} s"

FIRST_VERSION: Final = 1
_DIGITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDefinition:
    """The parsed body of a definition. `patterns` are its regular expressions, with their paths."""

    rubric: Rubric | None = None
    sees_reasoning: bool = False
    model: str | None = None
    check: CheckFunction | None = None
    judge_kind: JudgeKind = JudgeKind.MEASURED
    fingerprint_prefix: str = ""  # of computed scores: what computes them, in which version
    patterns: Sequence[tuple[str, str]] = field(default_factory=tuple)


def parse_definition(name: str, kind: DefinitionKind, body: JsonText) -> ParsedDefinition:
    """Raises Invalid with all errors, each with its path in the request.

    The caller checks that patterns are valid and that a model may be used.
    """
    errors = ErrorCollector()
    if len(body) > DEFINITION_MAX:
        errors.add(DEFINITION, f"must have at most {DEFINITION_MAX} bytes")
        errors.check()
    read = {
        DefinitionKind.JUDGE: _judge,
        DefinitionKind.RULE: _rule,
        DefinitionKind.MEASURED: _measured,
    }[kind]
    spec = read(name, decode_json(body), errors)
    errors.check()
    return spec


def build_metric(definition: Definition, new_search: NewRegexSearch) -> Metric:
    """The metric of a definition; `new_search` gives what searches its patterns.

    Raises Invalid if the definition is invalid.
    """
    spec = parse_definition(definition.name, definition.kind, definition.body)
    return Metric(
        name=definition.name,
        description=definition.description,
        method=definition.method,
        threshold=definition.threshold,
        compute=None if spec.check is None else _measure(definition, spec, spec.check, new_search),
        rubric=spec.rubric,
        precheck=None if spec.rubric is None else _precheck(spec.rubric),
        sees_reasoning=spec.sees_reasoning,
        model=spec.model,
        revision=definition.revision,
    )


def _precheck(rubric: Rubric) -> Precheck:
    is_checklist = rubric.answer_format is AnswerFormat.CHECKLIST
    usual = no_tool_calls if is_checklist else nothing_said
    if not template.shows_expected(rubric.template):
        return usual

    def check(subject: EvaluatedTrace) -> Outcome | None:
        return usual(subject) if subject.expected is not None else Skipped(SkipCode.NO_EXPECTED)

    return check


def _measure(
    definition: Definition, spec: ParsedDefinition, taken: CheckFunction, new_search: NewRegexSearch
) -> MetricFunction:
    digest = sha256(definition.body).hexdigest()[:_DIGITS]
    marks = {
        "judge_kind": spec.judge_kind.value,
        "fingerprint": f"{spec.fingerprint_prefix}/{digest}",
    }

    def measure(subject: EvaluatedTrace) -> Outcome:
        try:
            outcome = taken(subject, new_search())
        except SearchTooLongError:
            return Skipped(SkipCode.TRACE_TOO_LARGE, SEARCH_TOO_LONG)
        if not isinstance(outcome, Scored):
            return outcome
        return replace(outcome, metadata={**outcome.metadata, **marks})

    return measure


def versioned(what: str, version: int) -> str:
    """`what` with its version, unless it is the first: scores had none before the second."""
    return what if version == FIRST_VERSION else f"{what}/{version}"


# --- reading ---------------------------------------------------------------------------------


def _judge(name: str, body: object, errors: ErrorCollector) -> ParsedDefinition:
    reader = ObjectReader(body, DEFINITION, errors)
    form = reader.choice("form", AnswerFormat, default=AnswerFormat.SCALE)
    criterion = reader.text("criterion", CRITERION_MAX)
    count = CHECKLIST_ANCHORS if form is AnswerFormat.CHECKLIST else LABEL_MAX + 1
    anchors = reader.texts("anchors", count, ANCHOR_MAX, is_required=True)
    if reader.has("anchors") and len(anchors) != count:
        reader.refuse("anchors", f"must hold {count} texts, one for each label, ascending")
    model = resolve_model(reader.text("model", MODEL_MAX)) if reader.has("model") else None
    shown = reader.text("template", template.TEMPLATE_MAX, default="")
    sees_reasoning = reader.flag("sees_reasoning", default=False)
    reader.end()
    if shown:
        try:
            template.check(shown)
        except template.InvalidTemplate as error:
            reader.refuse("template", str(error))
        if form is AnswerFormat.CHECKLIST and not template.shows_steps(shown):
            reader.refuse("template", "must show {{steps}}, which a checklist is about")
    if errors.items:
        return ParsedDefinition()
    rubric = Rubric(
        metric=name, answer_format=form, criterion=criterion, anchors=anchors, template=shown
    )
    return ParsedDefinition(rubric=rubric, sees_reasoning=sees_reasoning, model=model)


def _rule(_: str, body: object, errors: ErrorCollector) -> ParsedDefinition:
    node = parse_rule(body, DEFINITION, errors)
    if node is None:
        return ParsedDefinition()
    return ParsedDefinition(
        check=partial(evaluate_rule, node),
        judge_kind=JudgeKind.RULE,
        fingerprint_prefix=versioned(JudgeKind.RULE.value, RULE_VERSION),
        patterns=tuple(patterns_in(node, DEFINITION)),
    )


def _measured(_: str, body: object, errors: ErrorCollector) -> ParsedDefinition:
    reader = ObjectReader(body, DEFINITION, errors)
    kind = reader.text("type", 100)
    given = reader.value("parameters")
    reader.end()
    read_check = COMPUTED_CHECKS.get(kind)
    if read_check is None:
        if kind:
            reader.refuse("type", f"must be one of: {', '.join(COMPUTED_CHECKS)}")
        return ParsedDefinition()
    parameters = ObjectReader({} if given is None else given, reader.at("parameters"), errors)
    taken = read_check(parameters)
    parameters.end()
    is_pattern = kind == "text_match" and parameters.value("op") == MatchOperator.MATCHES
    pattern = (parameters.at("value"), str(parameters.value("value")))
    return ParsedDefinition(
        check=taken,
        fingerprint_prefix=versioned(
            f"{JudgeKind.MEASURED}/{kind}", CHECK_VERSIONS.get(kind, FIRST_VERSION)
        ),
        patterns=(pattern,) if is_pattern else (),
    )
