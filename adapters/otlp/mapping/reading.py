"""The interpreter of the rules: finds the values of one span, per target.

Each attribute is looked up once. An attribute that no rule names is passed over.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto
from functools import lru_cache
from operator import itemgetter
from typing import Final

from adapters.otlp.mapping.flags import Flag
from adapters.otlp.mapping.json_values import NEVER_EMPTY, STRUCTURES, in_order
from adapters.otlp.mapping.merging import MergedSpan
from domain.tracing.otel.fragments import SentEvent
from domain.tracing.span import SpanKind

KNOWN_KEYS_MAX: Final = 8_192  # of attributes, whose rules are remembered; senders use some hundred
KNOWN_KEY_CHARS_MAX: Final = 128  # longer ones aren't remembered: they could take gigabytes
KNOWN_SCOPES_MAX: Final = 256
_SCOPE_CHARS: Final = 64  # of a scope's name: more than the beginnings that rules name
EVENT: Final = "event:"  # before the name of an event, among the keys of a rule


class Target(IntEnum):
    """The fields and facts that rules give values for."""

    __hash__ = int.__hash__  # that of enums isn't in C, and each attribute is put into a dict

    KIND = auto()
    OBSERVATION_INPUT = auto()
    MESSAGES_IN = auto()
    GENERIC_IN = auto()
    TOOL_INPUT = auto()
    TOOL_EVENT_IN = auto()
    QUERY_IN = auto()
    VALUES_IN = auto()
    CONVERSATION_IN = auto()
    INSTRUCTIONS_IN = auto()
    OBSERVATION_OUTPUT = auto()
    MESSAGES_OUT = auto()
    GENERIC_OUT = auto()
    TOOL_OUTPUT = auto()
    TOOL_EVENT_OUT = auto()
    RESULT_OUT = auto()
    CONVERSATION_OUT = auto()
    MODEL = auto()
    REQUEST_MODEL = auto()
    PROVIDER = auto()
    MODEL_PARAMETERS = auto()
    FIRST_TOKEN = auto()
    SESSION_ID = auto()
    MADE_UP_SESSION = auto()
    USER_ID = auto()
    ENVIRONMENT = auto()
    RELEASE = auto()
    TAGS = auto()
    METADATA = auto()
    TRACE_METADATA = auto()
    TRACE_NAME = auto()
    TRACE_INPUT = auto()
    TRACE_OUTPUT = auto()
    APP_ROOT = auto()
    TOOL_NAME = auto()
    TOOL_CALL_ID = auto()
    TOOL_TYPE = auto()
    TOOL_DESCRIPTION = auto()
    TOOL_SCHEMA = auto()
    TOOLS = auto()
    FINISH_REASONS = auto()
    AGENT = auto()
    PROMPT = auto()
    STATUS = auto()
    STATUS_MESSAGE = auto()
    ERROR_TYPE = auto()
    ERROR_EVENT = auto()
    RESPONSE_ID = auto()
    ANSWER_WITH_ID = auto()
    CLAUDE_REQUEST = auto()
    USAGE_AS_JSON = auto()
    INPUT_TOKENS = auto()
    CACHE_READ_TOKENS = auto()
    CACHE_WRITE_TOKENS = auto()
    OUTPUT_TOKENS = auto()
    REASONING_TOKENS = auto()
    AUDIO_INPUT_TOKENS = auto()
    AUDIO_OUTPUT_TOKENS = auto()
    TOTAL_TOKENS = auto()
    DISJOINT_INPUT_TOKENS = auto()
    DISJOINT_CACHE_READ_TOKENS = auto()
    DISJOINT_CACHE_WRITE_TOKENS = auto()
    DISJOINT_OUTPUT_TOKENS = auto()
    FALLBACK_USAGE_AS_JSON = auto()
    COST = auto()


type Transform = Callable[[object, Reading], object]
"""Makes a value of an attribute, a family or a list of events; None if it is of no use.

