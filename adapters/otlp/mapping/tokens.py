"""Tokens of a span: from attributes or JSON to totals that include cached tokens and reasoning.

Senders differ in whether the input contains what was cached, and the output the reasoning. Some
keys say it by definition; for the others it is derived from the figures, then from the model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from adapters.otlp.mapping.flags import Flag
from adapters.otlp.mapping.json_values import parsed
from adapters.otlp.mapping.reading import Reading, Target
from adapters.otlp.mapping.transforms import counted
from domain.frozen_by_types import frozen_by_types
from domain.tracing.messages.printed_value import parse_printed
from domain.tracing.payloads.payload import JsonText
from domain.tracing.usage import TOKENS_MAX, Usage

_PRINTED_TOTALS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_PRINTED_PARTS: Final[Mapping[str, Sequence[str]]] = {
    "prompt_tokens_details": ("cached_tokens", "cache_creation_tokens", "audio_tokens"),
    "completion_tokens_details": ("reasoning_tokens", "audio_tokens"),
}


class _Parts(Enum):
    """Whether a total contains its parts."""

    INCLUDED = auto()
    SEPARATE = auto()
    BY_FAMILY = auto()


@frozen_by_types(kw_only=True)
class _Sent:
    """The figures as they were sent; None: not sent."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    total: int | None = None
    cache: _Parts = _Parts.BY_FAMILY
    thoughts: _Parts = _Parts.BY_FAMILY

    @property
    def buckets(self) -> int:
        parts = (self.input, self.output, self.cache_read, self.cache_write, self.reasoning)
        return sum(part is not None for part in parts)

    @property
    def is_known(self) -> bool:
        return self.buckets > 0 or self.total is not None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The usage of a span, the text of its `token_usage`, and how many buckets are known."""

    usage: Usage | None
    token_usage: JsonText
    buckets: int


INCLUSIVE_KEYS: Final = (
    "gen_ai.usage.cache_read.",
    "gen_ai.usage.cache_write.",
    "gen_ai.usage.cache_creation.",
    "gen_ai.usage.reasoning.",
    "gen_ai.usage.details.",
    "llm.token_count.",
    "ai.usage.",
)
"""Beginnings of keys whose definition says that the total contains them."""


class ModelFamily(Enum):
    """Models whose interfaces count in their own way."""

    ANTHROPIC = ("claude", "anthropic")
    GEMINI = ("gemini",)
    OTHER = ()


def family_of(*names: str | None) -> ModelFamily:
    """The family by the names of model and provider."""
    for one in names:
        if one:
            lower = one.lower()
            for family in ModelFamily:
                if any(part in lower for part in family.value):
                    return family
    return ModelFamily.OTHER


def tokens_of(reading: Reading, *names: str | None) -> Tokens | None:
    """The tokens of a span whose model and provider have these names; None if none are known."""
    sent = _sent(reading)
    return None if sent is None else _decided(sent, names, reading.flags)


# --- what was sent ---------------------------------------------------------------------------

_USAGE_TARGETS: Final = (
    Target.INPUT_TOKENS,
    Target.OUTPUT_TOKENS,
    Target.CACHE_READ_TOKENS,
    Target.CACHE_WRITE_TOKENS,
    Target.REASONING_TOKENS,
    Target.TOTAL_TOKENS,
    Target.AUDIO_INPUT_TOKENS,
    Target.AUDIO_OUTPUT_TOKENS,
)
_DISJOINT_TARGETS: Final = (
    Target.DISJOINT_INPUT_TOKENS,
    Target.DISJOINT_OUTPUT_TOKENS,
    Target.DISJOINT_CACHE_READ_TOKENS,
    Target.DISJOINT_CACHE_WRITE_TOKENS,
)


def _sent(reading: Reading) -> _Sent | None:
    hits = reading.hits
    if Target.USAGE_AS_JSON in hits:
        found = reading.first(Target.USAGE_AS_JSON)
        if isinstance(found, _Sent):
            return found
    if not hits.keys().isdisjoint(_USAGE_TARGETS):
        found = _of_attributes(reading)
        if found.is_known:
            return found
    if not hits.keys().isdisjoint(_DISJOINT_TARGETS):
        found = _of_disjoint_attributes(reading)
        if found.is_known:
            return found
    if Target.FALLBACK_USAGE_AS_JSON in hits:
        found = reading.first(Target.FALLBACK_USAGE_AS_JSON)
        if isinstance(found, _Sent):
            return found
    return None


def _of_attributes(reading: Reading) -> _Sent:
    read = _count(reading, Target.CACHE_READ_TOKENS)
    written = _count(reading, Target.CACHE_WRITE_TOKENS)
    reasoning = _count(reading, Target.REASONING_TOKENS)
    won = reading.won
    cache_keys = [
        won[key]
        for key, count in (("cache_read_tokens", read), ("cache_write_tokens", written))
        if count
    ]
    reasoning_keys = [won["reasoning_tokens"]] if reasoning else []
    return _Sent(
        input=_count(reading, Target.INPUT_TOKENS),
        output=_count(reading, Target.OUTPUT_TOKENS),
        cache_read=read,
        cache_write=written,
        reasoning=reasoning,
        audio_input=_count(reading, Target.AUDIO_INPUT_TOKENS),
        audio_output=_count(reading, Target.AUDIO_OUTPUT_TOKENS),
        total=_count(reading, Target.TOTAL_TOKENS),
        cache=_by_definition(cache_keys),
        thoughts=_by_definition(reasoning_keys),
    )


def _of_disjoint_attributes(reading: Reading) -> _Sent:
    return _Sent(
        input=_count(reading, Target.DISJOINT_INPUT_TOKENS),
        output=_count(reading, Target.DISJOINT_OUTPUT_TOKENS),
        cache_read=_count(reading, Target.DISJOINT_CACHE_READ_TOKENS),
        cache_write=_count(reading, Target.DISJOINT_CACHE_WRITE_TOKENS),
        cache=_Parts.SEPARATE,
    )


def _count(reading: Reading, target: Target) -> int | None:
    found = reading.first(target)
    return found if isinstance(found, int) else None


def _by_definition(keys: Iterable[str]) -> _Parts:
    is_defined = all(key.startswith(INCLUSIVE_KEYS) for key in keys)
    return _Parts.INCLUDED if is_defined else _Parts.BY_FAMILY


# --- JSON ------------------------------------------------------------------------------------

_INPUT_NAMES: Final = ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "input")
_OUTPUT_NAMES: Final = (
    "completion_tokens", "output_tokens", "completionTokens", "outputTokens", "output"
)  # fmt: skip
_TOTAL_NAMES: Final = ("total_tokens", "totalTokens", "total")
_READ_NAMES: Final = ("cache_read", "cached")
_WRITE_NAMES: Final = ("cache_creation", "cache_write")
_REASONING_NAMES: Final = ("reasoning",)
_AUDIO_NAMES: Final = ("audio",)


def inclusive_json(value: object, reading: Reading) -> object:
    """Usage as JSON whose totals contain their parts."""
    return _of_json(value, reading, _Parts.INCLUDED)


def undefined_json(value: object, reading: Reading) -> object:
    """Usage as JSON that doesn't say whether its totals contain their parts."""
    return _of_json(value, reading, _Parts.BY_FAMILY)


