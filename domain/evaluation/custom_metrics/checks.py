"""Checks with parameters set by a project: limits, JSON, wording, leaks, and tool calls."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from domain.evaluation.custom_metrics.regex import PATTERN_MAX, TEXT_MAX, RegexSearch
from domain.evaluation.custom_metrics.strict_json import ErrorCollector, ObjectReader
from domain.evaluation.custom_metrics.trace_path import (
    PATH_MAX,
    InvalidTracePath,
    PathResolver,
    TracePath,
    total_cost,
    total_tokens,
)
from domain.evaluation.evidence.redaction import RedactionMode, Redactor
from domain.evaluation.scores.outcome import Outcome, Scored, SkipCode, Skipped
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.evaluation.trace_content.json_schema import (
    is_supported_schema,
    json_equal,
    json_key,
    matches_schema,
)
from domain.evaluation.trace_content.language import (
    Language,
    detect_language,
    is_language,
    same_language,
)
from domain.evaluation.trace_content.messages import decode_embedded_json, decode_json
from domain.evaluation.trace_content.text import longest_common_subsequence, to_text
from domain.evaluation.trace_content.tool_calls import ToolCall
from domain.tracing.usage import EXACT, CostSource
from domain.wording import counted

MS_MAX: Final = 30 * 86_400_000.0  # of a time limit: 30 days
USD_MAX: Final = 1_000_000.0
COUNT_MAX: Final = 1_000_000_000.0
NUMBER_MAX: Final = 1e15  # of a number in an answer; a double has 15 digits
HARD_LIMIT_FACTOR: Final = 2  # times the target
EXPECTED_TEXT_MAX: Final = 2_000  # characters
COMPARED_MAX: Final = 10_000  # characters of an answer; each takes more than a microsecond
ANSWER: Final = "answer"
SAME_AS_INPUT: Final = "same_as_input"
TOOLS_MAX: Final = 100
TOOL_MAX: Final = 255  # characters of a name
EXPECTED_CALLS_MAX: Final = 50
CALLS_MAX: Final = 2_000  # of a trace: each is compared with each expected call
REPORTED_MAX: Final = 20  # names of forbidden tools in the metadata

type CheckFunction = Callable[[EvaluatedTrace, RegexSearch], Outcome]
"""A check with its parameters, to apply to a trace. Pure; never raises."""
type CheckReader = Callable[[ObjectReader], CheckFunction]
"""Reads the parameters of a check, and collects errors."""


# --- limits --------------------------------------------------------------------------------------
# Each score is 1 up to the target and falls linearly to 0 at `hard`, by default twice the target.


def ramp(value: float, target: float, hard: float) -> float:
    """1 up to the target, 0 from `hard` on, which is larger, and linear in between."""
    if value <= target:
        return 1.0
    return max(0.0, (hard - value) / (hard - target))


def _limits(reader: ObjectReader, name: str, most: float) -> tuple[float, float]:
    """Target and hard limit, read from `name` and from `hard_` + the last part of `name`."""
    hard_name = f"hard_{name.rpartition('_')[2]}"
    target = reader.number(name, 0, most)
    hard = reader.number(hard_name, 0, HARD_LIMIT_FACTOR * most, default=HARD_LIMIT_FACTOR * target)
    if reader.has(hard_name):
        if hard <= target:
            reader.refuse(hard_name, "must be above the target")
    elif reader.value(name) == 0:
        reader.refuse(name, f"must be above 0 without {hard_name}")
    return target, hard


def _limited(
    reader: ObjectReader,
    name: str,
    most: float,
    unit: str,
    measure: Callable[[EvaluatedTrace], float | SkipCode],
) -> CheckFunction:
    target, hard = _limits(reader, name, most)

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        found = measure(subject)
        if isinstance(found, SkipCode):
            return Skipped(found)
        details = {"measured": found, "target": target, "hard": hard}
        return Scored(ramp(found, target, hard), f"{found:g} {unit} of {target:g}", details)

    return check


def latency_slo(reader: ObjectReader) -> CheckFunction:
    def lasted(subject: EvaluatedTrace) -> float | SkipCode:
        if subject.trace.clock_skew:
            return SkipCode.CLOCK_SKEW
        latency = subject.trace.latency_ms
        return SkipCode.TRACE_RUNNING if latency is None else latency

    return _limited(reader, "target_ms", MS_MAX, "ms", lasted)


def ttft_slo(reader: ObjectReader) -> CheckFunction:
    """The longest time to first token among the model calls that recorded it."""

    def slowest(subject: EvaluatedTrace) -> float | SkipCode:
        times = [span.time_to_first_token_ms for span in subject.model_calls]
        return max((one for one in times if one is not None), default=SkipCode.NOT_TIMED)

    return _limited(reader, "target_ms", MS_MAX, "ms", slowest)


def cost_budget(reader: ObjectReader) -> CheckFunction:
    """Skipped if a model call has no price, since its cost would be missing."""

    def spent(subject: EvaluatedTrace) -> float | SkipCode:
        charges = [span.charge for span in subject.model_calls]
        if any(one is None or one.source is CostSource.UNPRICED for one in charges):
            return SkipCode.NO_PRICES
        found = total_cost(subject.spans)
        return SkipCode.NO_PRICES if found is None else found

    return _limited(reader, "usd", USD_MAX, "USD", spent)


def token_budget(reader: ObjectReader) -> CheckFunction:
    """Skipped if a model call has no token usage."""

    def used(subject: EvaluatedTrace) -> float | SkipCode:
        if any(span.counted_usage is None for span in subject.model_calls):
            return SkipCode.NO_USAGE
        found = total_tokens(subject.spans)
        return SkipCode.NO_USAGE if found is None else found

    return _limited(reader, "tokens", COUNT_MAX, "tokens", used)


def step_budget(reader: ObjectReader) -> CheckFunction:
    """Tool calls, model calls, or both: the worse of the two scores counts."""
    budgets = {
        name: reader.number(name, 1, COUNT_MAX)
        for name in ("max_calls", "max_llm")
        if reader.has(name)
    }
    if not budgets:
        reader.refuse("max_calls", "or max_llm is required")

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        if not subject.spans:
            return Skipped(SkipCode.NO_SPANS)
        counts = {"max_calls": len(subject.tool_calls), "max_llm": len(subject.model_calls)}
        values = {
            name: ramp(counts[name], most, HARD_LIMIT_FACTOR * most)
            for name, most in budgets.items()
        }
        worst = min(values, key=values.__getitem__)
        word = "tool calls" if worst == "max_calls" else "model calls"
        details = {"calls": counts["max_calls"], "llm": counts["max_llm"]}
        return Scored(values[worst], f"{counts[worst]} {word} of {budgets[worst]:g}", details)

    return check


# --- what is expected ----------------------------------------------------------------------------


class ExpectedSource(StrEnum):
    ITEM = "item"  # of a dataset, whose result the trace is


def _is_from_item(reader: ObjectReader, name: str) -> bool:
    """Whether the item of an experiment says what is expected, instead of the parameter `name`."""
    if not reader.has("expected_from"):
        return False
    reader.choice("expected_from", ExpectedSource)
    if reader.value(name) is not None:
        reader.refuse(name, "can't be combined with expected_from")
    return True


def _expected_text(subject: EvaluatedTrace) -> str | None:
    """A text as it is, anything else as JSON; None if nothing is expected."""
    return None if subject.expected is None else to_text(decode_json(subject.expected))


# --- texts ---------------------------------------------------------------------------------------


class MatchOperator(StrEnum):
    EQUALS = "equals"
    CONTAINS = "contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    MATCHES = "matches"


_MATCHERS: Final[Mapping[MatchOperator, Callable[[str, str], bool]]] = {
    MatchOperator.EQUALS: str.__eq__,
    MatchOperator.CONTAINS: str.__contains__,
    MatchOperator.STARTS_WITH: str.startswith,
    MatchOperator.ENDS_WITH: str.endswith,
}


class Pii(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"


def _place(reader: ObjectReader, *, is_single: bool) -> TracePath:
    text = reader.text("path", PATH_MAX, default=ANSWER)
    try:
        place = TracePath.parse(text)
    except InvalidTracePath as error:
        reader.refuse("path", str(error))
        return TracePath.parse(ANSWER)
    if place.is_count or (is_single and place.is_per_span):
        reader.refuse("path", "must lead to one text")
    return place


def _texts_at(place: TracePath, subject: EvaluatedTrace) -> list[str]:
    resolver = PathResolver(subject)
    return [resolver.text(one) for one in place.resolve(resolver) if one is not None]


# --- JSON ------------------------------------------------------------------------------------


def _json_check(judge: Callable[[object], Scored]) -> CheckFunction:
    """Judges the value of the answer, which must be JSON as a whole, without a Markdown fence."""

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        text = subject.answer.text.strip()
        if not text:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        try:
            value: object = json.loads(text, parse_constant=_refused)
        except (ValueError, RecursionError):
            return Scored(0.0, "the answer is not JSON")
        return judge(value)

    return check


def _refused(word: str) -> object:
    raise ValueError(word)  # NaN and infinities aren't JSON


def json_valid(reader: ObjectReader) -> CheckFunction:
    """Whether the whole answer is JSON."""
    del reader
    return _json_check(lambda _: Scored(1.0, "the answer is JSON"))


def json_equality(reader: ObjectReader) -> CheckFunction:
    """Whether the answer is JSON that equals the expected value."""
    from_item, given = _is_from_item(reader, "expected"), reader.value("expected")
    if given is None and not from_item:
        reader.refuse("expected", "or expected_from is required")

    def check(subject: EvaluatedTrace, regex_search: RegexSearch) -> Outcome:
        if from_item and subject.expected is None:
            return Skipped(SkipCode.NO_EXPECTED)
        expected = decode_json(subject.expected) if from_item else given

        def judge(value: object) -> Scored:
            is_equal = json_equal(value, expected)
            word = "equals" if is_equal else "does not equal"
            return Scored(float(is_equal), f"the answer {word} what is expected")

        return _json_check(judge)(subject, regex_search)

    return check


def numeric_tolerance(reader: ObjectReader) -> CheckFunction:
    """Whether the answer is a number that differs from the expected one by no more than allowed.

    The larger of the absolute tolerance and the relative one, a share of the expected number.
    """
    from_item = _is_from_item(reader, "expected")
    given = 0.0 if from_item else reader.number("expected", -NUMBER_MAX, NUMBER_MAX)
    absolute = reader.number("absolute", 0, NUMBER_MAX, default=0)
    relative = reader.number("relative", 0, 1, default=0)

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        text = subject.answer.text.strip()
        if not text:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        expected = _number(_expected_text(subject)) if from_item else given
        if expected is None:
            return Skipped(SkipCode.NO_EXPECTED, "the trace's item expects no number")
        found = _number(text)
        if found is None:
            return Scored(0.0, "the answer isn't a number")
        # By their decimals: as doubles, 3.1 - 3 is more than 0.1.
        exact = Decimal(repr(expected))
        share = EXACT.multiply(Decimal(repr(relative)), abs(exact))
        allowed = max(Decimal(repr(absolute)), share)
        is_near = EXACT.abs(EXACT.subtract(Decimal(repr(found)), exact)) <= allowed
        details = {"measured": found, "expected": expected, "allowed": float(allowed)}
        return Scored(float(is_near), f"{found:g}, where {expected:g} is expected", details)

    return check


def _number(text: str | None) -> float | None:
    """A finite number as JSON writes it; None for any other text."""
    try:
        value: object = json.loads(text or "", parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > NUMBER_MAX:
        return None
    return float(value)


def json_schema(reader: ObjectReader) -> CheckFunction:
    """Whether the answer is JSON that matches a schema of supported keywords."""
    schema = reader.value("schema")
    if not isinstance(schema, Mapping):
        reader.refuse("schema", "must be an object")
    elif not is_supported_schema(schema):
        reader.refuse(
            "schema",
            "may only use: type, enum, const, required, properties, additionalProperties, items, "
            "minLength, maxLength, minimum, maximum",
        )

    def judge(value: object) -> Scored:
        is_fit = matches_schema(value, schema)
        word = "fits" if is_fit else "does not fit"
        return Scored(float(is_fit), f"the answer {word} the schema")

    return _json_check(judge)


# --- wording ---------------------------------------------------------------------------------


def text_match(reader: ObjectReader) -> CheckFunction:
    """Whether a text equals, contains, begins or ends with another, or matches a pattern."""
    place = _place(reader, is_single=True)
    op = reader.choice("op", MatchOperator)
    from_item = _is_from_item(reader, "value")
    if from_item and op is MatchOperator.MATCHES:
        reader.refuse("op", "can't be matches: an item's text isn't a pattern")
    most = PATTERN_MAX if op is MatchOperator.MATCHES else EXPECTED_TEXT_MAX
    given = "" if from_item else reader.text("value", most)

    def check(subject: EvaluatedTrace, regex_search: RegexSearch) -> Outcome:
        value = _expected_text(subject) if from_item else given
        if value is None:
            return Skipped(SkipCode.NO_EXPECTED)
        found = next(iter(_texts_at(place, subject)), "")
        if not found and place.text == ANSWER:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        matches = _MATCHERS.get(op) or (lambda text, pattern: regex_search(pattern, text))
        is_match = found != "" and matches(found, value)
        return Scored(float(is_match), f"the text {'matches' if is_match else 'does not match'}")

    return check


def levenshtein(reader: ObjectReader) -> CheckFunction:
    """1 - edit distance to the expected text / length of the longer text.

    Unless both texts are equal, characters beyond COMPARED_MAX each count as one edit.
    """
    from_item = _is_from_item(reader, "expected")
    given = "" if from_item else reader.text("expected", EXPECTED_TEXT_MAX)

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        expected = _expected_text(subject) if from_item else given
        if expected is None:
            return Skipped(SkipCode.NO_EXPECTED)
        found = subject.answer.text
        if not found:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        longer = max(len(expected), len(found))
        edits = _edits(expected, found)
        details = {"edits": edits, "characters": longer}
        return Scored(
            1 - edits / longer,
            f"{counted(edits, 'edit')} in {counted(longer, 'character')}",
            details,
        )

    return check


def _edits(one: str, other: str) -> int:
    if one == other:
        return 0
    rest = max(len(one[COMPARED_MAX:]), len(other[COMPARED_MAX:]))
    return edit_distance(one[:COMPARED_MAX], other[:COMPARED_MAX]) + rest


def edit_distance(one: str, other: str) -> int:
    """The minimal number of inserted, deleted or replaced characters.

    Bit-parallel: one column of the table at a time, as the bits of two integers (Myers 1999, Hyyrö
    2003).
    """
    if not one:
        return len(other)
    where: dict[str, int] = {}
    for place, character in enumerate(one):
        where[character] = where.get(character, 0) | 1 << place
    mask, last = (1 << len(one)) - 1, 1 << len(one) - 1
    more, less, found = mask, 0, len(one)
    for character in other:
        equal = where.get(character, 0)
        across = (((equal & more) + more) ^ more) | equal | less
        up = less | (~(across | more) & mask)
        down = more & across
        if up & last:
            found += 1
        elif down & last:
            found -= 1
        up, down = (up << 1 | 1) & mask, down << 1 & mask
        more = down | (~(across | up) & mask)
        less = up & across
    return found


def language_match(reader: ObjectReader) -> CheckFunction:
    """Whether the answer is in a given language, or in that of the request (heuristic)."""
    known = (*Language, SAME_AS_INPUT)
    wanted = reader.text("language", max(map(len, known)))
    if wanted and wanted not in known:
        reader.refuse("language", f"must be one of: {', '.join(known)}")
        wanted = ""

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        text = subject.answer.text
        if not text.strip():
            return Skipped(SkipCode.EMPTY_OUTPUT)
        if decode_embedded_json(text) is not text:
            return Skipped(SkipCode.STRUCTURED_OUTPUT, "the output is JSON, which has no language")
        found = detect_language(text)
        if wanted == SAME_AS_INPUT:
            asked = detect_language(subject.request.text)
            is_match = same_language(asked, found)
        else:
            asked = found
            is_match = is_language(found, Language(wanted))
        if found is None or asked is None:
            return Skipped(SkipCode.TOO_SHORT, "too little to tell the language by, or mixed")
        if is_match is None:
            return Skipped(SkipCode.UNKNOWN_LANGUAGE)
        seems = found.language or found.script
        return Scored(float(is_match), f"the answer seems to be {seems}", {"language": seems})

    return check


# --- leaks -----------------------------------------------------------------------------------


def secret_leak(reader: ObjectReader) -> CheckFunction:
    """1 if no text has the format of a secret. Reports only counts, not the texts found."""
    return _leak(_place(reader, is_single=False), RedactionMode.SECRETS, ("secret",))


def pii_leak(reader: ObjectReader) -> CheckFunction:
    """The same for e-mail addresses, phone numbers and card numbers, or some of these kinds."""
    place = _place(reader, is_single=False)
    kinds = reader.texts("kinds", len(Pii), 10) or tuple(Pii)
    unknown = [place for place, kind in enumerate(kinds) if kind not in set(Pii)]
    for at in unknown:
        reader.refuse(f"kinds.{at}", f"must be one of: {', '.join(Pii)}")
    return _leak(place, RedactionMode.SECRETS_PII, kinds)


def _leak(place: TracePath, masking: RedactionMode, kinds: tuple[str, ...]) -> CheckFunction:
    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        texts = [text[:TEXT_MAX] for text in _texts_at(place, subject) if text]
        if not texts:
            return Skipped(SkipCode.EMPTY_OUTPUT)
        found: Counter[str] = Counter()
        for text in texts:
            redactor = Redactor(masking)
            redactor.redact(text)
            found += redactor.counts
        leaked = {str(kind): found[kind] for kind in kinds if found[kind]}
        reason = ", ".join(f"{kind}: {count}" for kind, count in leaked.items()) or "nothing found"
        return Scored(0.0 if leaked else 1.0, reason, {"found": leaked})

    return check


# --- tool calls ----------------------------------------------------------------------------------


class TrajectoryMode(StrEnum):
    STRICT = "strict"  # the expected calls and no others, in order
    UNORDERED = "unordered"  # the expected calls and no others, in any order
    SUBSET = "subset"  # no others than the expected calls
    SUPERSET = "superset"  # all expected calls, and possibly others


class ArgumentMode(StrEnum):
    IGNORE = "ignore"
    EXACT = "exact"
    SUBSET = "subset"  # the expected arguments are among the given ones


def tool_permission(reader: ObjectReader) -> CheckFunction:
    """Permitted calls / calls. A call must be in `allow`, if given, and not in `deny`."""
    allow = reader.texts("allow", TOOLS_MAX, TOOL_MAX)
    deny = reader.texts("deny", TOOLS_MAX, TOOL_MAX)
    has_allow = reader.has("allow")
    if not has_allow and not deny:
        reader.refuse("allow", "or deny is required")

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        names = [call.name for call in subject.tool_calls]
        if not names:
            return Skipped(SkipCode.NO_TOOL_CALLS)
        refused = [name for name in names if name in deny or (has_allow and name not in allow)]
        forbidden = list(dict.fromkeys(refused))[:REPORTED_MAX]
        return Scored(
            1 - len(refused) / len(names),
            f"{len(refused)} of {len(names)} tool calls were not allowed",
            {"forbidden_tools": forbidden},
        )

    return check


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A call that is expected."""

    name: str
    arguments: object = None


