"""Transforms of the rules: each makes one value of an attribute, a family or a list of events.

A transform returns None for a value of no use, so that the next source is looked at.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from adapters.otlp.mapping.flags import Flag
from adapters.otlp.mapping.json_values import (
    is_empty,
    json_string,
    json_text,
    parsed,
    plain_text,
    without_nul,
)
from adapters.otlp.mapping.reading import NOTHING, Reading, Transform
from domain.tracing.messages.indexed_attributes import indexed_items
from domain.tracing.otel.fragments import SentEvent
from domain.tracing.usage import COST_MAX_USD, TOKENS_MAX

ID_CHARS_MAX: Final = 255  # of ids, labels and models: they fit into an index entry
NAME_CHARS_MAX: Final = 512
LIST_MAX: Final = 1_000  # items of a list of tags or finish reasons that are looked at
_UUID_CHARS: Final = 36
_UUID_VERSION_OF_TIME: Final = 7
_RESPONSE_ID: Final = re.compile("resp_[0-9a-f]{32,}")  # each answer has another one
_INT64_MAX: Final = 2**63 - 1


# --- text ------------------------------------------------------------------------------------


def _as_text(value: object, reading: Reading) -> str | None:
    """The text of a scalar. A number becomes text; anything else isn't text."""
    if type(value) is str:
        if value[:1] == '"' and isinstance(inner := parsed(value), str):
            value = inner  # MLflow writes each value as JSON
        return plain_text(value)
    reading.flags.add(Flag.COERCED)
    return str(value) if type(value) is int or type(value) is float else None


def label(value: object, reading: Reading) -> object:
    """A name, cut to what an index entry can hold."""
    text = _as_text(value, reading)
    if text and len(text) > ID_CHARS_MAX:
        reading.flags.add(Flag.TRUNCATED)
        return text[:ID_CHARS_MAX]
    return text or None


def identifier(value: object, reading: Reading) -> object:
    """An id, which is never cut: one that is too long becomes null."""
    text = _as_text(value, reading)
    if text and len(text) > ID_CHARS_MAX:
        reading.flags.add(Flag.OVERSIZE_ID)
        return NOTHING
    return text or None


def name(value: object, reading: Reading) -> object:
    """A name of a span or trace."""
    text = _as_text(value, reading)
    if text and len(text) > NAME_CHARS_MAX:
        reading.flags.add(Flag.TRUNCATED)
        return text[:NAME_CHARS_MAX]
    return text or None


def text(value: object, reading: Reading) -> object:
    return _as_text(value, reading) or None


def unless_browser(value: object, reading: Reading) -> object:
    """A session id, unless a browser sent it: there it is that of the visit."""
    if reading.span.resource.get("telemetry.sdk.language") == "webjs":
        return None
    return identifier(value, reading)


def unless_response(value: object, reading: Reading) -> object:
    """The id of a conversation. Microsoft's agents state that of OpenAI's last response instead."""
    found = identifier(value, reading)
    return None if isinstance(found, str) and _RESPONSE_ID.fullmatch(found) else found


def uuid_of_time(value: object, _reading: Reading) -> object:
    """A UUIDv7, as libraries make them up."""
    try:
        found = UUID(value) if type(value) is str and len(value) == _UUID_CHARS else None
    except ValueError:
        return None
    return value if found is not None and found.version == _UUID_VERSION_OF_TIME else None


def uuid_of_time_in_baggage(value: object, reading: Reading) -> object:
    """The same on a span of another library: Pydantic AI's baggage has its run next to it."""
    is_copied = reading.attribute("gen_ai.agent.call.id") is not None
    return uuid_of_time(value, reading) if is_copied else None


DOTTED_PROVIDERS: Final = ("gcp.", "aws.bedrock", "azure.ai.", "az.ai.", "ibm.watsonx.ai")


def provider(value: object, reading: Reading) -> object:
    """A provider without the part that names its API, as in `openai.chat`."""
    found = label(value, reading)
    if not isinstance(found, str) or "." not in found or found.startswith(DOTTED_PROVIDERS):
        return found
    return found.partition(".")[0] or found