def printed_usage(value: object, reading: Reading) -> object:
    """LiteLLM's usage as Python prints it, which has the parts that its attributes lack.

    Its totals contain their parts; some of these are stated twice.
    """
    inner = parse_printed(value) if type(value) is str else None
    if not isinstance(inner, Mapping):
        return None
    known: dict[str, object] = {key: inner.get(key) for key in _PRINTED_TOTALS}
    for key, parts in _PRINTED_PARTS.items():
        if isinstance(details := inner.get(key), Mapping):
            known[key] = {part: details.get(part) for part in parts}
    return _of_json(known, reading, _Parts.INCLUDED)


def inclusive_or_disjoint_json(value: object, reading: Reading) -> object:
    """Usage as JSON: flat figures are disjoint, nested ones and OpenAI's are inclusive."""
    inner = parsed(value)
    if not isinstance(inner, Mapping):
        reading.flags.add(Flag.COERCED)
        return None
    if "prompt_tokens" in inner or any(isinstance(one, Mapping) for one in inner.values()):
        return _of_json(inner, reading, _Parts.INCLUDED)
    figures = _figures(inner, reading)
    inputs = {key: count for key, count in figures.items() if "input" in key}
    outputs = {key: count for key, count in figures.items() if "output" in key}
    sent = _Sent(
        input=sum(inputs.values()) if inputs else None,
        output=sum(outputs.values()) if outputs else None,
        cache_read=_sum(figures, _READ_NAMES),
        cache_write=_sum(figures, _WRITE_NAMES),
        reasoning=_sum(figures, _REASONING_NAMES),
        audio_input=_sum(inputs, _AUDIO_NAMES),
        audio_output=_sum(outputs, _AUDIO_NAMES),
        cache=_Parts.INCLUDED,
        thoughts=_Parts.INCLUDED,
    )
    return sent if sent.is_known else None