class _ComparableArguments:
    """Arguments as small sets: expected ones match if theirs is a subset of that of the given ones.

    Each value is read once, since a trace may have thousands of calls with large arguments.
    """

    def __init__(self, mode: ArgumentMode) -> None:
        self._mode = mode
        self._numbers: dict[str, int] = {}  # equal values have the same

    def members(self, arguments: object) -> AbstractSet[object]:
        if self._mode is ArgumentMode.IGNORE:
            return frozenset()
        if self._mode is ArgumentMode.SUBSET and isinstance(arguments, Mapping):
            members = [(name, self._number(value)) for name, value in arguments.items()]
            return frozenset(["object", *members])
        return frozenset([self._number(arguments)])

    def _number(self, value: object) -> int:
        return self._numbers.setdefault(json_key(value), len(self._numbers))


def _matches(
    expected: Sequence[ExpectedCall], calls: Sequence[ToolCall], mode: ArgumentMode
) -> list[list[bool]]:
    """For each expected call, whether each call matches it."""
    comparable, names = _ComparableArguments(mode), {due.name for due in expected}
    wanted = [(due.name, comparable.members(due.arguments)) for due in expected]
    made = [
        (call.name, comparable.members(call.arguments) if call.name in names else frozenset())
        for call in calls
    ]
    return [[due == name and one <= other for name, other in made] for due, one in wanted]