A family is a mapping of its attributes by their full names, in order.
"""


_NAMES: Final = {target: target.name.lower() for target in Target}


class Nothing:
    """The result of a transform that ends the search: the first source gives null."""


NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True)
class Rule:
    """The sources of a target, best first, and how the value is made.

    A key is the name of an attribute; `a.{b,c}` stands for `a.b`, then `a.c`; `a.*` for the family
    of all attributes that begin with `a.`; `event:a` for the events of that name. Rules with a
    `when_scope` hold for instrumentation scopes whose names begin with it, and come first.
    """

    target: Target
    keys: Sequence[str]
    transform: Transform
    when_scope: str = ""


def expanded(key: str) -> Iterator[str]:
    """The keys that a key with braces stands for, in order."""
    before, brace, rest = key.partition("{")
    if not brace:
        yield key
        return
    choices, _, after = rest.partition("}")
    for choice in choices.split(","):
        yield from expanded(f"{before}{choice}{after}")


type _Place = tuple[int, Target, str, Transform]
"""A key in a rule: its order among those of all rules, the target, the key, and the transform."""

type _Found = tuple[Sequence[_Place], str | None]
"""The places of an attribute, and the family that it belongs to."""


class RuleTable:
    """The rules that hold for one instrumentation scope, by attribute."""

    def __init__(self, rules: Sequence[Rule], scope: str) -> None:
        self._exact: dict[str, list[_Place]] = {}
        self.families: dict[str, list[_Place]] = {}
        self.events: dict[str, list[_Place]] = {}
        scoped = [rule for rule in rules if rule.when_scope and scope.startswith(rule.when_scope)]
        order = 0
        for rule in [*scoped, *(rule for rule in rules if not rule.when_scope)]:
            for key in (one for written in rule.keys for one in expanded(written)):
                place = (order, rule.target, key, rule.transform)
                if key.startswith(EVENT):
                    self.events.setdefault(key.removeprefix(EVENT), []).append(place)
                elif key.endswith(".*"):
                    self.families.setdefault(key[:-1], []).append(place)
                else:
                    self._exact.setdefault(key, []).append(place)
                order += 1
        self._family_chars = max(map(len, self.families), default=0)
        self.find = lru_cache(maxsize=KNOWN_KEYS_MAX)(self.find_once)

    def find_once(self, key: str) -> _Found:
        """As `find`, which remembers the result."""
        return self._exact.get(key, ()), self._family(key)

    def _family(self, key: str) -> str | None:
        """The longest prefix of the key that is a family."""
        at = self._family_chars
        while (at := key.rfind(".", 0, at)) >= 0:
            if (prefix := key[: at + 1]) in self.families:
                return prefix
        return None


@dataclass(slots=True)
class Reading:
    """The sources of a span by target. Notes the flags that reading them raises.

    `won` has the key that won per target. `kind_raw` is a kind that isn't known. `empty_payloads`
    are those that were passed over because they are empty objects or arrays.
    """

    span: MergedSpan
    hits: dict[Target, list[tuple[int, str, object, Transform]]]
    flags: set[Flag] = field(default_factory=set)
    won: dict[str, str] = field(default_factory=dict)
    kind: SpanKind = SpanKind.OTHER
    kind_raw: str | None = None
    empty_payloads: list[object] = field(default_factory=list)

    def attribute(self, key: str) -> object:
        """An attribute that has no rule of its own, because it goes with another one."""
        return in_order(self.span.attributes.get(key))

    def has(self, *targets: Target) -> bool:
        """Whether any source of one of the targets was sent. It may turn out to be of no use."""
        return not self.hits.keys().isdisjoint(targets)

    def first(self, target: Target) -> object:
        """The value of the first source that gives one; None if none does."""
        if target not in self.hits:
            return None
        hits = self.hits[target]
        if len(hits) > 1:
            hits.sort(key=_order)
        for _, key, value, transform in hits:
            found = transform(value, self)
            if found is not None:
                self.won[_NAMES[target]] = key
                return None if found is NOTHING else found
        return None

    def text(self, target: Target) -> str | None:
        """As `first`, for targets whose transforms give text."""
        if target not in self.hits:
            return None
        found = self.first(target)
        return found if isinstance(found, str) else None

    def every(self, target: Target) -> list[object]:
        """The values of all sources that give one, best first."""
        hits = sorted(self.hits.get(target, ()), key=_order)
        values = [(key, transform(value, self)) for _, key, value, transform in hits]
        given = [(key, value) for key, value in values if value is not None]
        if given:
            self.won[_NAMES[target]] = given[0][0]
        return [value for _, value in given]


_order = itemgetter(0)


def read(span: MergedSpan, table: RuleTable) -> Reading:
    """Looks up the attributes and events of a span."""
    hits: dict[Target, list[tuple[int, str, object, Transform]]] = {}
    families: dict[str, dict[str, object]] = {}
    find = table.find
    for key, sent in span.attributes.items():
        if not sent and type(sent) not in NEVER_EMPTY:
            continue
        places, family = find(key) if len(key) <= KNOWN_KEY_CHARS_MAX else table.find_once(key)
        value: object = in_order(sent) if type(sent) in STRUCTURES else sent
        for order, target, place_key, transform in places:
            hits.setdefault(target, []).append((order, place_key, value, transform))
        if family is not None:
            families.setdefault(family, {})[key] = value
    for family, members in families.items():
        found = {key: members[key] for key in sorted(members)}
        for order, target, place_key, transform in table.families[family]:
            hits.setdefault(target, []).append((order, place_key, found, transform))
    if span.events:
        _read_events(span.events, table, hits)
    return Reading(span, hits)


def _read_events(
    events: Sequence[SentEvent],
    table: RuleTable,
    hits: dict[Target, list[tuple[int, str, object, Transform]]],
) -> None:
    """Adds the events. Those that one rule names are one source, in order of time."""
    grouped: dict[tuple[Target, Transform], list[SentEvent]] = {}
    orders: dict[tuple[Target, Transform], tuple[int, str]] = {}
    for event in events:
        for order, target, key, transform in table.events.get(event.name, ()):
            grouped.setdefault((target, transform), []).append(event)
            orders.setdefault((target, transform), (order, key))
            orders[target, transform] = min(orders[target, transform], (order, key))
    for (target, transform), found in grouped.items():
        order, key = orders[target, transform]
        hits.setdefault(target, []).append((order, key, found, transform))


def table_for(rules: Sequence[Rule]) -> Callable[[str], RuleTable]:
    """The tables of rules by instrumentation scope, made once for each set of rules that holds."""
    prefixes = sorted({rule.when_scope for rule in rules if rule.when_scope})
    tables: dict[tuple[str, ...], RuleTable] = {}

    @lru_cache(maxsize=KNOWN_SCOPES_MAX)
    def table(scope: str) -> RuleTable:
        held = tuple(prefix for prefix in prefixes if scope.startswith(prefix))
        if held not in tables:
            tables[held] = RuleTable(rules, scope)
        return tables[held]

    return lambda scope: table(scope[:_SCOPE_CHARS])