def member(key: str, transform: Transform) -> Transform:
    """Applies the transform to a member of a JSON object."""

    def transform_member(value: object, reading: Reading) -> object:
        inner = parsed(value)
        found = inner.get(key) if isinstance(inner, Mapping) else None
        return None if is_empty(found) else transform(found, reading)

    return transform_member


# --- numbers and times -----------------------------------------------------------------------


def number(value: object) -> float | None:
    """A finite number, or a text that is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def token_count(value: object, reading: Reading) -> object:
    """A count of tokens: `12`, `12.0` and `"12"`. Anything else is dropped."""
    count = counted(value)
    if count is None:
        reading.flags.add(Flag.COERCED)
    return count


def counted(value: object) -> int | None:
    """A whole number from 0 to 2^53; None for anything else."""
    if type(value) is int:
        return value if 0 <= value < TOKENS_MAX else None
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= ID_CHARS_MAX:
        return whole if (whole := int(value)) < TOKENS_MAX else None
    found = number(value)
    if found is None or not 0 <= found < TOKENS_MAX or found != int(found):
        return None
    return int(found)


def amount(value: object, reading: Reading) -> object:
    """A cost in USD that the sender states."""
    found = cost_of(value)
    if found is None:
        reading.flags.add(Flag.COERCED)
        return None
    return {"total": found}


def amount_above_0(value: object, reading: Reading) -> object:
    """The same from a sender whose 0 means that it knows no price."""
    return NOTHING if cost_of(value) == 0 else amount(value, reading)


def cost_of(value: object) -> float | None:
    found = number(value)
    return found if found is not None and 0 <= found <= COST_MAX_USD else None


def prompt_and_completion(_value: object, reading: Reading) -> object:
    """The cost of OpenInference in two parts."""
    parts = {
        part: cost_of(reading.attribute(f"llm.cost.{part}")) for part in ("prompt", "completion")
    }
    return {part: cost for part, cost in parts.items() if cost is not None} or None


def cost_parts(value: object, reading: Reading) -> object:
    """A cost as JSON: its `total`, else all of its members, which are summed."""
    inner = parsed(value)
    if not isinstance(inner, Mapping):
        reading.flags.add(Flag.COERCED)
        return None
    costs = {key: cost_of(cost) for key, cost in sorted(inner.items())}
    if costs.get("total") is not None:
        return {"total": costs["total"]}
    return {plain_text(key): cost for key, cost in costs.items() if cost is not None} or None


def after(ns_per_unit: int) -> Transform:
    """An instant in nanoseconds, from a duration since the start of the span."""

    def since_start(value: object, reading: Reading) -> object:
        found = number(value)
        if found is None or not 0 <= found * ns_per_unit <= _INT64_MAX:
            reading.flags.add(Flag.COERCED)
            return None
        return reading.span.best.start_ns + int(found * ns_per_unit)

    return since_start


def instant(value: object, reading: Reading) -> object:
    """An instant in nanoseconds, from RFC 3339 text, maybe as JSON."""
    inner = parsed(value)
    try:
        found = datetime.fromisoformat(inner) if isinstance(inner, str) else None
        if found is not None:
            aware = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
            return _nanoseconds(aware.astimezone(UTC))
    except (ValueError, OverflowError):
        pass
    reading.flags.add(Flag.COERCED)
    return None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _nanoseconds(at: datetime) -> int:
    since = at - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def first_event_time(value: object, _reading: Reading) -> object:
    return _events(value)[0].time_ns


# --- JSON ------------------------------------------------------------------------------------


def json_object(value: object, reading: Reading) -> object:
    """The text of a JSON object; other values are dropped."""
    if not isinstance(parsed(value), Mapping):
        reading.flags.add(Flag.COERCED)
        return None
    return json_text(value)


def json_text_of(value: object, _reading: Reading) -> object:
    return json_text(value)


def json_texts_of(value: object, _reading: Reading) -> object:
    """As JSON text; items of a list may be JSON in strings."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(json_text, value))}]"
    return json_text(value)


def item_texts(family: str, *path: str) -> Transform:
    """The value at a path in each item of an indexed family; it may be JSON in a string."""

    def found(value: object, _reading: Reading) -> object:
        given = indexed_items(_mapping(value), [family]).get(family, [])
        for key in path:
            given = [one[key] for one in given if isinstance(one, Mapping) and key in one]
        return f"[{','.join(map(json_text, given))}]" if given else None

    return found