def trajectory_match(reader: ObjectReader) -> CheckFunction:
    """How far the calls match the expected ones; see TrajectoryMode.

    Strict: longest common subsequence / the longer sequence. The other modes count matching pairs.
    """
    mode = reader.choice("mode", TrajectoryMode, default=TrajectoryMode.STRICT)
    arg_mode = reader.choice("arg_mode", ArgumentMode, default=ArgumentMode.IGNORE)
    from_item = _is_from_item(reader, "expected")
    given = [] if from_item else _due_calls(reader, arg_mode)

    def check(subject: EvaluatedTrace, _: RegexSearch) -> Outcome:
        expected = _calls_of_item(subject, arg_mode) if from_item else given
        if expected is None:
            return Skipped(SkipCode.NO_EXPECTED, "the trace's item expects no list of tool calls")
        calls = subject.tool_calls
        if len(calls) > CALLS_MAX:
            return Skipped(SkipCode.TRACE_TOO_LARGE)
        if mode is TrajectoryMode.SUBSET and not calls:
            return Skipped(SkipCode.NO_TOOL_CALLS)
        made = _matches(expected, calls, arg_mode)
        common = (
            longest_common_subsequence(made)
            if mode is TrajectoryMode.STRICT
            else maximum_matching(made)
        )
        among = {
            TrajectoryMode.SUBSET: len(calls),
            TrajectoryMode.SUPERSET: len(expected),
        }.get(mode, max(len(calls), len(expected)))
        details = {"expected": len(expected), "calls": len(calls), "common": common}
        return Scored(common / among, f"{common} of {among} calls are as expected", details)

    return check