def _of_json(value: object, reading: Reading, parts: _Parts) -> object:
    inner = parsed(value)
    if not isinstance(inner, Mapping):
        reading.flags.add(Flag.COERCED)
        return None
    figures = _figures(inner, reading)
    about_input: dict[str, int] = {}
    about_output: dict[str, int] = {}
    for key, one in inner.items():
        if isinstance(one, Mapping):
            is_output = key.startswith(("completion", "output"))
            (about_output if is_output else about_input).update(_figures(one, reading))
    sent = _Sent(
        input=_named(figures, _INPUT_NAMES),
        output=_named(figures, _OUTPUT_NAMES),
        cache_read=_greater(figures, about_input, _READ_NAMES),
        cache_write=_greater(figures, about_input, _WRITE_NAMES),
        reasoning=_greater(figures, about_output, _REASONING_NAMES),
        audio_input=_sum(about_input, _AUDIO_NAMES),
        audio_output=_sum(about_output, _AUDIO_NAMES),
        total=_named(figures, _TOTAL_NAMES),
        cache=parts,
        thoughts=parts,
    )
    return sent if sent.is_known else None


def _figures(found: Mapping[str, object], reading: Reading) -> dict[str, int]:
    figures = {}
    for key, value in found.items():
        if value is None or isinstance(value, Mapping | list | tuple):
            continue
        if (count := counted(value)) is None:
            reading.flags.add(Flag.COERCED)
        else:
            figures[key] = count
    return figures


def _named(figures: Mapping[str, int], names: Iterable[str]) -> int | None:
    return next((figures[name] for name in names if name in figures), None)


def _greater(
    figures: Mapping[str, int], details: Mapping[str, int], parts: Iterable[str]
) -> int | None:
    """The sum among the figures or the details: some senders have the same count in both."""
    sums = (_sum(figures, parts), _sum(details, parts))
    return max((one for one in sums if one is not None), default=None)


def _sum(figures: Mapping[str, int], parts: Iterable[str]) -> int | None:
    """The sum of the figures with one of the parts in their names; None if there are none."""
    found = [count for key, count in figures.items() if any(part in key for part in parts)]
    return sum(found) if found else None


# --- decisions -------------------------------------------------------------------------------


def _decided(sent: _Sent, names: Iterable[str | None], flags: set[Flag]) -> Tokens:
    """The totals with their parts in them. Totals are never below a part."""
    read, written = sent.cache_read or 0, sent.cache_write or 0
    sent_input, sent_output = sent.input or 0, sent.output or 0
    reasoning = sent.reasoning or 0
    prompt, completion = sent_input, sent_output
    if read or written:
        if not _contains_cache(sent, read + written, names, flags):
            prompt += read + written
        prompt = max(prompt, read + written)
    if reasoning:
        if not _contains_reasoning(sent, prompt, names, flags):
            completion += reasoning
        completion = max(completion, reasoning)
    prompt = min(max(prompt, sent.audio_input or 0), TOKENS_MAX - 1)
    completion = min(max(completion, sent.audio_output or 0), TOKENS_MAX - 1)
    return _tokens(sent, prompt, completion)


def _contains_cache(
    sent: _Sent, cached: int, names: Iterable[str | None], flags: set[Flag]
) -> bool:
    """Whether the input contains the tokens that were read from a cache or written to one."""
    if sent.cache is _Parts.SEPARATE:
        return False
    given, output, total = sent.input or 0, sent.output or 0, sent.total
    if cached > given or total == given + output + cached:
        return False
    if sent.cache is _Parts.INCLUDED or family_of(*names) is not ModelFamily.ANTHROPIC:
        return True
    if total == given + output:
        flags.add(Flag.USAGE_ASSUMED)
        return True
    return total is not None


def _contains_reasoning(
    sent: _Sent, prompt: int, names: Iterable[str | None], flags: set[Flag]
) -> bool:
    """Whether the output contains the reasoning. `prompt` is the input with what was cached."""
    output, reasoning, total = sent.output or 0, sent.reasoning or 0, sent.total
    if reasoning > output or total == prompt + output + reasoning:
        return False
    if total == prompt + output or sent.thoughts is _Parts.INCLUDED:
        return True
    flags.add(Flag.USAGE_ASSUMED)
    return family_of(*names) is not ModelFamily.GEMINI or total is not None


def _tokens(sent: _Sent, prompt: int, completion: int) -> Tokens:
    if sent.buckets == 0:
        return Tokens(None, f'{{"total_tokens":{sent.total}}}'.encode(), 0)
    audio = (
        None
        if sent.audio_input is None and sent.audio_output is None
        else (sent.audio_input or 0) + (sent.audio_output or 0)
    )
    parts = (
        ("cache_read_tokens", sent.cache_read),
        ("cache_write_tokens", sent.cache_write),
        ("reasoning_tokens", sent.reasoning),
        ("audio_tokens", audio),
    )
    known = "".join(f',"{name}":{count}' for name, count in parts if count is not None)
    text = (
        f'{{"prompt_tokens":{prompt},"completion_tokens":{completion},'
        f'"total_tokens":{prompt + completion}{known}}}'
    )
    cached = (sent.cache_read or 0, sent.cache_write or 0)
    usage = Usage(prompt, completion, True, *cached, sent.reasoning or 0)
    return Tokens(usage, text.encode(), sent.buckets)