def members(prefix: str = "", *without: str) -> Transform:
    """The members of a family or of a JSON object, each as JSON text.

    Those named in `without` are left out; a name with `_` at its end is the beginning of names.
    """
    names = frozenset(without)
    beginnings = tuple(one for one in without if one.endswith("_"))

    def texts(value: object, _reading: Reading) -> object:
        inner = parsed(value)
        if not isinstance(inner, Mapping):
            return None
        found = {}
        for key in sorted(inner):
            member = key.removeprefix(prefix)
            if member and member not in names and not member.startswith(beginnings):
                found[plain_text(member)] = searchable(json_text(inner[key]))
        return found or None

    return texts


def named(member: str) -> Transform:
    """One member of that name."""
    return lambda value, _reading: {member: searchable(json_text(value))}


def nested(member: str, prefix: str) -> Transform:
    """One member of that name, an object with the attributes of a family."""
    inner = object_of(prefix)

    def found(value: object, reading: Reading) -> object:
        given = inner(value, reading)
        return None if given is None else {member: given}

    return found


def object_of(prefix: str, *without: str) -> Transform:
    """The attributes of a family as the text of one JSON object."""
    texts = members(prefix, *without)

    def found(value: object, reading: Reading) -> object:
        given = texts(value, reading)
        return object_text(given) if isinstance(given, Mapping) else None

    return found


def object_text(given: Mapping[str, str]) -> str:
    """A JSON object of members that are texts of JSON."""
    return f"{{{','.join(f'{json_string(key)}:{value}' for key, value in given.items())}}}"


def searchable(text: str) -> str:
    """JSON text without NUL, for which metadata can't be searched."""
    return without_nul(text.encode()).decode() if "\\u0000" in text else text


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def is_true(value: object, _reading: Reading) -> object:
    return True if value is True or str(value).lower() == "true" else None


# --- lists of text ---------------------------------------------------------------------------


def tags(value: object, reading: Reading) -> object:
    """Tags: an array, JSON, or a list with commas."""
    inner = parsed(value)
    if isinstance(inner, str):
        inner = inner.split(",", LIST_MAX)
    elif not isinstance(inner, list | tuple):
        inner = [inner]
    if len(inner) > LIST_MAX:
        reading.flags.add(Flag.TRUNCATED)
    found = []
    for one in inner[:LIST_MAX]:
        if isinstance(one, str | int | float) and not isinstance(one, bool):
            tag = label(str(one).strip(), reading)
            if isinstance(tag, str):
                found.append(tag)
        else:
            reading.flags.add(Flag.COERCED)
    return found or None


_FINISH_REASONS: Final = dict.fromkeys(("tool_call", "tool-calls", "tool_use"), "tool_calls")


def finish_reasons(value: object, _reading: Reading) -> object:
    inner = parsed(value)
    reasons = inner if isinstance(inner, list | tuple) else [inner]
    found = [plain_text(one) for one in reasons[:LIST_MAX] if isinstance(one, str) and one]
    return [_FINISH_REASONS.get(one, one) for one in found] or None


# --- status ----------------------------------------------------------------------------------


_BOOLEANS: Final = (True, False)


def equals(expected: str, result: object) -> Transform:
    """The result, if the value is the expected text in any case."""

    def found(value: object, _reading: Reading) -> object:
        word = value if isinstance(value, str) else str(value) if value in _BOOLEANS else ""
        return result if word.strip('"').lower() == expected else None

    return found


def constant(result: object) -> Transform:
    return lambda _value, _reading: result


def status_message(value: object, reading: Reading) -> object:
    """The message of an observation, unless its level says that it isn't an error."""
    level = reading.attribute("langfuse.observation.level")
    return text(value, reading) if level is None or str(level).upper() == "ERROR" else None


def exception(value: object, _reading: Reading) -> object:
    """The last exception: the one that ended the span, if there are several."""
    found = _events(value)[-1].attributes
    parts = [found.get("exception.type"), found.get("exception.message")]
    return ": ".join(plain_text(one) for one in parts if isinstance(one, str) and one) or None


def _events(value: object) -> Sequence[SentEvent]:
    return value if isinstance(value, list) else ()