def _due_calls(reader: ObjectReader, mode: ArgumentMode) -> list[ExpectedCall]:
    return [
        _due(one, at, reader.errors, mode)
        for at, one in reader.items("expected", EXPECTED_CALLS_MAX)
    ]


def _calls_of_item(subject: EvaluatedTrace, mode: ArgumentMode) -> list[ExpectedCall] | None:
    """None if the item doesn't expect 1 to EXPECTED_CALLS_MAX calls."""
    errors = ErrorCollector()
    found = _due_calls(ObjectReader({"expected": decode_json(subject.expected)}, "", errors), mode)
    return None if errors.items else found


def _due(one: object, at: str, errors: ErrorCollector, mode: ArgumentMode) -> ExpectedCall:
    """An expected call: a name, or an object with `name` and `arguments`."""
    named = {"name": one} if isinstance(one, str) else one
    reader = ObjectReader(named, at, errors)
    name, arguments = reader.text("name", TOOL_MAX), reader.value("arguments")
    if arguments is not None and mode is ArgumentMode.IGNORE:
        reader.refuse("arguments", "are ignored unless arg_mode is exact or subset")
    reader.end()
    return ExpectedCall(name, arguments)


def maximum_matching(made: Sequence[Sequence[bool]]) -> int:
    """The size of a maximum matching: each expected and each actual call in at most one pair.

    `made` tells for each expected call whether each actual call matches it.
    """
    matched: dict[int, int] = {}  # actual call → expected call

    def paired(due: int, tried: set[int]) -> bool:
        for at, is_it in enumerate(made[due]):
            if is_it and at not in tried:
                tried.add(at)
                if at not in matched or paired(matched[at], tried):
                    matched[at] = due
                    return True
        return False

    return sum(paired(due, set()) for due in range(len(made)))


COMPUTED_CHECKS: Final[Mapping[str, CheckReader]] = {
    check.__name__: check
    for check in (
        *(latency_slo, ttft_slo, cost_budget, token_budget, step_budget),
        *(
            json_valid,
            json_equality,
            json_schema,
            numeric_tolerance,
            text_match,
            levenshtein,
            language_match,
            secret_leak,
            pii_leak,
        ),
        *(tool_permission, trajectory_match),
    )
}
"""Every check by its type, which is the name of its function."""

CHECK_VERSIONS: Final[Mapping[str, int]] = {}
"""The version of the code of a check, 1 if it isn't named. Raise it with what a check computes."""
